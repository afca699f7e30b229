"""With every plugin broken in some way the program still starts, and names the culprits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DEVICE = """
from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.registry.hookspecs import hookimpl

@hookimpl
def {hook}(register):
    register({spec})
"""
SPEC = (
    "DeviceSpec(name='npu', summary='x', framework='x', factory='x.y:Z', "
    "probe=lambda: Probe(Availability.INSTALLED), api_version=1)"
)

BROKEN = {
    "broken_import": "import a_module_that_is_nowhere",
    "broken_exit": "import sys; sys.exit(3)",
    "broken_hook_name": DEVICE.format(hook="msinet_register_devicez", spec=SPEC),
    "broken_spec": DEVICE.format(hook="msinet_register_devices", spec="{'name': 'npu'}"),
    "broken_twin_one": DEVICE.format(hook="msinet_register_devices", spec=SPEC),
    "broken_twin_two": DEVICE.format(hook="msinet_register_devices", spec=SPEC),
    "broken_commands": (
        "from msinet_core.registry.hookspecs import hookimpl\n"
        "@hookimpl\ndef msinet_register_commands(cli):\n    raise RuntimeError('no command')\n"
    ),
}
CULPRITS = ["broken_import", "broken_exit", "broken_hook_name", "broken_spec"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for module, text in BROKEN.items():
        (tmp_path / f"{module}.py").write_text(text)
    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "MSINET_PLUGINS": ",".join(BROKEN),
        "MSINET_DISABLE_PLUGINS": "msinet",  # not one good plugin is left
        "COLUMNS": "200",
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from msinet_core.cli import main; main()", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_work(environment: dict[str, str], argument: str) -> None:
    done = run(environment, argument)
    assert done.returncode == 0, done.stderr
    assert "msinet-run" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["devices"], ["plugins", "list"]], ids=" ".join)
def test_lists_work_and_name_the_culprits(
    environment: dict[str, str], arguments: list[str]
) -> None:
    done = run(environment, *arguments)
    assert done.returncode == 0, done.stderr
    for culprit in CULPRITS:
        assert culprit in done.stderr
    assert "Did you mean 'msinet_register_devices'?" in done.stderr
    assert "-> take it out of MSINET_PLUGINS" in done.stderr
    assert "msinet-run plugins list --traceback" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_lists_as_json_name_the_culprits_too(environment: dict[str, str]) -> None:
    devices = json.loads(run(environment, "devices", "--json").stdout)
    assert [entry["status"] for entry in devices["devices"]] == ["not here", "not here"]
    assert {problem["plugin"].split("'")[1] for problem in devices["problems"]} == set(CULPRITS)
    plugins = json.loads(run(environment, "plugins", "list", "--json").stdout)
    status = {row["plugin"]: row["status"] for row in plugins["plugins"]}
    assert all(status[culprit] == "broken" for culprit in CULPRITS)
    assert status["broken_twin_one"] == "loaded"
    assert status["msinet_cpu"] == "disabled"
    assert list(plugins["conflicts"]) == ["npu"]


def test_the_traceback_of_a_broken_plugin_is_there_on_demand(environment: dict[str, str]) -> None:
    done = run(environment, "plugins", "list", "--traceback")
    assert "a_module_that_is_nowhere" in done.stderr
    assert 'broken_import.py", line 1' in done.stderr


def test_a_name_that_two_plugins_claim_is_an_error_with_the_cure(
    environment: dict[str, str],
) -> None:
    done = run(environment, "--device", "npu", "devices")
    assert done.returncode == 1
    assert "broken_twin_one" in done.stderr
    assert "broken_twin_two" in done.stderr
    assert "MSINET_DISABLE_PLUGINS=" in done.stderr


def test_a_plugin_whose_command_hook_fails_is_named(environment: dict[str, str]) -> None:
    done = run(environment, "no-such-command")
    assert done.returncode == 2
    assert "broken_commands" in done.stderr
    assert "There is no command" in done.stderr
