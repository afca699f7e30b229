"""What ``msinet-run devices`` shows of a device: everything, on lines that nothing cuts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msinet_core.registry import probe_runner

if TYPE_CHECKING:
    from tests.conftest import Run

REASON = "Its chip is not in this machine, " + "and that is said at length, " * 20 + "to the end."
PLUGIN = f"""
from msinet_core.device import Availability, DeviceOption, DeviceSpec, Probe
from msinet_core.registry.hookspecs import hookimpl

@hookimpl
def msinet_register_devices(register):
    register(DeviceSpec(
        name="npu", summary="x", framework="x", factory="x.y:Z", api_version=1,
        probe=lambda: Probe(Availability.NOT_HERE, {REASON!r}, 'pip install "a-chip>=1"'),
        options=(DeviceOption("fuse", "Fuse layers.", "on", ("on", "off")),),
    ))
"""


FAULTY = """
import time
from msinet_core.device import DeviceSpec
from msinet_core.registry.hookspecs import hookimpl

def look():
    raise OSError("the bus is gone")

@hookimpl
def msinet_register_devices(register):
    for name, probe in (("faulty", look), ("stuck", lambda: time.sleep(3600))):
        register(DeviceSpec(name, "x", "x", "x.y:Z", probe, 1))
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_plugin.py").write_text(FAULTY)
    monkeypatch.setenv("MSINET_PLUGINS", "faulty_plugin")
    monkeypatch.setattr(probe_runner, "PROBE_TIMEOUT", 0.1)


@pytest.fixture(autouse=True)
def plugin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long_winded_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MSINET_PLUGINS", "long_winded_plugin")
    monkeypatch.setenv("COLUMNS", "40")


def test_a_pipe_gets_reason_and_cure_whole(run: Run) -> None:
    lines = run("--device", "npu", "devices").stdout.splitlines()
    assert f"    {REASON}" in lines
    assert '    -> pip install "a-chip>=1"' in lines


def test_json_lists_the_options_with_their_values(run: Run) -> None:
    (device,) = json.loads(run("--device", "npu", "devices", "--json").stdout)["devices"]
    assert device["options"] == [
        {"name": "fuse", "summary": "Fuse layers.", "default": "on", "choices": ["on", "off"]}
    ]


@pytest.mark.usefixtures("faulty")
def test_probes_that_raise_or_hang_are_told_with_the_way_to_more(run: Run) -> None:
    told = run("devices").stdout
    assert "in faulty_plugin, raised OSError: the bus is gone, a fault of its plugin." in told
    assert "in faulty_plugin, took longer than 0.1 s, a fault of its plugin." in told
    assert told.count("-> msinet-run plugins list --traceback shows where") == 2


@pytest.mark.usefixtures("faulty")
def test_the_traceback_of_a_probe_is_there_on_demand(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = run("plugins", "list", "--traceback").stderr
    assert "Device 'faulty', plugin 'faulty_plugin'" in listed
    assert 'faulty_plugin.py", line 7, in look' in listed
    assert "time.sleep(3600)" in listed
    assert "Traceback" not in run("plugins", "list").stderr
    monkeypatch.setenv("MSINET_DEBUG", "1")
    assert 'faulty_plugin.py", line 7, in look' in run("devices").stderr
    assert run("plugins", "list").stderr.count('faulty_plugin.py", line 7, in look') == 1


@pytest.mark.usefixtures("faulty")
def test_one_device_is_looked_at_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_DEBUG", "1")
    assert run("--device", "reference", "devices").stderr == ""
