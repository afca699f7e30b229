"""Facts about the machine: package metadata, commands, files and the processor."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.data.pipeline import default_workers
from msinet_core.hardware import host
from msinet_core.hardware.machine import describe_machine, this_machine
from msinet_core.system import resources


def install(folder: Path, name: str, number: str) -> None:
    """Write only a distribution's metadata into a folder of `sys.path`."""
    info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n", encoding="utf-8"
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_version_of_an_installed_distribution() -> None:
    assert host.distribution_version("numpy") == version("numpy")


@pytest.mark.parametrize("name", ["made-up-name", "Made_Up.Name", "made_up_name"])
def test_names_are_normalized(site: Path, name: str) -> None:
    install(site, "made-up-name", "1.2.3")
    assert host.distribution_version(name) == "1.2.3"


@pytest.mark.parametrize("name", ["no-such-distribution", "half-removed"])
def test_no_version_without_metadata(site: Path, name: str) -> None:
    site.joinpath("half_removed-1.0.dist-info").mkdir()
    assert host.distribution_version(name) is None


@given(st.text(max_size=20))
def test_any_name_is_accepted(name: str) -> None:
    found = host.distribution_version(name)
    assert found is None or isinstance(found, str)


@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_requirement_is_accepted(requirements: list[str]) -> None:
    assert all(sentence.endswith(".") for sentence in host.missing_requirements(requirements))


def test_requirements_that_are_met(site: Path) -> None:
    install(site, "fits", "2.18.1")
    assert host.missing_requirements(["fits>=2.18,<2.20", "fits", "fits[extra]==2.*"]) == []


def test_a_development_version_counts(site: Path) -> None:
    install(site, "nightly", "2.22.0.dev20260101")
    assert host.missing_requirements(["nightly>=2.16"]) == []


def test_a_version_that_cannot_be_read_does_not_fit(site: Path) -> None:
    install(site, "odd", "no-version")
    assert host.missing_requirements(["odd"]) == []
    [sentence] = host.missing_requirements(["odd>=1"])
    assert "odd no-version" in sentence and ">=1" in sentence


def test_missing_and_outdated_requirements_get_a_sentence_each(site: Path) -> None:
    install(site, "old", "1.0")
    requirements = ["old>=2", "absent>=3,<4", "bare", "not valid"]
    old, absent, bare, invalid = host.missing_requirements(requirements)
    assert "old 1.0" in old and ">=2" in old
    assert "absent" in absent and "<4,>=3" in absent
    assert "bare" in bare and "needs" not in bare
    assert "'not valid'" in invalid


def test_markers_are_evaluated() -> None:
    other = "no-such-distribution; sys_platform == 'plan9'"
    this = f"no-such-distribution; sys_platform == '{sys.platform}'"
    assert host.missing_requirements([other]) == []
    assert len(host.missing_requirements([this])) == 1


def test_output_of_a_command() -> None:
    assert host.command_output(sys.executable, "-c", "print(' three ')") == "three"


@pytest.mark.parametrize(
    "command",
    [
        ("no-such-program",),
        (sys.executable, "-c", "print('half'); raise SystemExit(1)"),
        (sys.executable, "-c", "print('half', flush=True); import time; time.sleep(60)"),
        ("null\0byte",),
    ],
    ids=["missing", "failing", "hanging", "impossible"],
)
def test_a_command_that_fails_has_no_output(command: tuple[str, ...]) -> None:
    assert host.command_output(*command, timeout=0.5) == ""


def test_this_machine_has_a_processor() -> None:
    hardware = host.cpu_hardware()
    assert hardware.name
    assert hardware.cores is not None and hardware.cores >= 1
    assert hardware.memory is None or hardware.memory > 2**20


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a simulated machine, by path."""
    files: dict[str, str] = {}
    for module in (host, resources):
        monkeypatch.setattr(module, "file_text", lambda path: files.get(Path(path).as_posix(), ""))
    return files


def test_name_from_cpuinfo(machine: dict[str, str]) -> None:
    machine["/proc/cpuinfo"] = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fma avx2\n"
    assert host.cpu_hardware().name == "Some CPU @ 2 GHz"


def test_name_on_a_mac(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(host, "command_output", lambda *command: "Apple M3 Ultra")
    assert host.cpu_hardware().name == "Apple M3 Ultra"


def test_limits_of_a_container(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    machine["/proc/self/cgroup"] = "0::/slice/job\n"
    machine["/sys/fs/cgroup/slice/job/cpu.max"] = "max 100000\n"
    machine["/sys/fs/cgroup/slice/cpu.max"] = "250000 100000\n"
    machine["/sys/fs/cgroup/slice/job/memory.max"] = "1048576\n"
    machine["/sys/fs/cgroup/slice/memory.max"] = "max\n"
    hardware = host.cpu_hardware()
    assert hardware.cores == 3
    assert hardware.memory == 1048576


def test_limits_of_an_older_container(
    machine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    machine["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "200000\n"
    machine["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000\n"
    machine["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "2097152\n"
    hardware = host.cpu_hardware()
    assert hardware.cores == 2
    assert hardware.memory == 2097152


def test_files_that_cannot_be_read_are_empty(tmp_path: Path) -> None:
    tmp_path.joinpath("bytes").write_bytes(b"a\xff")
    assert host.file_text(tmp_path) == ""
    assert host.file_text(tmp_path / "absent") == ""
    assert host.file_text(tmp_path / "bytes") == "a\N{REPLACEMENT CHARACTER}"


def test_cards_of_a_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_PCI_DEVICES", tmp_path)
    for slot, vendor in [("0000:00:05.0", "0x1ae0"), ("0000:00:04.0", "0x10de"), ("bad", None)]:
        folder = tmp_path / slot
        folder.mkdir()
        if vendor:
            folder.joinpath("vendor").write_text(f"{vendor}\n")
            folder.joinpath("device").write_text("0x0063\n")
            folder.joinpath("class").write_text("0x088000\n")
    assert host.pci_devices("0x1ae0") == [host.PciDevice("0x0063", "0x088000")]
    assert host.pci_devices("0xffff") == []


def test_no_cards_where_none_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_PCI_DEVICES", tmp_path / "absent")
    assert host.pci_devices("0x10de") == []


def test_no_framework_is_imported() -> None:
    code = (
        "import sys; from msinet_core import hardware; hardware.cpu_hardware();"
        "hardware.missing_requirements(['numpy>=1']);"
        "print(sorted({'numpy', 'scipy', 'tensorflow', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_update_of_the_kernel_is_no_other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    described = []
    for release in ("6.8.0-45-generic", "6.8.0-47-generic"):
        monkeypatch.setattr("platform.release", lambda release=release: release)
        described.append(describe_machine(this_machine.__wrapped__()))
    assert described[0] == described[1]


def test_reading_threads_are_as_many_as_the_cores_of_this_process(
    machine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 5, 9}, raising=False)
    assert default_workers() == 3
