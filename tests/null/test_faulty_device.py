"""A device that fails while a command runs is named, with its plugin and the line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Run

PLUGIN = """
from dataclasses import replace

from msinet_core import hookimpl
from msinet_core.network.ops import Concat
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice


def concat(op, inputs, weights):
    raise ValueError("boom")


class Broken(ReferenceDevice):
    @property
    def layer_builders(self):
        return {**super().layer_builders, Concat: concat}


@hookimpl
def msinet_register_devices(register):
    register(replace(SPEC, name="broken", factory="faulty_npu:Broken"))
"""
SMALL = ("--init", "random", "--width", "0.02", "--image-size", "32x40", "--epochs", "1")


@pytest.fixture(autouse=True)
def plugin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_npu.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MSINET_PLUGINS", "faulty_npu")


def test_an_exception_in_a_builder_names_device_plugin_and_line(run: Run, tiny_data: Path) -> None:
    result = run("--device", "broken", "train", "--data", tiny_data, "--run", "r", *SMALL)
    assert result.exit_code == 1
    assert "'broken'" in result.stderr
    assert "ValueError: boom" in result.stderr
    assert "faulty_npu.py, line 11, concat" in result.stderr
    assert "plugin 'faulty_npu' (from MSINET_PLUGINS)" in result.stderr


def test_the_next_command_names_the_device(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "--data", tiny_data, *SMALL, "--limit-train", "1", "--limit-valid", "1")
    monkeypatch.setenv("MSINET_DEVICE", "reference")
    result = run(*train, "--run", "a")
    assert "msinet-run --device reference predict IMAGES --weights a" in result.stderr
