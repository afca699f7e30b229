"""The probes of the TensorFlow devices, on this machine and on simulated ones."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker

import msinet_cpu
import msinet_cuda_nchw
import msinet_metal_nhwc
import msinet_tpu
from msinet_core import hardware
from msinet_core.device import Availability, DeviceSpec, Hardware, Probe
from msinet_core.errors import DeviceUnavailableError
from msinet_core.hardware import apple, host, nvidia
from msinet_tensorflow import versions

# A package's attribute `probe` is its function, which hides the module of that name.
cpu_probe, metal_probe, cuda_probe, tpu_probe = (
    importlib.import_module(f"{name}.probe")
    for name in ("msinet_cpu", "msinet_metal_nhwc", "msinet_cuda_nchw", "msinet_tpu")
)
SPECS = [plugin.SPEC for plugin in (msinet_cpu, msinet_metal_nhwc, msinet_cuda_nchw, msinet_tpu)]
LIGHT_MODULES = [
    "msinet_cpu",
    "msinet_cuda_nchw",
    "msinet_metal_nhwc",
    "msinet_tpu",
    "msinet_tensorflow",
    "msinet_tensorflow.probe",
    "msinet_tensorflow.versions",
]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions of a simulated environment, by name; TensorFlow's files exist."""
    installed: dict[str, str] = {}
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    found = importlib.machinery.ModuleSpec("tensorflow", None, origin="tensorflow/__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    return installed


def pretend(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, python: tuple[int, int] = (3, 11)
) -> None:
    """Simulate another kind of machine, for the probes and for the markers of requirements."""
    names = {"darwin": "Darwin", "linux": "Linux", "win32": "Windows"}
    version = f"{python[0]}.{python[1]}.4"
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sys, "version_info", (*python, 4, "final", 0))
    monkeypatch.setattr(platform, "system", lambda: names[system])
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "python_version", lambda: version)

    evaluate = Marker.evaluate
    environment = {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": f"{python[0]}.{python[1]}",
    }
    monkeypatch.setattr(Marker, "evaluate", lambda marker: evaluate(marker, environment))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What programs print on the simulated machine, by the beginning of their command."""
    prints: dict[str, str] = {}

    def command_output(*command: str, timeout: float = 0) -> str:
        line = " ".join(command)
        return next((text for start, text in prints.items() if line.startswith(start)), "")

    for module in (host, apple, nvidia):
        monkeypatch.setattr(module, "command_output", command_output)
    return prints


# --- cpu -----------------------------------------------------------------------------------------


def test_cpu_with_tensorflow(packages: dict[str, str]) -> None:
    packages["tensorflow-cpu"] = "2.21.0"
    probe = cpu_probe.probe()
    assert probe.availability is Availability.INSTALLED
    assert (probe.reason, probe.fix, probe.framework_version) == ("", "", "2.21.0")
    assert probe.hardware == (host.cpu_hardware(),)


@pytest.mark.parametrize("wheel", versions.WHEELS)
def test_cpu_takes_any_distribution_of_tensorflow(packages: dict[str, str], wheel: str) -> None:
    packages[wheel] = "2.22.0.dev20260101"
    assert cpu_probe.probe().ready


def test_cpu_without_tensorflow(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "linux", "x86_64")
    probe = cpu_probe.probe()
    assert not probe.ready
    assert "tensorflow-cpu" in probe.reason and ">=2.16" in probe.reason
    assert probe.fix == 'pip install "msinet[cpu]"'
    assert probe.framework_version is None


def test_cpu_with_an_old_tensorflow_upgrades_the_same_distribution(
    packages: dict[str, str],
) -> None:
    packages["tensorflow"] = "2.12.1"
    probe = cpu_probe.probe()
    assert not probe.ready
    assert "tensorflow 2.12.1" in probe.reason and ">=2.16" in probe.reason
    assert probe.fix == 'pip install --upgrade "tensorflow>=2.16"'


def test_cpu_reports_overlapping_distributions(packages: dict[str, str]) -> None:
    packages |= {"tensorflow": "2.20.0", "tensorflow-cpu": "2.21.0"}
    probe = cpu_probe.probe()
    assert probe.availability is Availability.INSTALLED
    assert "tensorflow 2.20.0" in probe.reason and "tensorflow-cpu 2.21.0" in probe.reason
    assert probe.fix == (
        'pip uninstall --yes tensorflow tensorflow-cpu && pip install --upgrade "tensorflow>=2.16"'
    )


@pytest.mark.parametrize(
    "found", [None, importlib.machinery.ModuleSpec("tensorflow", None)], ids=["none", "namespace"]
)
def test_cpu_reports_missing_files_of_tensorflow(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    packages["tensorflow"] = "2.21.0"
    probe = cpu_probe.probe()
    assert not probe.ready
    assert "tensorflow 2.21.0" in probe.reason
    assert probe.fix == 'pip install --force-reinstall --no-deps "tensorflow==2.21.0"'


# --- the table of tensorflow-metal ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("metal", "tensorflow", "loads"),
    [
        ("1.1.0", "2.15.1", True),
        ("1.1.0", "2.17.1", True),
        ("1.1.0", "2.18.0", False),
        ("1.1.0", "2.21.0", False),
        ("1.0.1", "2.18.0", False),
        ("1.2.0", "2.15.1", True),
        ("1.2.0", "2.17.1", True),
        ("1.2.0", "2.18.0", True),
        ("1.2.0", "2.19.1", True),
        ("1.2.0", "2.20.0rc0", False),
        ("1.2.0", "2.20.0", False),
        ("1.2.0", "2.21.0", False),
        ("1.3.0", "2.21.0", True),
        ("unreadable", "2.21.0", True),
    ],
)
def test_pairs_of_metal_and_tensorflow(
    packages: dict[str, str], metal: str, tensorflow: str, loads: bool
) -> None:
    packages |= {"tensorflow": tensorflow, "tensorflow-metal": metal}
    assert (versions.import_trouble() is None) is loads


def test_metal_without_tensorflow_is_no_trouble(packages: dict[str, str]) -> None:
    packages["tensorflow-metal"] = "1.2.0"
    assert versions.import_trouble() is None


def assert_bad_pair(probe: Probe) -> None:
    """The probe names both packages, their versions and the command that fixes the pair."""
    assert not probe.ready
    assert "tensorflow-metal 1.2.0" in probe.reason and "tensorflow 2.21.0" in probe.reason
    assert probe.fix == 'pip install "tensorflow>=2.18,<2.20"'


def test_stale_metal_plugin_makes_cpu_unavailable_before_any_import(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "darwin", "arm64")
    packages |= {"tensorflow": "2.21.0", "tensorflow-metal": "1.2.0"}
    assert_bad_pair(cpu_probe.probe())
    with pytest.raises(DeviceUnavailableError, match=r"tensorflow-metal 1\.2\.0"):
        versions.check_versions()


def test_an_older_metal_plugin_is_upgraded_too(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "darwin", "arm64")
    packages |= {"tensorflow": "2.18.1", "tensorflow-metal": "1.1.0"}
    trouble = versions.import_trouble()
    assert trouble is not None
    reason, fix = trouble
    assert "tensorflow-metal 1.1.0" in reason and "tensorflow 2.18.1" in reason
    assert fix == 'pip install "tensorflow>=2.18,<2.20" "tensorflow-metal==1.2.*"'


def test_without_a_matching_tensorflow_the_fix_uninstalls_the_metal_plugin(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "darwin", "arm64", python=(3, 13))
    packages |= {"tensorflow": "2.21.0", "tensorflow-metal": "1.2.0"}
    assert cpu_probe.probe().fix == "pip uninstall --yes tensorflow-metal"


def test_check_versions_lets_good_ones_pass(packages: dict[str, str]) -> None:
    packages["tensorflow"] = "2.21.0"
    versions.check_versions()


def test_stale_metal_plugin_is_found_in_real_metadata(tmp_path: Path) -> None:
    """A process with the metadata of a bad pair, and a TensorFlow that must not be imported."""
    for name, number in [("tensorflow_metal", "1.2.0"), ("tensorflow", "2.21.0")]:
        info = tmp_path / f"{name}-{number}.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {number}\n"
        )
    tmp_path.joinpath("tensorflow").mkdir()
    tmp_path.joinpath("tensorflow", "__init__.py").write_text("raise SystemExit('was imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from msinet_cpu import SPEC\n"
        "from msinet_core.errors import DeviceUnavailableError\n"
        "print(SPEC.probe().reason)\n"
        "try: SPEC.open()\n"
        "except DeviceUnavailableError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reason, error = done.stdout.splitlines()
    assert "tensorflow-metal 1.2.0" in reason and "tensorflow 2.21.0" in reason
    assert reason in error


# --- metal ---------------------------------------------------------------------------------------


@pytest.fixture
def mac(
    packages: dict[str, str], answers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A Mac Studio with an M3 Ultra; returns its packages."""
    pretend(monkeypatch, "darwin", "arm64")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.4", ("", "", ""), "arm64"))
    answers["sysctl -n machdep.cpu.brand_string"] = "Apple M3 Ultra"
    answers["sysctl -n hw.memsize"] = str(512 * 2**30)
    answers["ioreg"] = '+-o AGXAcceleratorG15X\n    {\n      "gpu-core-count" = 80\n    }'
    return packages


M3_ULTRA = Hardware("Apple M3 Ultra GPU", cores=80, memory=512 * 2**30)


def test_metal_on_a_mac_with_a_good_pair(mac: dict[str, str]) -> None:
    mac |= {"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0"}
    assert metal_probe.probe() == Probe(
        Availability.INSTALLED, framework_version="2.19.1", hardware=(M3_ULTRA,)
    )


def test_metal_on_a_mac_with_a_bad_pair(mac: dict[str, str]) -> None:
    mac |= {"tensorflow": "2.21.0", "tensorflow-metal": "1.2.0"}
    probe = metal_probe.probe()
    assert_bad_pair(probe)
    assert probe.hardware == (M3_ULTRA,)


def test_metal_on_a_mac_without_packages(mac: dict[str, str]) -> None:
    probe = metal_probe.probe()
    assert not probe.ready
    assert "<2.20,>=2.18" in probe.reason and "tensorflow-metal" in probe.reason
    assert probe.fix == 'pip install "msinet[metal]"'
    assert probe.framework_version is None


def test_metal_with_python_3_13(mac: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "darwin", "arm64", python=(3, 13))
    mac["tensorflow"] = "2.21.0"
    probe = metal_probe.probe()
    assert not probe.ready
    assert "Python 3.13.4" in probe.reason and "Python 3.12" in probe.fix


def test_metal_when_the_mac_does_not_answer(mac: dict[str, str], answers: dict[str, str]) -> None:
    answers.clear()
    assert metal_probe.probe().hardware == (Hardware("Apple silicon GPU"),)


def test_metal_on_an_old_macos(mac: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "mac_ver", lambda: ("11.7.10", ("", "", ""), "arm64"))
    probe = metal_probe.probe()
    assert "macOS 12" in probe.reason and "macOS 11.7.10" in probe.reason
    assert not probe.ready and not probe.hardware


def test_metal_on_an_intel_mac(
    packages: dict[str, str], answers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "darwin", "x86_64")
    intel = metal_probe.probe()
    assert not intel.ready
    assert "x86_64" in intel.reason
    answers["sysctl -n sysctl.proc_translated"] = "1"
    translated = metal_probe.probe()
    assert not translated.ready
    assert "Rosetta" in translated.reason


# --- cuda ----------------------------------------------------------------------------------------


@pytest.fixture
def cuda_machine(
    packages: dict[str, str],
    answers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> dict[str, str]:
    """A Linux machine with two H100s; returns its packages."""
    pretend(monkeypatch, "linux", "x86_64")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for slot in ("0000:01:00.0", "0000:02:00.0"):
        folder = tmp_path / "gpus" / slot
        folder.mkdir(parents=True)
        folder.joinpath("information").write_text("Model: \t\t NVIDIA H100\nIRQ:   \t 42\n")
    monkeypatch.setattr(nvidia, "_DRIVER", tmp_path)
    monkeypatch.setattr(nvidia, "_WSL", tmp_path / "absent")
    monkeypatch.setattr(nvidia, "query_driver", lambda: None)
    answers["nvidia-smi"] = "NVIDIA H100, 81559 MiB\nNVIDIA H100, 81559 MiB\n"
    return packages


H100 = Hardware("NVIDIA H100", memory=81559 * 2**20)


def test_cuda_with_gpus_and_packages(cuda_machine: dict[str, str]) -> None:
    cuda_machine["tensorflow"] = "2.21.0"
    assert cuda_probe.probe() == Probe(
        Availability.INSTALLED, framework_version="2.21.0", hardware=(H100, H100)
    )


def test_cuda_with_gpus_and_the_wrong_tensorflow(cuda_machine: dict[str, str]) -> None:
    cuda_machine["tensorflow-cpu"] = "2.21.0"
    probe = cuda_probe.probe()
    assert "tensorflow-cpu 2.21.0" in probe.reason
    assert probe.fix == 'pip uninstall --yes tensorflow-cpu && pip install "msinet[cuda]"'
    assert not probe.ready


def test_cuda_without_tensorflow(cuda_machine: dict[str, str]) -> None:
    probe = cuda_probe.probe()
    assert not probe.ready
    assert ">=2.16" in probe.reason
    assert probe.fix == 'pip install "msinet[cuda]"'


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_cuda_with_hidden_gpus(
    cuda_machine: dict[str, str], monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    cuda_machine["tensorflow"] = "2.21.0"
    probe = cuda_probe.probe()
    assert not probe.ready
    assert f"CUDA_VISIBLE_DEVICES is set to '{hidden}'" in probe.reason
    assert "unset CUDA_VISIBLE_DEVICES" in probe.fix
    assert (probe.framework_version, probe.hardware) == ("2.21.0", (H100, H100))


def test_cuda_queries_the_driver_itself_first(
    cuda_machine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = nvidia.Gpu("NVIDIA H200", 2**37, 16896, (9, 0))
    monkeypatch.setattr(nvidia, "query_driver", lambda: nvidia.Driver("570.86", (gpu,)))
    assert nvidia.nvidia_gpus() == (Hardware("NVIDIA H200", 16896, 2**37, bfloat16=True),)


@pytest.mark.parametrize(
    ("capability", "version", "ready", "fix"),
    [
        ((8, 0), "2.21.0", True, ""),
        ((9, 0), "2.21.0", True, "CUDA_CACHE_PATH"),
        ((10, 0), "2.21.0", False, "torch-cuda"),
        ((12, 0), "2.22.0", True, "CUDA_CACHE_PATH"),
    ],
)
def test_cuda_knows_gpus_that_tensorflow_has_no_machine_code_for(
    capability: tuple[int, int],
    version: str,
    ready: bool,
    fix: str,
    cuda_machine: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda_machine["tensorflow"] = version
    gpu = nvidia.Gpu("NVIDIA", 2**37, 16896, capability)
    monkeypatch.setattr(nvidia, "query_driver", lambda: nvidia.Driver("570.86", (gpu,)))
    probe = cuda_probe.probe()
    assert probe.ready == ready
    assert fix in probe.fix and bool(probe.reason) == bool(fix)


def test_cuda_when_nvidia_smi_does_not_answer(
    cuda_machine: dict[str, str], answers: dict[str, str]
) -> None:
    answers.clear()
    assert nvidia.nvidia_gpus() == (Hardware("NVIDIA H100"), Hardware("NVIDIA H100"))


def test_cuda_with_unknown_memory(cuda_machine: dict[str, str], answers: dict[str, str]) -> None:
    answers["nvidia-smi"] = "NVIDIA GB10, [N/A]"
    assert nvidia.nvidia_gpus() == (Hardware("NVIDIA GB10"),)


def test_cuda_without_a_driver(
    cuda_machine: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nvidia, "_DRIVER", tmp_path / "absent")
    audio = host.PciDevice("0x22ba", "0x040300")
    monkeypatch.setattr(nvidia, "pci_devices", lambda vendor: [audio])
    without = cuda_probe.probe()
    assert not without.ready
    assert "/proc/driver/nvidia" in without.reason
    assert without.fix.endswith(': pip install "msinet[cuda]"')

    card = host.PciDevice("0x2330", "0x030200")
    monkeypatch.setattr(nvidia, "pci_devices", lambda vendor: [card])
    unloaded = cuda_probe.probe()
    assert not unloaded.ready
    assert "driver" in unloaded.reason and "nvidia-smi" in unloaded.fix


# --- tpu -----------------------------------------------------------------------------------------


@pytest.fixture
def tpu_vm(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A TPU VM with four v5e chips and Google's network card; returns its packages."""
    pretend(monkeypatch, "linux", "x86_64")
    for variable in tpu_probe.ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    cards = [host.PciDevice("0x0063", "0x088000")] * 4
    cards.append(host.PciDevice("0x0042", "0x020000"))
    monkeypatch.setattr("msinet_core.hardware.tpu.pci_devices", lambda vendor: cards)
    return packages


def test_tpu_on_a_tpu_vm(tpu_vm: dict[str, str]) -> None:
    tpu_vm.update({"tensorflow-tpu": "2.20.0", "libtpu": "0.0.30"})
    assert tpu_probe.probe() == Probe(
        Availability.INSTALLED,
        framework_version="2.20.0",
        hardware=(Hardware("4 x TPU v5e", bfloat16=True),),
    )


def test_tpu_on_a_tpu_vm_without_packages(tpu_vm: dict[str, str]) -> None:
    tpu_vm["tensorflow-cpu"] = "2.21.0"
    probe = tpu_probe.probe()
    assert not probe.ready
    assert "tensorflow-tpu" in probe.reason and "libtpu" in probe.reason
    assert probe.fix == 'pip install "msinet[tpu]"'


def test_tpu_with_a_libtpu_that_ends_the_process(tpu_vm: dict[str, str]) -> None:
    tpu_vm.update({"tensorflow-tpu": "2.20.0", "libtpu": "0.0.51"})
    probe = tpu_probe.probe()
    assert not probe.ready
    assert "libtpu 0.0.51" in probe.reason and "<0.0.31,>=0.0.17" in probe.reason
    assert "tensorflow-tpu" not in probe.reason


def test_tpu_named_in_the_environment(
    tpu_vm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msinet_core.hardware.tpu.pci_devices", lambda vendor: [])
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    assert tpu_probe.probe().hardware == (Hardware("TPU v5litepod-8", bfloat16=True),)


def test_a_google_network_card_is_not_a_tpu(
    tpu_vm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = host.PciDevice("0x0042", "0x020000")
    monkeypatch.setattr("msinet_core.hardware.tpu.pci_devices", lambda vendor: [card])
    probe = tpu_probe.probe()
    assert not probe.ready and not probe.hardware
    assert all(variable in probe.reason for variable in tpu_probe.ENVIRONMENT)


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "system", "name"),
    [
        (msinet_metal_nhwc.SPEC, "linux", "Linux"),
        (msinet_metal_nhwc.SPEC, "win32", "Windows"),
        (msinet_cuda_nchw.SPEC, "darwin", "Darwin"),
        (msinet_cuda_nchw.SPEC, "win32", "Windows"),
        (msinet_tpu.SPEC, "darwin", "Darwin"),
        (msinet_tpu.SPEC, "win32", "Windows"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_unsupported_systems_are_named(
    packages: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    spec: DeviceSpec,
    system: str,
    name: str,
) -> None:
    pretend(monkeypatch, system, "x86_64")
    probe = spec.probe()
    assert not probe.ready
    assert name in probe.reason
    assert probe.fix.endswith(f': pip install "msinet[{spec.name}]"')


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_probes_answer_on_this_machine_in_whole_sentences(spec: DeviceSpec) -> None:
    probe = spec.probe()
    assert not probe.reason or probe.reason.endswith(".")
    assert probe.ready or (probe.reason and probe.fix)


@pytest.fixture(scope="module")
def extras() -> dict[str, list[str]]:
    """The extras of this distribution, read from its source tree."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, list[str]] = toml.loads(text)["project"]["optional-dependencies"]
    return found


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_spec_requires_what_its_extra_installs(
    spec: DeviceSpec, extras: dict[str, list[str]]
) -> None:
    assert list(spec.requires) == extras[spec.name]


def test_light_modules_import_no_framework() -> None:
    code = (
        f"import importlib, sys\nfor name in {LIGHT_MODULES}: importlib.import_module(name)\n"
        "from msinet_cpu import SPEC as cpu; from msinet_metal_nhwc import SPEC as metal\n"
        "from msinet_cuda_nchw import SPEC as cuda; from msinet_tpu import SPEC as tpu\n"
        "for spec in (cpu, metal, cuda, tpu): spec.probe()\n"
        "heavy = {'numpy', 'scipy', 'PIL', 'matplotlib', 'rich', 'tensorflow', 'keras', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr
