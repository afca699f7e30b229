"""A training run moves between any two devices mid-run, through a file, and nobody notices.

metal's, cuda's and tpu's graphs run on the processor here, and so do MLX and PyTorch; what
the hardware computes is not shown. Weights only ever go from one device to canonical and from there
to the next. Devices whose framework is not installed are left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.training.initial_weights import random_state
from msinet_cpu import SPEC as CPU
from msinet_cuda_nchw import SPEC as CUDA
from msinet_metal_nhwc import SPEC as METAL
from msinet_mlx import SPEC as MLX
from msinet_torch import CPU as TORCH_CPU
from msinet_tpu import SPEC as TPU

GRAPH = msinet_graph(0.05)
LEARNING_RATE = 3e-4


def metal() -> Device:
    module = importlib.import_module("msinet_metal_nhwc.device")
    device: Device = module.MetalDevice(METAL, place=module.PROCESSOR)
    return device


def nchw() -> Device:
    device: Device = importlib.import_module("msinet_cuda_nchw.device").NchwDevice(CUDA)
    return device


def xla() -> Device:
    device: Device = importlib.import_module("msinet_tpu.device").XlaDevice(TPU, "float32")
    return device


OPEN: Mapping[str, tuple[str, Callable[[], Device]]] = {
    "reference": ("numpy", REFERENCE.open),
    "cpu": ("tensorflow", CPU.open),
    "metal": ("tensorflow", metal),
    "cuda": ("tensorflow", nchw),
    "tpu": ("tensorflow", xla),
    "mlx": ("mlx", lambda: MLX.open("float32")),
    "torch-cpu": ("torch", TORCH_CPU.open),
}
"""The framework of each device, and how it is opened."""

HERE = [name for name, (framework, _) in OPEN.items() if find_spec(framework)]


@cache
def device(name: str) -> Device:
    return OPEN[name][1]()


def tour(names: Sequence[str]) -> list[str]:
    """Walk from device to device until each two have met, one way at least."""
    unmet = {frozenset(pair) for pair in combinations(names, 2)}
    walk = [names[0]]
    while unmet:
        left = [name for name in names if any(name in pair for pair in unmet)]
        here = walk[-1]
        walk.append(next((name for name in left if {here, name} in unmet), left[0]))
        unmet -= {frozenset((here, walk[-1]))}
    return walk


def batch(step: int) -> Batch:
    random = np.random.default_rng(step)
    images = random.uniform(0, 255, (2, 24, 32, 3)).astype(np.float32)
    return Batch(images, random.uniform(0, 1, (2, 24, 32, 1)).astype(np.float32))


def one_step(name: str, state: State, step: int) -> tuple[float, State]:
    model = device(name).compile(GRAPH, state, loss=KLDivergence(), optimizer=Adam())
    return float(model.train_step([batch(step)], LEARNING_RATE)), model.state()


def test_the_tour_takes_every_pair_of_devices() -> None:
    names = list(OPEN)
    met = {frozenset(pair) for pair in pairwise(tour(names))}
    assert {frozenset(pair) for pair in combinations(names, 2)} <= met


@pytest.mark.skipif(len(HERE) < 2, reason="no framework is installed")
def test_a_run_that_moves_has_the_losses_of_a_run_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "moving.msinet.h5"
    walk = tour(HERE)
    state = stayed = random_state(GRAPH, seed=3)
    moving, staying = [], []
    for step, name in enumerate(walk):
        loss, state = one_step(name, state, step)
        save_checkpoint(path, Checkpoint(GRAPH, state))
        state = load_checkpoint(path).state
        moving.append(loss)
        loss, stayed = one_step("reference", stayed, step)
        staying.append(loss)
    assert state.optimizer is not None
    assert state.optimizer.step == len(walk)
    np.testing.assert_allclose(moving, staying, rtol=1e-4)
    assert moving[-1] < moving[0]
