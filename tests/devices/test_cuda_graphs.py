"""The graphs of the device cuda, computed on the processor: no test here needs a GPU.

oneDNN computes NCHW inside compiled steps, and XLA does on every processor. `CudaDevice` itself
refuses to open without a GPU; `NchwDevice` is the same graphs wherever TensorFlow is.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from msinet_core.conformance.cases import Case, narrow_network
from msinet_core.conformance.checker import Checker
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.conformance.scenarios import SCENARIOS
from msinet_core.device import Device
from msinet_core.network import ops
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State
from msinet_core.reference import SPEC as REFERENCE
from msinet_cpu import SPEC as CPU
from msinet_cuda_nchw import SPEC
from tests.faults.check import check_device

tf = pytest.importorskip("tensorflow")
cuda = importlib.import_module("msinet_cuda_nchw.device")
doctor = importlib.import_module("msinet_cuda_nchw.doctor")
layers = importlib.import_module("msinet_tensorflow.layers")

WITH_XLA = ("forward/resize-like-smaller-half-pixel", "train/four-losses")
"""XLA takes seconds to compile each; all rows were run with it in float32 and float16 as well."""


def one_dnn(precision: str = "float32") -> bool:
    """Tell whether TensorFlow computes NCHW on this processor without XLA."""
    images, kernel = tf.zeros((1, 1, 4, 4), precision), tf.zeros((1, 1, 1, 1), precision)
    try:
        tf.function(lambda: tf.nn.conv2d(images, kernel, 1, "VALID", "NCHW"))()
    except tf.errors.OpError:
        return False
    return True


class OnProcessor(cuda.NchwDevice):  # type: ignore[misc]
    """Steps are placed as `CudaDevice` places them, but for the name of the device."""

    def make_distribution(self, distribute: str) -> Any:
        return cuda.OnOneDevice("/CPU:0")


def opened(precision: str = "float32", xla: bool = False) -> Device:
    device: Device = OnProcessor(SPEC, precision, {"xla": "on" if xla else "off"})
    return device


@pytest.fixture(scope="module")
def nchw() -> Device:
    return opened(xla=not one_dnn())


# --- against the reference -----------------------------------------------------------------------


def is_quick(precision: str, row: Scenario) -> bool:
    # On a processor, that convolution takes twenty seconds in NCHW.
    others = row.group == "forward" and row.id != "forward/convolution-128-channels"
    return precision == "float32" and others


ROWS = [
    pytest.param(
        precision,
        row,
        id=f"{precision}-{row.id}",
        marks=() if is_quick(precision, row) else pytest.mark.slow,
    )
    for precision in ("float32", "bfloat16")
    for row in SCENARIOS
    # How a model is used is tested on `cpu`, whose model this shares; each shape is traced anew.
    if not (row.missing(SPEC) or row.slow or row.group in ("calls", "use", "memory"))
]


@cache
def checker(precision: str) -> Checker | None:
    return Checker(Subject(SPEC, opened(precision))) if one_dnn(precision) else None


@pytest.mark.parametrize(("precision", "row"), ROWS)
def test_row(precision: str, row: Scenario) -> None:
    kit = checker(precision)
    if kit is None:
        pytest.skip("TensorFlow computes NCHW here only with XLA, which takes minutes to compile")
    result = kit.result(row)
    if result.status == "not applicable":
        pytest.skip(result.reason)
    assert result.passed, f"{result.reason} ({result.difference} of {result.tolerance})"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_rows_with_xla(precision: str) -> None:
    scenarios = [scenario for scenario in SCENARIOS if scenario.id in WITH_XLA]
    report = check_device(opened(precision, xla=True), scenarios=scenarios)
    assert len(report.rows) == len(WITH_XLA)
    assert report.passed, [(row.id, row.reason, row.difference) for row in report.failed]


# --- one format, and one way in -------------------------------------------------------------------


@pytest.fixture(scope="module", params=SPEC.capabilities.precisions)
def steps(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    functions: Mapping[str, Any] = doctor.trace_steps(SPEC, request.param)
    return functions


def test_only_images_are_transposed_and_only_once(steps: Mapping[str, Any]) -> None:
    counts = {name: doctor.count_transposes(function) for name, function in steps.items()}
    assert counts == {"predict": 1, "evaluate": 1, "train": 1, "accumulate": 1, "finish": 0}


def test_every_op_with_a_data_format_has_channels_first(steps: Mapping[str, Any]) -> None:
    formats: dict[str, set[bytes]] = {}
    for function in steps.values():
        for node in function.graph.as_graph_def().node:
            if "data_format" in node.attr:
                formats.setdefault(node.op, set()).add(node.attr["data_format"].s)
    for op in ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MaxPool", "MaxPoolGrad"):
        assert op in formats
    assert set.union(*formats.values()) == {b"NCHW"}


def test_dilation_is_the_kernels_own(steps: Mapping[str, Any]) -> None:
    nodes = steps["train"].graph.as_graph_def().node
    for op in ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"):
        found = {tuple(node.attr["dilations"].list.i) for node in nodes if node.op == op}
        assert found == {(1, 1, rate, rate) for rate in (1, 2, 4, 8, 12)}
    assert not {"SpaceToBatchND", "BatchToSpaceND"} & {node.op for node in nodes}


def test_a_naive_network_would_be_found_out() -> None:
    """The counter sees what Keras' layers would do, also in a function that is called."""

    @tf.function
    def pooled(images: Any) -> Any:
        return tf.transpose(tf.nn.max_pool2d(tf.transpose(images, (0, 2, 3, 1)), 2, 2, "VALID"))

    step = tf.function(lambda images: pooled(images) * 2)
    assert doctor.count_transposes(step.get_concrete_function(tf.zeros((1, 3, 4, 4)))) == 2


# --- resizing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("size", [(34, 58), (51, 87), (9, 14), (40, 31), (17, 29), (1, 1)])
def test_resize_is_tensorflows_own(coordinates: ops.Coordinates, size: ops.Size) -> None:
    images = np.random.default_rng(5).standard_normal((2, 17, 29, 3)).astype(np.float32)
    op = ops.ResizeLike(coordinates)
    expected = layers.TensorFlowLayers(tf.float32).resize_bilinear(op, tf.constant(images), size)
    channels_first = tf.constant(images.transpose(0, 3, 1, 2))
    actual = cuda.NchwLayers(tf.float32).resize_bilinear(op, channels_first, size)
    np.testing.assert_allclose(np.transpose(actual, (0, 2, 3, 1)), expected, rtol=0, atol=1e-5)


def test_twice_the_size_is_computed_in_the_images_dtype() -> None:
    images = tf.constant(np.arange(12).reshape(1, 1, 3, 4), tf.bfloat16)
    builders = opened("bfloat16").layer_builders
    twice = builders[ops.Resize](ops.Resize(2), [images], {})
    thrice = builders[ops.Resize](ops.Resize(3), [images], {})
    assert (twice.dtype, thrice.dtype) == (tf.bfloat16, tf.float32)
    assert float(twice[0, 0, 1, 1]) == 2.5  # between 0, 1, 4 and 5


# --- the same weights on another device -----------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "size"),
    [(1 / 16, (120, 160)), pytest.param(1 / 8, (240, 320), marks=pytest.mark.slow)],
)
def test_channels_first_weights_are_channels_last_weights(
    nchw: Device, tmp_path: Path, width: float, size: ops.Size
) -> None:
    """No kernel is changed on the way, and the two formats give the same maps (layouts.md)."""
    case = Case(msinet_graph(width), (1, *size), low=0.0, high=255.0)
    file = tmp_path / "one.msinet.h5"
    save_checkpoint(file, Checkpoint(case.graph, case.state))
    state = load_checkpoint(file).state
    maps = []
    for device in (CPU.open(), nchw):
        for parameter in case.graph.parameters:
            weights = state.weights[parameter.name]
            assert np.array_equal(device.to_native(parameter, weights), weights)
        maps.append(np.asarray(device.compile(case.graph, state).predict(case.images)))
    assert maps[0].max() > 0.99
    np.testing.assert_allclose(maps[1], maps[0], rtol=0, atol=1e-5)


def losses(device: Device, case: Case, state: State, count: int) -> tuple[list[float], State]:
    model = device.compile(case.graph, state, loss=KLDivergence(), optimizer=Adam())
    return [float(model.train_step([case.batch], 1e-3)) for _ in range(count)], model.state()


@pytest.mark.slow
def test_a_run_moves_between_devices_as_if_it_had_not(nchw: Device) -> None:
    """Two steps on cpu, two on cuda's graph, two on the reference; and all six on each."""
    case = narrow_network()
    state, moved = case.state, []
    for device in (CPU.open(), nchw, REFERENCE.open()):
        part, state = losses(device, case, state, 2)
        moved += part
    assert state.optimizer is not None and state.optimizer.step == 6
    for device in (CPU.open(), nchw):
        uninterrupted, _ = losses(device, case, case.state, 6)
        assert moved == pytest.approx(uninterrupted, rel=1e-4)
    assert moved[-1] < moved[0]
