"""Eight simulated CPU devices compute what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from msinet_core import UsageError

from msinet_device_jax import SPEC

SCRIPT = """
import json
import jax
import numpy as np
from msinet_core import Adam, Batch, GraphBuilder, KLDivergence, State, ops
from msinet_device_jax import SPEC

net = GraphBuilder()
net.add("mean", ops.SubtractMean((100.0, 110.0, 120.0)), net.input)
net.add("conv1", ops.Conv2D(8, 3, dilation=2), "mean")
net.add("pool", ops.MaxPool2D(2, 2), "conv1")
net.add("conv2", ops.Conv2D(1, activation="linear", use_bias=False), "pool")
net.add("resize", ops.Resize(2), "conv2")
net.add("map", ops.MinMaxNormalize(), "resize")
graph = net.build()
random = np.random.default_rng(0)
weights = {p.name: 0.1 * random.normal(size=p.shape).astype("f4") for p in graph.parameters}
batch = Batch(*(random.uniform(0, 255, (8, 8, 12, channels)).astype("f4") for channels in (3, 1)))
# A batch, and uneven ones accumulated.
STEPS = [[(0, 8)], [(0, 5), (0, 8)]]


def train(distribute, precision):
    device = SPEC.open(precision, {"platform": "cpu"}, distribute)
    model = device.compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())
    losses = []
    for step in STEPS if precision == "float32" else STEPS[:1]:
        batches = [Batch(*(part[first:last] for part in batch)) for first, last in step]
        losses.append(float(model.train_step(batches, 1e-3)))
    memory = jax.tree.leaves(model._memory)
    arguments = [model._placement.split_images(batch), model._placement.split_shares(8, 8)]
    program = model._compiled_train.lower(model._memory, *arguments, np.float32(1)).compile()
    state = model.state()
    return {
        "replicas": device.processes.replicas,
        "losses": losses,
        "predicted": np.asarray(model.predict(batch.images[:5])).tolist(),
        "weights": np.concatenate([v.ravel() for v in state.weights.values()]).tolist(),
        "moments": np.concatenate([v.ravel() for v in state.optimizer.v.values()]).tolist(),
        "on": min(len(array.sharding.device_set) for array in memory),
        "copied": all(array.is_fully_replicated for array in memory),
        "sums": "all-reduce" in program.as_text(),
        "gathers": "all-gather" in program.as_text(),
    }


automatic = [SPEC.open("float32", {"platform": "cpu"}, "auto", size) for size in (None, 1, 3)]
runs = {p: [train(d, p) for d in ("none", "mirrored")] for p in ("float32", "bfloat16")}
print(json.dumps(runs | {"automatic": [device.processes.replicas for device in automatic]}))
"""


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 2e-3)])
@pytest.mark.parametrize(
    "values", ["losses", "predicted", "weights", "moments"]
)  # fmt: skip
def test_eight_devices_compute_what_one_does(runs, precision, tolerance, values) -> None:
    one, eight = (np.array(run[values]) for run in runs[precision])
    scale = np.abs(one).max()
    assert np.abs(eight - one).max() <= tolerance * scale


def test_each_device_has_all_weights_and_gradients_are_summed_over_devices(runs) -> None:
    one, eight = runs["float32"]
    assert (one["replicas"], eight["replicas"]) == (1, 8)
    assert runs["automatic"] == [8, 1, 3]  # no more than a batch has images
    assert (eight["on"], eight["copied"], eight["sums"]) == (8, True, True)
    assert not eight["gathers"]  # no device receives the images of another
    assert not one["sums"]


def test_mirrored_needs_several_devices() -> None:
    with pytest.raises(UsageError, match="at least two devices"):
        SPEC.open("float32", {"platform": "cpu"}, "mirrored")
