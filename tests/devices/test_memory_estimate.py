"""The estimated memory of a training step is within a quarter of what a process then uses more."""

from __future__ import annotations

import importlib.util
import subprocess

import pytest

from msinet_core.network.memory import estimate_memory
from msinet_core.network.msinet import msinet_graph
from msinet_core.system.child_process import python_command

SHAPE, WIDTH = (2, 240, 320, 3), 0.5

MEASURE = """
import gc, sys
import numpy as np, psutil
from msinet_core import Adam, Batch, KLDivergence, msinet_graph
from msinet_core.benchmark.memory_meter import MemoryMeter
from msinet_core.registry.registry import load_registry
from msinet_core.training.initial_weights import random_state
device = load_registry().spec(sys.argv[1]).open(sys.argv[2])
def train(width, shape, steps):
    graph = msinet_graph(width)
    state = random_state(graph, 0)
    batch = Batch(np.ones(shape, 'f'), np.ones((*shape[:3], 1), 'f'))
    gc.collect()
    before = psutil.Process().memory_info().rss
    with MemoryMeter() as meter:
        model = device.compile(graph, state, loss=KLDivergence(), optimizer=Adam())
        for _ in range(steps):
            float(model.train_step([batch], 1e-6))
    return meter.process - before
train(0.02, (1, 24, 32, 3), 1)  # starts the framework's threads
print(train(WIDTH, SHAPE, 1))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "package", "precision"),
    [("cpu", "tensorflow", "float32"), ("torch-cpu", "torch", "float32")],
)
def test_the_estimate_is_within_a_quarter_of_the_growth(
    device: str, package: str, precision: str
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    code = MEASURE.replace("SHAPE", repr(SHAPE)).replace("WIDTH", repr(WIDTH))
    command = python_command(f"exec({code!r})", device, precision)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    growth = int(done.stdout.splitlines()[-1])
    batch, height, width, _ = SHAPE
    one = estimate_memory(msinet_graph(WIDTH), (height, width), precision)
    estimate = one.fixed + batch * one.per_image
    assert 0.75 < estimate / growth < 1.25, (estimate, growth)
