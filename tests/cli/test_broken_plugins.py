"""With every plugin broken in some way the program still starts, and names the broken ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DEVICE = """
from msinet_core import Availability, DeviceSpec, Probe, hookimpl

@hookimpl
def {hook}(register):
    register({spec})
"""
SPEC = (
    "DeviceSpec(name='npu', summary='x', framework='x', factory='x.y:Z', "
    "probe=lambda: Probe(Availability.INSTALLED), api_version=1)"
)

BROKEN = {
    "broken_import": "import a_module_that_does_not_exist",
    "broken_exit": "import sys; sys.exit(3)",
    "broken_hook_name": DEVICE.format(hook="msinet_register_devicez", spec=SPEC),
    "broken_spec": DEVICE.format(hook="msinet_register_devices", spec="{'name': 'npu'}"),
}
PLUGINS = {
    **BROKEN,
    "twin_one": DEVICE.format(hook="msinet_register_devices", spec=SPEC),
    "twin_two": DEVICE.format(hook="msinet_register_devices", spec=SPEC),
    "broken_commands": (
        "from msinet_core import hookimpl\n"
        "@hookimpl\ndef msinet_register_commands(cli):\n    raise RuntimeError('no command')\n"
    ),
    "good_commands": (
        "import click\nfrom msinet_core import hookimpl\n"
        "@hookimpl\ndef msinet_register_commands(cli):\n"
        "    @cli.command()\n    def greet(): click.echo('hello')\n"
    ),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for module, text in PLUGINS.items():
        (tmp_path / f"{module}.py").write_text(text)
    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "MSINET_PLUGINS": ",".join(PLUGINS),
        "MSINET_DISABLE_PLUGINS": "msinet,msinet-device-jax",  # no working device is left
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
    assert ("greet" in done.stdout) is (argument == "--help")


@pytest.mark.parametrize("arguments", [["devices"], ["plugins", "list"]], ids=" ".join)
def test_lists_work_and_name_the_broken_plugins(
    environment: dict[str, str], arguments: list[str]
) -> None:
    done = run(environment, *arguments)
    assert done.returncode == 0, done.stderr
    for name in (
        *BROKEN,
        "'msinet_register_devices'",
        "MSINET_PLUGINS",
        "plugins list --traceback",
    ):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_the_lists_as_json_name_the_broken_plugins(environment: dict[str, str]) -> None:
    devices = json.loads(run(environment, "devices", "--json").stdout)
    assert [entry["status"] for entry in devices["devices"]] == ["not here", "not here"]
    assert {problem["plugin"].split("'")[1] for problem in devices["problems"]} == set(BROKEN)
    plugins = json.loads(run(environment, "plugins", "list", "--json").stdout)
    status = {row["plugin"]: row["status"] for row in plugins["plugins"]}
    assert all(status[name] == "broken" for name in BROKEN)
    assert status["twin_one"] == "loaded"
    assert status["msinet_cpu"] == "disabled"
    assert list(plugins["conflicts"]) == ["npu"]


def test_the_traceback_of_a_broken_plugin_is_shown_on_request(environment: dict[str, str]) -> None:
    done = run(environment, "plugins", "list", "--traceback")
    assert 'broken_import.py", line 1' in done.stderr


def test_a_name_of_two_plugins_is_an_error_that_names_both(environment: dict[str, str]) -> None:
    done = run(environment, "--device", "npu", "devices")
    assert done.returncode == 1
    for name in ("twin_one", "twin_two", "MSINET_DISABLE_PLUGINS="):
        assert name in done.stderr


def test_a_plugin_whose_commands_fail_is_named_and_others_work(environment: dict[str, str]) -> None:
    done = run(environment, "no-such-command")
    assert done.returncode == 2
    assert "broken_commands" in done.stderr
    assert "'no-such-command'" in done.stderr
    done = run(environment, "greet")
    assert (done.returncode, done.stdout) == (0, "hello\n")


def test_a_check_outlives_a_probe_that_ends_its_process(tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text(
        "import dataclasses, os\n"
        "from msinet_core import hookimpl\n"
        "from msinet_core.reference import SPEC\n"
        "def probe():\n    os._exit(3)\n"
        "@hookimpl\ndef msinet_register_devices(register):\n"
        "    register(dataclasses.replace(SPEC, name='ending', aliases=(), probe=probe))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "MSINET_PLUGINS": "ending"}
    rows = ("--rows", "description/*", "--rows", "device/unavailable")
    done = run(environment, "plugins", "check", "ending", "--json", *rows)
    assert done.returncode == 1, done.stderr
    statuses = {row["id"]: row["status"] for row in json.loads(done.stdout)["rows"]}
    assert statuses["description/imports"] == "passed"
    assert statuses["description/probe-result"] == "failed"
    assert statuses["device/unavailable"] == "not applicable"
