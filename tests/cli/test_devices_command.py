"""``msinet-run devices`` shows everything about a device, and the front door returns it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import msinet_core
from msinet_core.errors import UsageError
from msinet_core.registry.inventory import check_device

if TYPE_CHECKING:
    from tests.conftest import Run

REASON = "Its chip is not in this machine, " + "which takes many words to explain, " * 20 + "here."
PLUGIN = f"""
import time
from msinet_core import Availability, DeviceOption, DeviceSpec, Probe, hookimpl

def look():
    raise OSError("the bus is gone")

@hookimpl
def msinet_register_devices(register):
    register(DeviceSpec(
        name="npu", summary="x", framework="x", factory="x.y:Z", api_version=1,
        probe=lambda: Probe(Availability.NOT_HERE, {REASON!r}, 'pip install "a-chip>=1"'),
        options=(DeviceOption("fuse", "Fuse layers.", "on", ("on", "off")),),
    ))
    register(DeviceSpec("faulty", "x", "x", "x.y:Z", look, 1))
    register(DeviceSpec("nowhere", "x", "x", "x.y:Z", lambda: Probe(Availability.INSTALLED), 1))
"""


@pytest.fixture(autouse=True)
def plugin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "npu_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MSINET_PLUGINS", "npu_plugin")
    monkeypatch.setenv("COLUMNS", "40")


def test_a_pipe_gets_reason_and_fix_whole(run: Run) -> None:
    lines = run("--device", "npu", "devices").stdout.splitlines()
    assert f"    {REASON}" in lines
    assert '    -> pip install "a-chip>=1"' in lines


def test_json_lists_the_options_with_their_values(run: Run) -> None:
    (device,) = json.loads(run("--device", "npu", "devices", "--json").stdout)["devices"]
    assert device["options"] == [
        {"name": "fuse", "summary": "Fuse layers.", "default": "on", "choices": ["on", "off"]}
    ]


def test_a_probe_that_raises_is_reported_with_its_traceback_on_request(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = 'npu_plugin.py", line 6, in look'
    result = run("devices")
    assert result.exit_code == 0
    assert "OSError: the bus is gone" in result.stdout
    assert line not in result.stderr
    assert line in run("plugins", "list", "--traceback").stderr
    assert line not in run("plugins", "list").stderr
    monkeypatch.setenv("MSINET_DEBUG", "1")
    assert line in run("devices").stderr
    assert run("plugins", "list").stderr.count(line) == 1
    assert line not in run("--device", "reference", "devices").stderr


def test_the_front_door_returns_the_same_as_the_command(run: Run) -> None:
    document = json.loads(run("devices", "--json").stdout)
    entries = [entry.to_dict() for entry in msinet_core.devices()]
    assert json.loads(json.dumps(entries)) == document["devices"]
    (reference,) = msinet_core.devices(name="reference")
    assert (reference.name, reference.status) == ("reference", "installed")
    with pytest.raises(UsageError):
        msinet_core.devices(name="no-such-device")


def test_broken_plugins_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_PLUGINS", "no_such_plugin")
    with pytest.warns(UserWarning, match="no_such_plugin"):
        assert msinet_core.devices(name="reference")


def test_an_unavailable_device_is_not_checked() -> None:
    (npu,) = msinet_core.devices(name="npu")
    assert check_device(npu) is npu


def test_a_device_that_does_not_open_fails_its_check() -> None:
    (nowhere,) = msinet_core.devices(name="nowhere")
    checked = check_device(nowhere)
    assert checked.status == "failed its check"
    assert checked.failed


def test_checking_executes_nothing_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("json", "numpy", "click", "msinet_core"):
        (folder / f"{name}.py").write_text("open('executed', 'w')")
    (nowhere,) = msinet_core.devices("nowhere", check=True)
    assert nowhere.failed
    assert not (folder / "executed").exists()
