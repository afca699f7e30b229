"""A training run moves between any two devices mid-run, through a file, and nobody notices.

metal's, cuda's and tpu's graphs are computed on the processor here; what the hardware computes is
not shown. Weights only ever go from one device to canonical and from there to the next.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from msinet_core.device import Device
from msinet_core.initialize import random_state
from msinet_core.loss import KLDivergence
from msinet_core.network import msinet
from msinet_core.optimizer import Adam
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.state import Batch, State
from msinet_cpu import SPEC as CPU
from msinet_cuda_nchw import SPEC as CUDA
from msinet_metal_nhwc import SPEC as METAL
from msinet_tpu import SPEC as TPU

pytest.importorskip("tensorflow")

GRAPH = msinet(0.05)
LEARNING_RATE = 1e-3
EVERY_PAIR = [
    *("reference", "cpu", "reference", "metal", "reference", "cuda", "reference", "tpu"),
    *("cpu", "metal", "cpu", "cuda", "cpu", "tpu"),
    *("metal", "cuda", "metal", "tpu"),
    *("cuda", "tpu", "reference"),
]
"""A tour in which each two devices meet."""


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


OPEN: Mapping[str, Callable[[], Device]] = {
    name: cache(function)
    for name, function in {
        "reference": REFERENCE.open,
        "cpu": CPU.open,
        "metal": metal,
        "cuda": nchw,
        "tpu": xla,
    }.items()
}


def batch(step: int) -> Batch:
    random = np.random.default_rng(step)
    images = random.uniform(0, 255, (2, 24, 32, 3)).astype(np.float32)
    return Batch(images, random.uniform(0, 1, (2, 24, 32, 1)).astype(np.float32))


def one_step(name: str, state: State, step: int) -> tuple[float, State]:
    model = OPEN[name]().compile(GRAPH, state, loss=KLDivergence(), optimizer=Adam())
    return float(model.train_step([batch(step)], LEARNING_RATE)), model.state()


def test_the_tour_takes_every_pair_of_devices_one_way_at_least() -> None:
    met = {frozenset(pair) for pair in pairwise(EVERY_PAIR)}
    assert len(met) == len(OPEN) * (len(OPEN) - 1) // 2


def test_a_run_on_five_devices_has_the_losses_of_a_run_on_one(tmp_path: Path) -> None:
    path = tmp_path / "moving.msinet.h5"
    state = stayed = random_state(GRAPH, seed=3)
    moving, staying = [], []
    for step, name in enumerate(EVERY_PAIR):
        loss, state = one_step(name, state, step)
        save_checkpoint(path, Checkpoint(GRAPH, state))
        state = load_checkpoint(path).state
        moving.append(loss)
        loss, stayed = one_step("reference", stayed, step)
        staying.append(loss)
    assert state.optimizer is not None
    assert state.optimizer.step == len(EVERY_PAIR)
    np.testing.assert_allclose(moving, staying, rtol=1e-4)
    assert moving[-1] < moving[0]
