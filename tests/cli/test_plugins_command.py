"""``msinet-run plugins``: the list, and the check with its reports and exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.conformance import DOOR, SCENARIOS, Outcome, runner
from msinet_core.device import DeviceSpec
from msinet_core.registry.registry import Registry

FEW = (*(row for row in DOOR if row.id == "device/opens"), *SCENARIOS[:3])


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DOOR", FEW[:1])
    monkeypatch.setattr(runner, "ALL_SCENARIOS", FEW)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the device 'absent' be the reference without its factory."""
    find = Registry.spec

    def spec(self: Registry, name: str) -> DeviceSpec:
        if name != "absent":
            return find(self, name)
        return dataclasses.replace(find(self, "reference"), name=name, factory="nowhere:Nothing")

    monkeypatch.setattr(Registry, "spec", spec)


pytestmark = pytest.mark.usefixtures("few_rows")


def test_a_right_device_passes_with_a_row_for_each_scenario(run) -> None:
    done = run("plugins", "check", "reference")
    assert done.exit_code == 0, done.output
    for row in FEW:
        assert row.id in done.stdout
    assert "Device 'reference' (float32) agrees with the reference: 4 passed" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:-1])


def test_the_report_is_one_json_document(run) -> None:
    done = run("plugins", "check", "reference", "--json")
    document = json.loads(done.stdout)
    assert document["passed"] is True
    assert [row["id"] for row in document["rows"]] == [row.id for row in FEW]


def test_reports_are_written_as_json_and_as_a_page(run, tmp_path: Path) -> None:
    assert run("plugins", "check", "reference", "--report", "a.json").exit_code == 0
    assert run("plugins", "check", "reference", "--report", "a.html").exit_code == 0
    assert json.loads((tmp_path / "a.json").read_text())["device"] == "reference"
    assert "Conformance of device reference" in (tmp_path / "a.html").read_text()


def test_a_failing_row_and_an_unexpected_pass_end_with_1(run, tmp_path: Path) -> None:
    row = FEW[1].id
    (tmp_path / "known.toml").write_text(f'["{row}"]\nreason = "R."\nlink = "L"')
    done = run("plugins", "check", "reference", "--expected-failures", "known.toml")
    assert done.exit_code == 1
    assert "passed unexpectedly" in done.stdout
    assert f"{row} passed unexpectedly\n" in done.stderr
    assert "Expected to fail: R. (L)" in done.stdout
    assert "does NOT agree" in done.stdout


@pytest.fixture
def second_row(monkeypatch: pytest.MonkeyPatch):
    """Let the second row raise."""

    def raising(error: BaseException) -> None:
        def check(subject: object) -> Outcome:
            raise error

        changed = dataclasses.replace(FEW[1], check=check)
        monkeypatch.setattr(runner, "ALL_SCENARIOS", (FEW[0], changed, *FEW[2:]))

    return raising


def test_interrupted_it_reports_what_is_done_and_ends_with_130(
    run, second_row, tmp_path: Path
) -> None:
    second_row(KeyboardInterrupt())
    done = run("plugins", "check", "reference", "--report", "a.json")
    assert done.exit_code == 130
    assert "Interrupted after 1 of 4 rows." in done.stderr
    assert "was not checked to the end" in done.stdout
    document = json.loads((tmp_path / "a.json").read_text())
    assert (document["complete"], document["passed"]) == (False, False)
    assert [row["id"] for row in document["rows"]] == [FEW[0].id]


def test_tracebacks_are_shown_when_asked_for(
    run, second_row, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_row(ValueError("out of range"))
    done = run("plugins", "check", "reference")
    assert done.exit_code == 1
    assert "test_plugins_command.py, line " in done.stdout
    assert "check: ValueError: out of range" in done.stdout
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("MSINET_DEBUG", "1")
    done = run("plugins", "check", "reference")
    assert f"{FEW[1].id}:\nTraceback (most recent call last):" in done.stderr


@pytest.mark.usefixtures("absent")
def test_a_device_that_does_not_open_ends_with_3_and_its_reason(run) -> None:
    done = run("plugins", "check", "absent", "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert document["available"] is False
    assert "nowhere" in document["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refrence"], "Did you mean 'reference'?"),
        (["reference", "--precision", "float16"], "does not compute in float16"),
        (["reference", "--report", "report.txt"], "Let it end in .json or .html"),
        (["reference", "--expected-failures", "none.toml"], "none.toml cannot be read"),
        (["reference", "-O", "xla=on"], "has no option 'xla'"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_checked(run, arguments, message) -> None:
    done = run("plugins", "check", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr


def test_what_a_framework_prints_stays_out_of_the_document() -> None:
    code = (
        "import os\n"
        "from msinet_core.cli.plugins import _stdout_to_stderr\n"
        "with _stdout_to_stderr():\n"
        "    os.write(1, b'from C++')\n"
        "    print('from Python')\n"
        "print('ours')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ours\n"
    assert "from C++" in done.stderr
    assert "from Python" in done.stderr


def test_the_list_has_every_column_and_cuts_nothing(run) -> None:
    done = run("plugins", "list")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    for heading in ("entry point", "distribution", "status", "load time", "devices"):
        assert heading in lines[0]
    reference = next(line for line in lines if line.startswith("reference "))
    assert "loaded" in reference
    assert " ms" in reference
    assert "msinet 0" in reference
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in done.stdout


PLUGIN = """
from msinet_core.device import DeviceSpec, Probe, Availability
from msinet_core.registry.hookspecs import hookimpl

def probe():
    return Probe(Availability.INSTALLED)

@hookimpl
def msinet_register_devices(register):
    for name in {names!r}:
        register(DeviceSpec(name=name, summary="S", framework="F", factory="a:B", probe=probe,
                            api_version=1))
"""
MANY = [f"accelerator-number-{number}" for number in range(12)]


@pytest.fixture
def listed(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    modules = {
        "conformance_twin_a": PLUGIN.format(names=["npu"]),
        "conformance_twin_b": PLUGIN.format(names=["npu"]),
        "conformance_many": PLUGIN.format(names=MANY),
        "conformance_broken": "import a_module_that_is_nowhere\n",
    }
    for module, text in modules.items():
        (tmp_path / f"{module}.py").write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "MSINET_PLUGINS": ",".join(modules),
        "COLUMNS": "80",
    }
    command = [sys.executable, "-c", "from msinet_core.cli import main; main()", "plugins", "list"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_many_devices_of_one_plugin_are_all_listed_in_a_pipe(listed) -> None:
    line = next(line for line in listed.stdout.splitlines() if line.startswith("conformance_many"))
    assert all(name in line for name in MANY)


def test_broken_plugins_and_conflicts_come_with_the_cure(listed) -> None:
    assert "broken" in listed.stdout
    assert "No module named 'a_module_that_is_nowhere'" in listed.stderr
    assert "-> take it out of MSINET_PLUGINS" in listed.stderr
    assert "plugins list --traceback" in listed.stderr
    assert "'npu' comes from more than one plugin" in listed.stderr
    assert "MSINET_DISABLE_PLUGINS=" in listed.stderr
