"""Networks on the device mlx: compiled steps, results, memory, accumulation and loss scale."""

from __future__ import annotations

import gc
import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from msinet_core import Adam, Batch, Device, KLDivergence, OptimizerState, State
from msinet_core.conformance.cases import Case, narrow_network
from msinet_mlx import SPEC

mx = pytest.importorskip("mlx.core")
layers = importlib.import_module("msinet_mlx.layers")
model_module = importlib.import_module("msinet_mlx.model")

LOSS, OPTIMIZER = KLDivergence(), Adam()


@pytest.fixture(scope="module")
def mlx() -> Device:
    return SPEC.open()


@pytest.fixture(scope="module")
def case() -> Case:
    return narrow_network(count=3)


def trained(device: Device, case: Case, state: State | None = None) -> Any:
    return device.compile(case.graph, state or case.state, loss=LOSS, optimizer=OPTIMIZER)


def split(batch: Batch, *sizes: int) -> list[Batch]:
    edges = np.cumsum(sizes)[:-1]
    return [Batch(*pair) for pair in zip(*(np.split(part, edges) for part in batch), strict=True)]


def memory(state: State) -> OptimizerState:
    assert state.optimizer is not None
    return state.optimizer


def assert_same_bits(one: State, other: State) -> None:
    first, second = memory(one), memory(other)
    assert first.step == second.step
    for before, after in ((one.weights, other.weights), (first.m, second.m), (first.v, second.v)):
        assert before.keys() == after.keys()
        for name in before:
            assert before[name].dtype == np.float32
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)


# --- compiled steps ------------------------------------------------------------------------------


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of the images each time that a step is traced."""
    shapes: list[tuple[int, ...]] = []
    subtract_mean: Callable[..., Any] = layers.MlxLayers.subtract_mean

    def recorded(self: Any, op: Any, inputs: Any, parameters: Any) -> Any:
        shapes.append(tuple(inputs[0].shape))
        return subtract_mean(self, op, inputs, parameters)

    monkeypatch.setattr(layers.MlxLayers, "subtract_mean", recorded)
    return shapes


def test_a_step_is_traced_once_for_each_shape(case: Case, traces: list[tuple[int, ...]]) -> None:
    model = trained(SPEC.open(), case)
    first, rest = split(case.batch, 1, 2)
    for rate in (1e-4, 1e-5, 3e-6):
        model.train_step([rest], rate)
        model.train_step([first], rate)
    assert traces == [(2, 40, 56, 3), (1, 40, 56, 3)]
    for rate in (1e-4, 1e-5):
        model.train_step(split(case.batch, 1, 1, 1), rate)
        model.eval_step(case.batch)
        model.predict(case.images[:, :32])
    assert traces[2:] == [(1, 40, 56, 3), (3, 40, 56, 3), (3, 32, 56, 3)]


def test_steps_for_the_latest_shapes_are_kept(
    mlx: Device, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "MAX_COMPILED", 2)
    model: Any = mlx.compile(case.graph, case.state)
    for height in (8, 16, 8, 24):
        model.predict(case.images[:1, :height, :8])
    kept = [
        height for height in (8, 16, 24) if (model._predict, (1, height, 8, 3)) in model._compiled
    ]
    assert kept == [8, 24]


def test_without_a_compiler_steps_are_not_compiled(
    mlx: Device, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    plain: Any = SPEC.open()
    assert not plain.compiles
    for _ in range(2):
        compiled, uncompiled = trained(mlx, case), trained(plain, case)
        expected = float(compiled.train_step([case.batch], 1e-3))
        assert float(uncompiled.train_step([case.batch], 1e-3)) == pytest.approx(expected, rel=1e-5)


# --- results -------------------------------------------------------------------------------------


def test_results_do_not_change_later(mlx: Device, case: Case) -> None:
    model = trained(mlx, case)
    early, loss = model.predict(case.images), model.train_step([case.batch], 1e-2)
    state = model.state()
    read = np.asarray(early).copy(), float(loss)
    weights = {name: value.copy() for name, value in state.weights.items()}
    for _ in range(3):
        model.train_step([case.batch], 1e-2)
    np.testing.assert_array_equal(np.asarray(early), read[0])
    assert float(loss) == read[1]
    for name, value in weights.items():
        np.testing.assert_array_equal(state.weights[name], value, err_msg=name)
    assert not np.array_equal(np.asarray(model.predict(case.images)), read[0])


def test_writing_into_what_was_read_does_not_change_the_model(mlx: Device, case: Case) -> None:
    model = mlx.compile(case.graph, case.state)
    expected = np.array(model.predict(case.images))
    for values in (np.asarray(model.predict(case.images)), *model.state().weights.values()):
        values[...] = 7.0
    np.testing.assert_array_equal(np.asarray(model.predict(case.images)), expected)


def test_any_thread_may_read_a_result(mlx: Device, case: Case) -> None:
    model = trained(mlx, case)
    results = [model.train_step([case.batch], 1e-4), model.predict(case.images)]
    read: list[Any] = []
    thread = threading.Thread(target=lambda: read.extend(map(np.asarray, results)))
    thread.start()
    thread.join()
    assert [np.isfinite(values).all() for values in read] == [True, True]


def test_images_of_other_dtypes(mlx: Device, case: Case) -> None:
    model = trained(mlx, case)
    whole = case.images.astype(np.uint8)
    expected = np.asarray(model.predict(whole.astype(np.float32)))
    for images in (whole, whole.astype(np.float64), np.asfortranarray(whole)):
        np.testing.assert_array_equal(np.asarray(model.predict(images)), expected)


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["train", "evaluate", "predict"])
def test_a_step_starts_at_once_and_waits_for_the_one_before(
    mlx: Device, case: Case, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model, calls = trained(mlx, case), []
    for name in ("async_eval", "eval"):
        original = getattr(mx, name)

        def recorded(*values: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(*values)

        monkeypatch.setattr(mx, name, recorded)
    step = {
        "train": lambda: model.train_step([case.batch], 1e-4),
        "evaluate": lambda: model.eval_step(case.batch),
        "predict": lambda: model.predict(case.images),
    }[kind]
    for _ in range(3):
        step()
    assert calls == ["async_eval", "async_eval", "eval", "async_eval", "eval"]


def test_steps_do_not_leak_memory(mlx: Device, case: Case) -> None:
    model = trained(mlx, case)
    batch = split(case.batch, 1, 2)[0]
    seen = []
    for step in range(60):
        loss = model.train_step([batch], 1e-4 * (1 + step))
        if step in (19, 59):
            float(loss)
            seen.append(mx.get_active_memory())
    assert seen[1] < seen[0] + 2**18  # less than the features of one step


def test_a_deleted_model_frees_its_memory(mlx: Device, case: Case) -> None:
    gc.collect()
    before = mx.get_active_memory()
    model = trained(mlx, case)
    float(model.train_step([case.batch], 1e-4))
    del model
    gc.collect()
    assert mx.get_active_memory() <= before


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", SPEC.capabilities.precisions)
def test_state_is_restored_bit_for_bit(case: Case, precision: str) -> None:
    device = SPEC.open(precision)
    model = trained(device, case)
    model.train_step([case.batch], 1e-3)
    state = model.state()
    again = trained(device, case, state)
    assert_same_bits(again.state(), state)
    for one in (model, again):
        one.train_step([case.batch], 1e-3)
    if precision != "float16":  # its bias correction is carried along, and starts anew
        assert_same_bits(again.state(), model.state())


def test_accumulated_batches_equal_the_whole_batch(mlx: Device, case: Case) -> None:
    joint, accumulated = trained(mlx, case), trained(mlx, case)
    for _ in range(3):
        whole = float(joint.train_step([case.batch], 1e-4))
        parts = float(accumulated.train_step(split(case.batch, 1, 2), 1e-4))
        assert parts == pytest.approx(whole, rel=1e-5)


# --- loss scale ----------------------------------------------------------------------------------


def set_scale(model: Any, value: float) -> None:
    scale = {**model._training["scale"], "value": mx.array(value)}
    model._training = {**model._training, "scale": scale}


def scale_of(model: Any) -> float:
    return float(model._training["scale"]["value"].item())


@pytest.fixture(scope="module")
def half() -> Device:
    return SPEC.open("float16")


def test_only_float16_is_scaled(mlx: Device, half: Device, case: Case) -> None:
    assert "scale" not in trained(mlx, case)._training
    assert scale_of(trained(half, case)) == 2.0**15


def test_float16_trains_nearly_as_float32(mlx: Device, half: Device, case: Case) -> None:
    exact, scaled = trained(mlx, case), trained(half, case)
    for batches in ([case.batch], split(case.batch, 1, 2)):
        loss = float(exact.train_step(batches, 1e-3))
        assert float(scaled.train_step(batches, 1e-3)) == pytest.approx(loss, rel=1e-2)
    assert memory(scaled.state()).step == 2
    weights = scaled.state().weights["conv1/conv1_1/kernel"]
    assert not np.array_equal(weights, weights.astype(np.float16))


def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(
    half: Device, case: Case
) -> None:
    model = trained(half, case)
    model.train_step([case.batch], 1e-3)
    before = model.state()
    set_scale(model, 2.0**126)
    assert np.isfinite(float(model.train_step([case.batch], 1e-3)))  # the loss is not scaled
    assert scale_of(model) == 2.0**125
    assert_same_bits(model.state(), before)
    set_scale(model, 2.0**15)
    model.train_step([case.batch], 1e-3)
    assert memory(model.state()).step == 2


def test_divergence_shows_once_the_scale_cannot_help(half: Device, case: Case) -> None:
    weights = {**case.state.weights, "decoder/conv4/bias": np.full(1, np.nan, np.float32)}
    model = trained(half, case, State(weights))
    set_scale(model, 2.0)
    steps = []
    for _ in range(2):
        model.train_step([case.batch], 1e-3)
        steps.append((scale_of(model), memory(model.state()).step))
    assert steps == [(1.0, 0), (1.0, 1)]
    assert np.isnan(memory(model.state()).m["decoder/conv4/bias"]).all()
