"""A training run moves from device to device, epoch by epoch, and its losses do not change.

The graphs of metal, cuda and tpu run on the processor here, and so do MLX and PyTorch; the
hardware itself is not tested. Weights and moments pass through the run's checkpoint in canonical
form, so a device that reads the file of one other device reads those of all. Devices whose
framework is not installed are left out.
"""

from __future__ import annotations

import csv
import importlib
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from msinet_core.device import Device, DeviceSpec
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.start import start_training
from msinet_cpu import SPEC as CPU
from msinet_cuda_nchw import SPEC as CUDA
from msinet_metal_nhwc import SPEC as METAL
from msinet_mlx import SPEC as MLX
from msinet_torch import CPU as TORCH_CPU
from msinet_tpu import SPEC as TPU


class OnProcessor(ModuleType):
    """Opens devices of other hardware on the processor; a module, as factories are."""

    @staticmethod
    def metal(spec: DeviceSpec, *arguments: Any, **options: Any) -> Device:
        device: Device = importlib.import_module("msinet_metal_nhwc.device").NhwcDevice(spec)
        return device

    @staticmethod
    def cuda(spec: DeviceSpec, *arguments: Any, **options: Any) -> Device:
        device: Device = importlib.import_module("msinet_cuda_nchw.device").NchwDevice(spec)
        return device

    @staticmethod
    def tpu(spec: DeviceSpec, *arguments: Any, **options: Any) -> Device:
        device: Device = importlib.import_module("msinet_tpu.device").XlaDevice(spec, "float32")
        return device


SPECS = {
    "numpy": (REFERENCE,),
    "tensorflow": (
        CPU,
        *(replace(spec, factory=f"on_processor:{spec.name}") for spec in (METAL, CUDA, TPU)),
    ),
    "mlx": (MLX,),
    "torch": (TORCH_CPU,),
}
"""The devices of each framework."""

AVAILABLE = [spec for framework, specs in SPECS.items() if find_spec(framework) for spec in specs]


def column(path: Path, name: str) -> list[float]:
    with path.open(newline="") as stream:
        return [float(row[name]) for row in csv.DictReader(stream)]


@pytest.mark.skipif(len(AVAILABLE) < 2, reason="no framework is installed")
@pytest.mark.slow
def test_a_run_that_moves_has_the_losses_of_a_run_that_stays(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "on_processor", OnProcessor("on_processor"))
    route = [*AVAILABLE, *AVAILABLE[:2]]  # every device continues a run and hands it on
    config = TrainConfig(
        str(tiny_data),
        "reference",
        width=0.05,
        init="random",
        precision="float32",
        image_size=(24, 32),
        learning_rate=3e-4,
        batch_size=2,
        limit_train=3,
        limit_valid=1,
        epochs=len(route),
    )
    moving, staying = RunFolder(tmp_path / "moving"), RunFolder(tmp_path / "staying")
    for epoch, spec in enumerate(route, 1):
        start_training(replace(config, epochs=epoch), moving, spec, resume=epoch > 1)
        assert read_config(moving.config).device == spec.name
    start_training(config, staying, REFERENCE)
    for table, name in (("steps", "loss"), ("history", "valid_loss")):
        losses = [column(getattr(run, table), name) for run in (moving, staying)]
        np.testing.assert_allclose(*losses, rtol=1e-4)
    assert column(moving.history, "valid_loss")[-1] < column(moving.history, "valid_loss")[0]
