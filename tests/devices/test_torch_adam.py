"""Adam's arithmetic in PyTorch's fused kernel, and float16's loss scale, on the processor."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import msinet_torch
from msinet_core import (
    Adam,
    Capabilities,
    GraphBuilder,
    KLDivergence,
    LossScale,
    OptimizerState,
    State,
)
from msinet_core.conformance.cases import Case
from msinet_core.network.ops import Conv2D, MinMaxNormalize

torch = pytest.importorskip("torch")
adam = importlib.import_module("msinet_torch.adam")
loss_scale = importlib.import_module("msinet_torch.loss_scale")
device_module = importlib.import_module("msinet_torch.device")

HALF = replace(msinet_torch.CPU, capabilities=Capabilities(precisions=("float16", "float32")))


class HalfDevice(device_module.CpuDevice):  # type: ignore[misc, name-defined]
    """Scales the loss as in float16, but computes in float32."""

    def __init__(self, spec: Any, precision: str = "float32") -> None:
        super().__init__(spec, precision)
        self.layers.dtype = torch.float32


@pytest.fixture(scope="module")
def case() -> Case:
    net = GraphBuilder(3)
    net.add("last", Conv2D(1, activation="linear"), net.add("first", Conv2D(4), net.input))
    net.add("output", MinMaxNormalize(), "last")
    return Case(net.build())


@pytest.fixture(params=["on the device", "on the host"])
def decided(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the kernel skips steps or the host decides, as for old MPS kernels."""
    adam.can_skip.cache_clear()
    if request.param == "on the host":
        monkeypatch.setattr(loss_scale, "can_skip", lambda device: False)
    return str(request.param)


def model(case: Case, precision: str = "float16", state: State | None = None) -> Any:
    device = HalfDevice(HALF, precision)
    return device.compile(case.graph, state or case.state, loss=KLDivergence(), optimizer=Adam())


def memory(state: State) -> OptimizerState:
    assert state.optimizer is not None
    return state.optimizer


@pytest.mark.parametrize("step", [1, 2, 10, 5000])
def test_the_update_is_the_specified_one_from_the_first_step(step: int) -> None:
    """Moments are so small that the position of epsilon matters; expected values in float64."""
    optimizer, rate = Adam(), 1e-3
    random = np.random.default_rng(step)
    gradient = random.normal(0, 1e-8, 1000)
    m, v = gradient * 0.1, gradient**2 * 1e-3
    weight = np.zeros(1000)
    tensors = [torch.tensor(values, dtype=torch.float32) for values in (weight, gradient, m, v)]
    w32, g32, m32, v32 = tensors
    fused = adam.FusedAdam(optimizer, [w32], [m32], [v32])
    fused.apply([g32], optimizer.rate(rate, step))
    m = optimizer.beta_1 * m + (1 - optimizer.beta_1) * gradient
    v = optimizer.beta_2 * v + (1 - optimizer.beta_2) * gradient**2
    correction = math.sqrt(1 - optimizer.beta_2**step) / (1 - optimizer.beta_1**step)
    expected = -rate * correction * m / (np.sqrt(v) + optimizer.epsilon)
    np.testing.assert_allclose(w32.numpy(), expected, rtol=2e-6)
    np.testing.assert_allclose(m32.numpy(), m, rtol=1e-5)
    np.testing.assert_allclose(v32.numpy(), v, rtol=1e-5)
    inside = -rate * correction * m / (np.sqrt(v) + optimizer.epsilon * math.sqrt(1e-3))
    assert not np.allclose(w32.numpy(), inside, rtol=1e-3)  # epsilon inside the correction


def test_gradients_may_have_another_memory_format() -> None:
    weight = torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)
    gradient = torch.arange(120.0).reshape(2, 3, 4, 5) - 60
    adam.FusedAdam(Adam(), [weight], [m], [v]).apply([gradient], 1.0)
    np.testing.assert_allclose(m.numpy(), 0.1 * gradient.numpy(), rtol=1e-5)


def test_the_cpu_kernel_can_skip_a_step() -> None:
    adam.can_skip.cache_clear()
    assert adam.can_skip(torch.device("cpu"))


def test_only_float16_is_scaled(case: Case) -> None:
    assert model(case, "float32")._scaled is None
    assert model(case)._scaled.scale.value == 2.0**15


@pytest.mark.usefixtures("decided")
@pytest.mark.parametrize("parts", [1, 2])
def test_scaled_steps_equal_unscaled_ones(case: Case, parts: int) -> None:
    plain, scaled = model(case, "float32"), model(case)
    batches = [
        type(case.batch)(*pair)
        for pair in zip(*(np.split(part, parts) for part in case.batch), strict=True)
    ]
    for _ in range(4):
        loss = float(plain.train_step(batches, 1e-3))
        assert float(scaled.train_step(batches, 1e-3)) == pytest.approx(loss, rel=1e-5)
    assert memory(scaled.state()).step == memory(plain.state()).step == 4
    assert scaled._scaled.scale.value == 2.0**15


@pytest.mark.usefixtures("decided")
def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(case: Case) -> None:
    trained = model(case)
    trained.train_step([case.batch], 1e-3)
    before = trained.state()
    trained._scaled.scale.value.fill_(torch.finfo(torch.float32).max)
    assert np.isfinite(float(trained.train_step([case.batch], 1e-3)))
    assert trained._scaled.scale.value == torch.finfo(torch.float32).max / 2
    after = trained.state()
    assert memory(after).step == memory(before).step == 1
    pairs = ((before.weights, after.weights), (memory(before).m, memory(after).m))
    for one, other in (*pairs, (memory(before).v, memory(after).v)):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_divergence_shows_once_the_scale_cannot_help(case: Case) -> None:
    weights = {**case.state.weights, "last/bias": np.full(1, np.nan, np.float32)}
    trained = model(case, state=State(weights))
    trained._scaled.scale.value.fill_(2.0)
    trained.train_step([case.batch], 1e-3)
    assert (trained._scaled.scale.value, trained._scaled.scale.skipped) == (1.0, 1)
    trained.train_step([case.batch], 1e-3)
    assert trained._scaled.scale.skipped == 1
    assert memory(trained.state()).step == 1
    assert np.isnan(memory(trained.state()).m["last/kernel"]).any()


def test_the_scale_follows_the_cores_rule() -> None:
    scaled = loss_scale.ScaledSteps(Adam(), 4, torch.device("cpu"))
    weight, m, v = (torch.zeros(1) for _ in range(3))
    fused, expected = adam.FusedAdam(Adam(), [weight], [m], [v]), LossScale.new(Adam(), 4)
    for finite in (True, False, True, True, False, False):
        scaled.apply(fused, [torch.tensor([1.0 if finite else torch.inf])], 1.0)
        expected, _ = expected.next(np.where, Adam(), np.bool_(finite))
        assert [float(value) for value in scaled.scale] == pytest.approx(
            list(map(float, expected)), rel=1e-6
        )
