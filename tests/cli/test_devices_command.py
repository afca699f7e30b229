"""What ``msinet-run devices`` shows of a device: everything, on lines that nothing cuts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Run

REASON = "Its chip is not in this machine, " + "and that is said at length, " * 20 + "to the end."
PLUGIN = f"""
from msinet_core.device import Availability, DeviceOption, DeviceSpec, Probe
from msinet_core.hookspecs import hookimpl

@hookimpl
def msinet_register_devices(register):
    register(DeviceSpec(
        name="npu", summary="x", framework="x", factory="x.y:Z", api_version=1,
        probe=lambda: Probe(Availability.NOT_HERE, {REASON!r}, 'pip install "a-chip>=1"'),
        options=(DeviceOption("fuse", "Fuse layers.", "on", ("on", "off")),),
    ))
"""


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
