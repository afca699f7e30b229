"""Float16's loss scale: what a step that overflows does, and that scaling changes nothing else."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msinet_core.checkpoint import load_checkpoint, save_checkpoint
from msinet_core.conformance.cases import Case, narrow_network
from msinet_core.device import Capabilities
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.loss_scale import SMALLEST, LossScale
from msinet_core.network.state import OptimizerState, State
from msinet_cpu import SPEC

if TYPE_CHECKING:
    from tests.conftest import Run

tf = pytest.importorskip("tensorflow")
device_module = importlib.import_module("msinet_tensorflow.device")
cpu_layers = importlib.import_module("msinet_cpu.layers")
model_module = importlib.import_module("msinet_tensorflow.model")

HALF = replace(SPEC, capabilities=Capabilities(precisions=("float16", "float32")))


class Float32Layers(cpu_layers.CpuLayers):  # type: ignore[misc, name-defined]
    def __init__(self, dtype: Any) -> None:
        super().__init__(tf.float32)


class HalfDevice(device_module.TensorFlowDevice):  # type: ignore[misc, name-defined]
    """Claims float16, and computes in what the processor has kernels for."""

    layers_class = Float32Layers


@pytest.fixture(scope="module")
def case() -> Case:
    return narrow_network(count=2)


def model(case: Case, precision: str = "float16", state: State | None = None) -> Any:
    device = HalfDevice(HALF, precision)
    return device.compile(case.graph, state or case.state, loss=KLDivergence(), optimizer=Adam())


def scale_of(model: Any) -> float:
    return float(model._scale.value.numpy())


def set_scale(model: Any, value: float) -> None:
    model._scale.value.assign(value)


def memory(state: State) -> OptimizerState:
    assert state.optimizer is not None
    return state.optimizer


def assert_unchanged(one: State, other: State) -> None:
    first, second = memory(one), memory(other)
    assert first.step == second.step
    for before, after in ((one.weights, other.weights), (first.m, second.m), (first.v, second.v)):
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_only_float16_is_scaled(case: Case) -> None:
    assert model(case, "float32")._scale is None
    assert scale_of(model(case)) == 2.0**15


def test_convolutions_in_float16_train_nearly_as_in_float32(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_layers, "dilation_has_gradient", lambda dtype: False)
    half = HalfDevice(HALF, "float16")
    half.layers = cpu_layers.CpuLayers(tf.float16)
    trained = half.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    exact = model(case, "float32")
    for _ in range(4):
        loss = float(exact.train_step([case.batch], 1e-3))
        assert float(trained.train_step([case.batch], 1e-3)) == pytest.approx(loss, rel=1e-2)
    assert memory(trained.state()).step == 4
    weights = trained.state().weights["conv1/conv1_1/kernel"]
    assert weights.dtype == np.float32
    assert not np.array_equal(weights, weights.astype(np.float16))


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
    assert scale_of(scaled) == 2.0**15


def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(case: Case) -> None:
    trained = model(case)
    trained.train_step([case.batch], 1e-3)
    before = trained.state()
    set_scale(trained, np.finfo(np.float32).max)
    loss = float(trained.train_step([case.batch], 1e-3))
    assert np.isfinite(loss)  # the loss itself is not scaled
    assert scale_of(trained) == np.finfo(np.float32).max / 2
    assert_unchanged(trained.state(), before)
    set_scale(trained, 2.0**15)
    undisturbed = model(case, state=before)
    for one in (trained, undisturbed):
        one.train_step([case.batch], 1e-3)
    after, expected = trained.state(), undisturbed.state()
    assert memory(after).step == memory(expected).step == 2
    for name, value in expected.weights.items():
        np.testing.assert_allclose(after.weights[name], value, rtol=1e-5, atol=1e-7)


def test_the_first_step_may_be_skipped(case: Case) -> None:
    trained = model(case)
    set_scale(trained, np.finfo(np.float32).max)
    trained.train_step([case.batch], 1e-3)
    state = trained.state()
    assert memory(state).step == 0
    for name, value in case.state.weights.items():
        np.testing.assert_array_equal(state.weights[name], value, err_msg=name)


def test_divergence_shows_once_the_scale_cannot_help(case: Case) -> None:
    weights = {**case.state.weights}
    weights["decoder/conv4/bias"] = np.full(1, np.nan, np.float32)
    trained = model(case, state=State(weights))
    set_scale(trained, 2.0)
    kept = memory(trained.state())
    trained.train_step([case.batch], 1e-3)
    assert scale_of(trained) == 1.0
    assert memory(trained.state()).step == kept.step
    trained.train_step([case.batch], 1e-3)
    assert memory(trained.state()).step == kept.step + 1
    assert np.isnan(memory(trained.state()).m["decoder/conv4/bias"]).all()


def test_the_rule_is_the_cores() -> None:
    scale, expected = (
        LossScale(*map(tf.constant, LossScale.new(Adam(), 4))),
        LossScale.new(Adam(), 4),
    )
    for finite in (True, False, True, True, *[False] * 22):
        scale, *_ = scale.step(tf.where, Adam(), tf.constant(finite), {}, 1e-3)
        expected, _ = expected.next(np.where, Adam(), np.bool_(finite))
        assert (scale.value, scale.skipped) == (expected.value, expected.skipped)
    assert scale.value == SMALLEST


@pytest.mark.parametrize("begun", [0, 7, 5000])
def test_the_bias_correction_keeps_its_digits(begun: int) -> None:
    optimizer = Adam()
    scale = LossScale(*map(tf.constant, LossScale.new(optimizer, begun)))
    for step in range(begun + 1, begun + 30):
        scale, rate, _, _ = scale.step(tf.where, optimizer, tf.constant(True), {}, 1.0)
        exact = np.sqrt(1 - optimizer.beta_2**step) / (1 - optimizer.beta_1**step)
        assert float(rate) == pytest.approx(exact, rel=2e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found(wrong: float) -> None:
    good, bad = np.ones((3, 4), np.float32), np.ones(5, np.float32)
    assert bool(model_module.all_finite([tf.constant(good), tf.constant(bad)]))
    bad[2] = wrong
    assert not bool(model_module.all_finite([tf.constant(good), tf.constant(bad)]))
    bad[3] = -wrong
    assert not bool(model_module.all_finite([tf.constant(good), tf.constant(bad)]))


def test_steps_are_compiled_with_xla_where_the_device_says_so(case: Case) -> None:
    device = HalfDevice(HALF, "float16")
    device.jit_compile = True
    compiled = device.compile(case.graph, case.state)
    expected = np.asarray(model(case).predict(case.images))
    np.testing.assert_allclose(np.asarray(compiled.predict(case.images)), expected, atol=1e-4)
    program = compiled._compiled_predict.experimental_get_compiler_ir(tf.constant(case.images))
    assert "HloModule" in program(stage="optimized_hlo")


def test_a_resumed_run_keeps_the_rows_of_skipped_steps(run: Run, tiny_data: Path) -> None:
    arguments = "--device reference train --run r --init random --width 0.04 --image-size 32x40"
    assert run(*arguments.split(), "--data", tiny_data, "--epochs", "1").exit_code == 0
    latest = Path("r/checkpoints/latest.msinet.h5")
    found = load_checkpoint(latest)
    fewer = replace(memory(found.state), step=3)  # as if two of the five steps had overflowed
    save_checkpoint(latest, replace(found, state=replace(found.state, optimizer=fewer)))
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 0, result.output
    steps = [line.split(",")[1] for line in Path("r/steps.csv").read_text().splitlines()[1:]]
    assert steps == [str(number) for number in range(1, 11)]
    assert memory(load_checkpoint(latest).state).step == 8
