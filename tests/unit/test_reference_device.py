"""The reference device through the contract that every device fulfils."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from msinet_core.device import Availability
from msinet_core.errors import DeviceUnavailableError, GraphError, UsageError
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence, Loss
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D, MaxPool2D, MinMaxNormalize
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC, msinet_register_devices
from msinet_core.reference.device import ReferenceDevice
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import record


def small_graph():
    net = GraphBuilder(channels=2)
    net.add("conv", Conv2D(4), net.input)
    net.add("pool", MaxPool2D(), "conv")
    net.add("last", Conv2D(1, 1, activation="linear"), "pool")
    net.add("output", MinMaxNormalize(), "last")
    return net.build()


def weights_for(graph, seed=0):
    rng = np.random.default_rng(seed)
    return {p.name: rng.standard_normal(p.shape).astype(np.float32) for p in graph.parameters}


def batch_of(count, seed=0, size=(6, 10)):
    rng = np.random.default_rng(seed)
    height, width = size
    return Batch(
        rng.standard_normal((count, height, width, 2)).astype(np.float32),
        rng.uniform(0, 1, (count, height // 2, width // 2, 1)).astype(np.float32),
    )


def compile_small(state=None, **options):
    graph = small_graph()
    options = {"loss": KLDivergence(), "optimizer": Adam(), **options}
    return SPEC.open().compile(graph, state or State(weights_for(graph)), **options)


class PixelDevice(ReferenceDevice):
    """Its loss is the predicted map itself, so that gradients are the images."""

    layer_builders = {
        **LAYER_BUILDERS,
        Loss: lambda op, maps, parameters: record(
            maps[1].value.reshape(-1), maps, lambda losses: [None, losses.reshape(-1, 1, 1, 1)]
        ),
    }


def assert_same_state(first, second):
    assert first.optimizer.step == second.optimizer.step
    for one, other in (
        (first.weights, second.weights),
        (first.optimizer.m, second.optimizer.m),
        (first.optimizer.v, second.optimizer.v),
    ):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_the_hook_registers_the_device():
    registered = []
    msinet_register_devices(register=registered.append)
    assert registered == [SPEC]
    assert SPEC.name == "reference"
    assert SPEC.priority < 0


def test_the_probe_says_that_it_is_always_here():
    probe = SPEC.probe()
    assert probe.availability is Availability.INSTALLED
    assert probe.framework_version == np.__version__
    assert probe.hardware


def test_the_light_module_imports_no_numpy():
    code = "import sys, msinet_core.reference as r; r.SPEC.probe(); print('numpy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_a_precision_it_does_not_compute_in_is_refused():
    with pytest.raises(UsageError, match=r"'reference'.*bfloat16.*float32"):
        SPEC.open("bfloat16")


def test_prediction_is_float32_in_0_to_1():
    maps = compile_small(loss=None, optimizer=None).predict(batch_of(3).images)
    assert maps.dtype == np.float32
    assert maps.shape == (3, 3, 5, 1)
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1)


def test_a_narrow_network_learns_one_image():
    graph = msinet_graph(width=1 / 16)
    rng = np.random.default_rng(0)
    weights = {
        p.name: (rng.standard_normal(p.shape) * 1.4 / np.sqrt(p.size / p.shape[-1])).astype("f4")
        * (p.role == "kernel")
        for p in graph.parameters
    }
    model = SPEC.open().compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())
    images = rng.uniform(0, 255, (1, 24, 32, 3)).astype(np.float32)
    maps = np.zeros((1, 24, 32, 1), np.float32)
    maps[:, 4:10, 20:28] = 1
    losses = [model.train_step([Batch(images, maps)], 3e-3) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_evaluation_gives_the_loss_of_each_image_and_changes_nothing():
    model = compile_small()
    before = model.state()
    losses = model.eval_step(batch_of(3))
    assert losses.shape == (3,)
    alone = [model.eval_step(Batch(*(part[i : i + 1] for part in batch_of(3)))) for i in range(3)]
    np.testing.assert_allclose(losses, np.concatenate(alone), rtol=1e-6)
    assert_same_state(before, model.state())


def test_a_step_returns_the_loss_before_it():
    model = compile_small()
    batch = batch_of(2)
    expected = float(np.mean(model.eval_step(batch)))
    assert model.train_step([batch], 1e-2) == pytest.approx(expected)
    assert float(np.mean(model.eval_step(batch))) != pytest.approx(expected)


def test_accumulated_batches_of_unequal_size_equal_one_batch():
    whole = batch_of(5)
    parts = [Batch(whole.images[:2], whole.maps[:2]), Batch(whole.images[2:], whole.maps[2:])]
    joint, split = compile_small(), compile_small()
    assert joint.train_step([whole], 1e-3) == pytest.approx(split.train_step(parts, 1e-3))
    one, other = joint.state(), split.state()
    for name, moment in one.optimizer.m.items():
        np.testing.assert_allclose(moment, other.optimizer.m[name], rtol=1e-3, atol=1e-7)


def test_a_run_continues_from_its_state_exactly():
    through, first = compile_small(), compile_small()
    for step in range(4):
        through.train_step([batch_of(2, seed=step)], 1e-3)
    for step in range(2):
        first.train_step([batch_of(2, seed=step)], 1e-3)
    second = compile_small(first.state())
    for step in range(2, 4):
        second.train_step([batch_of(2, seed=step)], 1e-3)
    assert through.state().optimizer.step == 4
    assert_same_state(through.state(), second.state())


def test_state_is_a_copy():
    model = compile_small()
    state = model.state()
    kept = {name: value.copy() for name, value in state.weights.items()}
    model.train_step([batch_of(1)], 1e-1)
    for name, value in kept.items():
        np.testing.assert_array_equal(state.weights[name], value)
        state.weights[name][...] = 7
    assert not any((value == 7).any() for value in model.state().weights.values())


def test_adam_against_numbers_worked_out_by_hand():
    net = GraphBuilder(channels=1)
    net.add("w", Conv2D(1, 1, activation="linear", use_bias=False), net.input)
    optimizer = Adam(beta_1=0.5, beta_2=0.75, epsilon=1.0)
    state = State({"w/kernel": np.ones((1, 1, 1, 1), np.float32)})
    model = PixelDevice(SPEC).compile(net.build(), state, loss=Loss(), optimizer=optimizer)

    def step(gradient):
        pixel = np.full((1, 1, 1, 1), gradient, np.float32)
        model.train_step([Batch(pixel, pixel)], 0.1)
        found = model.state()
        values = found.weights, found.optimizer.m, found.optimizer.v
        return found.optimizer.step, *(value["w/kernel"].item() for value in values)

    # m = 2, v = 4, rate = 0.1 * sqrt(0.25) / 0.5 = 0.1: the weight moves by 0.1 * 2 / (2 + 1)
    assert step(4.0) == (1, pytest.approx(1 - 0.2 / 3), 2.0, 4.0)
    # m = 0, v = 4: nothing moves
    assert step(-2.0) == (2, pytest.approx(1 - 0.2 / 3), 0.0, 4.0)


def test_weights_that_do_not_fit_are_all_named():
    graph = small_graph()
    weights = weights_for(graph)
    del weights["conv/bias"]
    weights["last/kernel"] = np.zeros((1, 1, 4, 2), np.float32)
    weights["other"] = np.zeros(1, np.float32)
    with pytest.raises(GraphError) as caught:
        SPEC.open().compile(graph, State(weights))
    for part in ("conv/bias: missing", "last/kernel: has shape (1, 1, 4, 2)", "other: not in"):
        assert part in str(caught.value)


def test_steps_say_what_the_model_was_compiled_without():
    with pytest.raises(UsageError, match="without a loss"):
        compile_small(loss=None, optimizer=None).eval_step(batch_of(1))
    with pytest.raises(UsageError, match="without an optimizer"):
        compile_small(optimizer=None).train_step([batch_of(1)], 1e-3)


def test_a_step_without_images_is_refused():
    with pytest.raises(UsageError, match="at least one image"):
        compile_small().train_step([], 1e-3)


def test_maps_of_another_size_are_refused():
    batch = batch_of(1)
    with pytest.raises(UsageError, match=r"\(1, 6, 10, 1\).*\(1, 3, 5, 1\)"):
        compile_small().eval_step(Batch(batch.images, np.zeros((1, 6, 10, 1), np.float32)))


def test_images_that_the_graph_cannot_take_are_refused():
    with pytest.raises(GraphError, match="takes 2 channels"):
        compile_small().predict(np.zeros((1, 6, 10, 3), np.float32))
    with pytest.raises(GraphError, match="Node 'pool'"):
        compile_small().predict(np.zeros((1, 1, 10, 2), np.float32))


def test_a_missing_factory_is_reported():
    spec = dataclasses.replace(SPEC, factory="msinet_core.reference.device:Missing")
    with pytest.raises(DeviceUnavailableError, match=r"'reference'.*AttributeError"):
        spec.open()
