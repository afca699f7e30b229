"""``msinet-run plugins``: the list, and the check with its reports and exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.scenario import Scenario
from msinet_core.conformance.scenarios import ALL_SCENARIOS, layers
from msinet_core.device import DeviceSpec
from msinet_core.registry.registry import Registry

FEW = ["device/opens", *(f"forward/{setting.id}" for setting in layers.SETTINGS[:3])]
CHECK = ("plugins", "check", "reference", *(part for row in FEW for part in ("--rows", row)))


def row(name: str) -> Scenario:
    return next(scenario for scenario in ALL_SCENARIOS if scenario.id == name)


def test_a_correct_device_passes_every_row(run) -> None:
    done = run(*CHECK)
    assert done.exit_code == 0, done.output
    for name in FEW:
        assert name in done.stdout
    assert "4 passed" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:-1])


def test_the_report_is_one_json_document(run) -> None:
    document = json.loads(run(*CHECK, "--json").stdout)
    assert document["passed"] is True
    assert [row["id"] for row in document["rows"]] == FEW


def test_reports_are_written_as_json_and_as_a_page(run, tmp_path: Path) -> None:
    assert run(*CHECK, "--report", "a.json").exit_code == 0
    assert run(*CHECK, "--report", "a.html").exit_code == 0
    assert json.loads((tmp_path / "a.json").read_text())["device"] == "reference"
    assert "reference</h1>" in (tmp_path / "a.html").read_text()


def test_rows_that_failed_before_are_checked_again(run, raise_in_second_row) -> None:
    raise_in_second_row(ValueError("out of range"))
    assert run(*CHECK, "--report", "a.json").exit_code == 1
    done = run("plugins", "check", "reference", "--failed-from", "a.json", "--json")
    assert [row["id"] for row in json.loads(done.stdout)["rows"]] == [FEW[1]]


def test_an_unexpected_pass_ends_with_1(run, tmp_path: Path) -> None:
    (tmp_path / "known.toml").write_text(f'["{FEW[1]}"]\nreason = "R."\nlink = "L"')
    done = run(*CHECK, "--expected-failures", "known.toml", "--json")
    assert done.exit_code == 1
    assert f"{FEW[1]} passed unexpectedly\n" in done.stderr
    row = json.loads(done.stdout)["rows"][1]
    assert row["status"] == "passed unexpectedly"
    assert "R. (L)" in row["reason"]


@pytest.fixture
def raise_in_second_row(monkeypatch: pytest.MonkeyPatch):
    """Let the second row raise."""

    def raise_error(error: BaseException) -> None:
        def check(subject: object) -> Outcome:
            raise error

        object.__setattr__(row(FEW[1]), "check", check)

    before = row(FEW[1]).check
    yield raise_error
    object.__setattr__(row(FEW[1]), "check", before)


def test_after_ctrl_c_it_reports_the_rows_so_far_and_ends_with_130(
    run, raise_in_second_row, tmp_path: Path
) -> None:
    raise_in_second_row(KeyboardInterrupt())
    done = run(*CHECK, "--report", "a.json")
    assert done.exit_code == 130
    assert "1 of 4 rows" in done.stderr
    document = json.loads((tmp_path / "a.json").read_text())
    assert (document["complete"], document["passed"]) == (False, False)
    assert [row["id"] for row in document["rows"]] == FEW[:1]


def test_tracebacks_are_shown_on_request(
    run, raise_in_second_row, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_in_second_row(ValueError("out of range"))
    done = run(*CHECK)
    assert done.exit_code == 1
    assert "test_plugins_command.py, line " in done.stdout
    assert "check: ValueError: out of range" in done.stdout
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("MSINET_DEBUG", "1")
    done = run(*CHECK)
    assert f"{FEW[1]}:\nTraceback (most recent call last):" in done.stderr


def test_a_device_that_does_not_open_ends_with_3_and_its_reason(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Registry.spec

    def spec(self: Registry, name: str) -> DeviceSpec:
        return dataclasses.replace(find(self, name), factory="nowhere:Nothing")

    monkeypatch.setattr(Registry, "spec", spec)
    done = run(*CHECK, "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert document["available"] is False
    assert "nowhere" in document["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["refrence"], "'reference'"),
        (["reference", "--precision", "float16"], "float16"),
        (["reference", "--report", "report.txt"], "report.txt"),
        (["reference", "--rows", "training/*"], "training/*"),
        (["reference", "--expected-failures", "none.toml"], "none.toml"),
        (["reference", "-O", "xla=on"], "'xla'"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_checked(run, arguments, named) -> None:
    done = run("plugins", "check", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert named in done.stderr


NOISY = """
import os
from dataclasses import replace

from msinet_core import hookimpl
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice


class Noisy(ReferenceDevice):
    def __init__(self, *arguments):
        os.write(1, b"from C++")
        print("from Python")
        super().__init__(*arguments)


@hookimpl
def msinet_register_devices(register):
    register(replace(SPEC, name="noisy", factory="conformance_noisy:Noisy"))
"""


def command(folder: Path, modules: Mapping[str, str], *arguments: str):
    """Run msinet-run in a process of its own, with modules as plugins."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "MSINET_PLUGINS": ",".join(modules),
        "COLUMNS": "80",
    }
    code = "from msinet_core.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_what_a_framework_prints_stays_out_of_the_document(tmp_path: Path) -> None:
    arguments = ("plugins", "check", "noisy", "--rows", "device/opens", "--json")
    done = command(tmp_path, {"conformance_noisy": NOISY}, *arguments)
    assert json.loads(done.stdout)["device"] == "noisy"
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
    assert "…" not in done.stdout


PLUGIN = """
from msinet_core import Availability, DeviceSpec, Probe, hookimpl

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
    return command(tmp_path, modules, "plugins", "list")


def test_many_devices_of_one_plugin_are_all_listed_in_a_pipe(listed) -> None:
    line = next(line for line in listed.stdout.splitlines() if line.startswith("conformance_many"))
    assert all(name in line for name in MANY)


def test_broken_plugins_and_conflicts_come_with_a_fix(listed) -> None:
    assert "broken" in listed.stdout
    assert "No module named 'a_module_that_is_nowhere'" in listed.stderr
    assert "\n-> " in listed.stderr
    assert "MSINET_PLUGINS" in listed.stderr
    assert "plugins list --traceback" in listed.stderr
    assert "'npu'" in listed.stderr
    assert "MSINET_DISABLE_PLUGINS=" in listed.stderr


def test_what_a_plugin_prints_stays_out_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "from dataclasses import replace\n"
        "from msinet_core import hookimpl\n"
        "from msinet_core.reference import SPEC\n"
        "print('hello')\n"
        "@hookimpl\n"
        "def msinet_register_devices(register):\n"
        "    print('hello again')\n"
        "    register(replace(SPEC, name='chatty', aliases=()))\n"
    )
    code = "from msinet_core.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "plugins", "check", "chatty", "--rows", FEW[1], "--json"],
        env={**os.environ, "MSINET_PLUGINS": "chatty", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["passed"] is True
    assert "hello" in done.stderr
