"""The device openvino: numerics, precision, targets, overlapping requests, and what it refuses."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from msinet_core import (
    Deferred,
    Device,
    DeviceUnavailableError,
    Graph,
    GraphBuilder,
    GraphError,
    KLDivergence,
    State,
    UsageError,
    msinet_graph,
)
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.conformance.cases import Case
from msinet_core.network.ops import Concat, Conv2D, MaxPool2D, Resize, ResizeLike
from msinet_core.prediction.predictor import Done, Predictor
from msinet_core.reference import SPEC as REFERENCE
from msinet_openvino import SPEC

ov = pytest.importorskip("openvino")

CAPABILITIES = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(
    "BF16" not in CAPABILITIES, reason="this CPU does not support bfloat16"
)
PUBLISHED_SIZES = [(240, 320), (216, 384), (360, 360)]
NARROW = 1 / 16


@pytest.fixture(scope="module")
def device() -> Device:
    return SPEC.open("float32")


def reference_map(case: Case, images: Any = None) -> np.ndarray:
    model = REFERENCE.open().compile(case.graph, case.state)
    return np.asarray(model.predict(case.images if images is None else images))


def small_case(shape: tuple[int, int, int] = (5, 16, 24)) -> Case:
    return Case(msinet_graph(NARROW), shape, low=0.0, high=255.0)


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", PUBLISHED_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_narrow_network_at_each_published_size(device: Device, size: tuple[int, int]) -> None:
    case = Case(msinet_graph(NARROW), (1, *size), low=0.0, high=255.0)
    maps = np.asarray(device.compile(case.graph, case.state).predict(case.images))
    assert maps.max() > 0.99
    np.testing.assert_allclose(maps, reference_map(case), rtol=0, atol=1e-4)


def test_published_network_in_float32_and_bfloat16(device: Device) -> None:
    case = Case(msinet_graph(), (1, 240, 320), low=0.0, high=255.0)
    expected = reference_map(case)
    assert expected.max() > 0.99
    maps = np.asarray(device.compile(case.graph, case.state).predict(case.images))
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-4)
    if "BF16" in CAPABILITIES:
        model = SPEC.open("bfloat16").compile(case.graph, case.state)
        rounded = np.asarray(model.predict(case.images))
        assert np.corrcoef(rounded.ravel(), expected.ravel())[0, 1] > 0.999


def resize_graph(coordinates: str, pools: int) -> Graph:
    """Resize a pooled image to the size of the image and back, and concatenate both."""
    net = GraphBuilder(2)
    small = net.input
    for number in range(pools):
        small = net.add(f"pool{number}", MaxPool2D(2, 2, "SAME"), small)
    large = net.add("large", ResizeLike(coordinates), small, net.input)  # type: ignore[arg-type]
    back = net.add("back", ResizeLike(coordinates), net.input, small)  # type: ignore[arg-type]
    again = net.add("again", ResizeLike(coordinates), back, net.input)  # type: ignore[arg-type]
    net.add("both", Concat(), large, again)
    return net.build()


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 1), (7, 11), (15, 6), (9, 9), (31, 17)])
@pytest.mark.parametrize("pools", [1, 2, 5])
def test_resizes_up_and_down_at_odd_sizes(
    device: Device, coordinates: str, size: tuple[int, int], pools: int
) -> None:
    case = Case(resize_graph(coordinates, pools), (2, *size))
    actual = np.asarray(device.compile(case.graph, case.state).predict(case.images))
    np.testing.assert_allclose(actual, reference_map(case), rtol=0, atol=2e-6)


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("scale", [1, 2, 3, 7])
def test_resizes_by_a_factor(device: Device, coordinates: Any, scale: int) -> None:
    net = GraphBuilder(3)
    net.add("resize", Resize(scale, coordinates), net.input)
    for size in ((1, 1), (5, 8)):
        case = Case(net.build(), (1, *size))
        actual = np.asarray(device.compile(case.graph, case.state).predict(case.images))
        np.testing.assert_allclose(actual, reference_map(case), rtol=0, atol=2e-6)


# --- precision -----------------------------------------------------------------------------------


def actual_precisions(device: Any, model: Any, size: tuple[int, int]) -> set[str]:
    """The precisions in which the compiled network's convolutions run."""
    compiled = device.compile_network(model.network(size), "latency")
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    return {
        info["runtimePrecision"].astype(str)
        for info in infos
        if info["layerType"].astype(str) == "Convolution"
    }


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_convolutions_run_in_the_requested_precision(precision: str) -> None:
    case = small_case()
    device = SPEC.open(precision)
    model = device.compile(case.graph, case.state)
    names = {"float32": "f32", "bfloat16": "bf16"}
    assert actual_precisions(device, model, (16, 24)) == {names[precision]}


@pytest.mark.parametrize(("precision", "name"), [("float16", "FP16"), ("bfloat16", "BF16")])
def test_an_unsupported_precision_is_refused(precision: str, name: str) -> None:
    if name in CAPABILITIES:
        pytest.skip(f"this CPU supports {precision}")
    with pytest.raises(UsageError, match=f"{precision}.*CPU.*--precision float32"):
        SPEC.open(precision)


def test_a_precision_that_openvino_would_replace_is_refused(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced:
        def get_property(self, name: str) -> Any:
            return ov.Type.bf16

    class Core:
        def compile_model(self, *arguments: Any) -> Replaced:
            return Replaced()

    monkeypatch.setattr(device, "_core", Core())
    with pytest.raises(UsageError, match=r"bf16.*CPU.*float32"):
        device.compile_network(None, "latency")


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["gpu", "npu"])
def test_a_missing_target_is_not_replaced(target: str) -> None:
    if any(name.lower().startswith(target) for name in ov.Core().available_devices):
        pytest.skip(f"this machine has a {target}")
    with pytest.raises(DeviceUnavailableError, match=f"target={target}.*CPU"):
        SPEC.open("float32", {"target": target})


def test_openvino_may_choose_the_target() -> None:
    case = small_case((2, 16, 24))
    model = SPEC.open("float32", {"target": "auto"}).compile(case.graph, case.state)
    np.testing.assert_allclose(
        np.asarray(model.predict(case.images)), reference_map(case), rtol=0, atol=1e-4
    )


# --- several images at a time --------------------------------------------------------------------


def test_results_are_deferred_and_do_not_depend_on_the_images(device: Device) -> None:
    case = small_case()
    expected = reference_map(case)
    model = device.compile(case.graph, case.state)
    images = case.images.copy()
    lazy = model.predict(images)
    assert isinstance(lazy, Deferred)
    images[:] = 0  # callers may reuse their buffers
    np.testing.assert_allclose(np.asarray(lazy), expected, rtol=0, atol=1e-4)
    assert np.asarray(lazy) is np.asarray(lazy)
    assert np.asarray(lazy, np.float64).dtype == np.float64
    copy = np.array(lazy)
    copy[:] = 0
    np.testing.assert_allclose(np.asarray(lazy), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("hint", ["latency", "throughput", "auto"])
def test_more_batches_than_requests_keep_their_own_maps(hint: str) -> None:
    case = small_case((7, 16, 24))
    expected = reference_map(case)
    model = SPEC.open("float32", {"hint": hint}).compile(case.graph, case.state)
    waiting = [model.predict(case.images[::step]) for step in (1, 2, 3, -1, 1, -2)]
    for step, lazy in reversed(list(zip((1, 2, 3, -1, 1, -2), waiting, strict=True))):
        np.testing.assert_allclose(np.asarray(lazy), expected[::step], rtol=0, atol=1e-4)


def test_threads_may_share_a_model(device: Device) -> None:
    case = small_case()
    expected = reference_map(case)
    model = device.compile(case.graph, case.state)
    differences: list[float] = []

    def work() -> None:
        for _ in range(5):
            maps = np.asarray(model.predict(case.images))
            differences.append(float(np.abs(maps - expected).max()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 20
    assert max(differences) <= 1e-4


def test_an_empty_batch_gives_no_maps(device: Device) -> None:
    case = small_case()
    maps = np.asarray(device.compile(case.graph, case.state).predict(case.images[:0]))
    assert maps.shape == (0, 16, 24, 1)


class Failing:
    """A request that fails on every other image."""

    def __init__(self, compiled: Any) -> None:
        self._images = 0
        self._tensor = ov.Tensor(np.zeros((1, 2, 2, 3), np.float32))

    def get_input_tensor(self) -> Any:
        return self._tensor

    def set_output_tensor(self, tensor: Any) -> None:
        self._output = tensor

    def start_async(self) -> None:
        self._images += 1

    def wait(self) -> None:
        if self._images % 2 == 0:
            raise RuntimeError("the processor melted")
        self._output.data[:] = self._images


class Compiled:
    def get_property(self, name: str) -> int:
        return 1

    def create_infer_request(self) -> Failing:
        return Failing(self)


def test_a_failure_affects_only_its_own_maps(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "compile_network", lambda network, hint: Compiled())
    net = GraphBuilder(3)
    net.add("conv", Conv2D(1), net.input)
    case = Case(net.build(), (1, 2, 2))
    model = device.compile(case.graph, case.state)
    maps = [model.predict(case.images) for _ in range(3)]
    assert np.asarray(maps[2]).max() == 3
    assert np.asarray(maps[0]).max() == 1
    for _ in range(2):
        with pytest.raises(RuntimeError, match="melted"):
            np.asarray(maps[1])


def test_a_request_that_does_not_start_stays_usable() -> None:
    from msinet_openvino.requests import RequestPool

    pool = RequestPool(Compiled())
    values = np.zeros((1, 2, 2, 1), np.float32)
    for _ in range(3):
        with pytest.raises(ValueError, match="broadcast"):
            pool.start(np.zeros((1, 5, 5, 3), np.float32), values)
    pool.start(np.zeros((1, 2, 2, 3), np.float32), values).wait()
    assert values.max() == 1


# --- compiled networks ---------------------------------------------------------------------------


class Counting:
    """Counts what is compiled for which shape and hint."""

    def __init__(self, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[tuple[int, ...], str]] = []
        self._compile = device.compile_network
        monkeypatch.setattr(device, "compile_network", self)

    def __call__(self, network: Any, hint: str) -> Any:
        self.seen.append((tuple(network.input(0).shape)[1:3], hint))
        return self._compile(network, hint)


def test_each_size_is_compiled_once_per_hint(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(device, monkeypatch)
    case = small_case()
    model = device.compile(case.graph, case.state)
    for count in (1, 1, 3, 5, 1, 2):
        np.asarray(model.predict(case.images[:count]))
    assert counting.seen == [((16, 24), "latency"), ((16, 24), "throughput")]


def test_a_last_single_image_uses_the_compiled_network(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(device, monkeypatch)
    case = small_case()
    predictor = Predictor(device.compile(case.graph, case.state), case.graph, (16, 24), 4)
    outcomes = list(
        predictor.stream(range(5), lambda index: case.images[index], lambda index, made: index)
    )
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert counting.seen == [((16, 24), "throughput")]


def test_networks_of_least_recent_sizes_are_freed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(device, monkeypatch)
    graph = msinet_graph(NARROW)
    model = device.compile(graph, small_case().state)
    sizes = [(8, 8 * column) for column in range(1, 6)]
    for size in (*sizes, sizes[-1], sizes[0]):
        assert np.asarray(model.predict(np.zeros((1, *size, 3), np.float32))).shape[1:3] == size
    assert [size for size, _ in counting.seen] == [*sizes, sizes[0]]


# --- weights and refusals ------------------------------------------------------------------------


def test_weights_are_copied_and_returned_unchanged(device: Device) -> None:
    case = small_case()
    weights = {name: value.copy() for name, value in case.state.weights.items()}
    model = device.compile(case.graph, State(weights))
    expected = reference_map(case)
    for value in weights.values():
        value[:] = 7
    np.testing.assert_allclose(np.asarray(model.predict(case.images)), expected, rtol=0, atol=1e-4)
    back = model.state()
    assert back.optimizer is None
    for name, value in case.state.weights.items():
        np.testing.assert_array_equal(back.weights[name], value)


def test_it_refuses_to_train_and_to_compute_a_loss(device: Device) -> None:
    case = small_case()
    with pytest.raises(UsageError, match="openvino"):
        device.compile(case.graph, case.state, loss=KLDivergence())
    model = device.compile(case.graph, case.state)
    with pytest.raises(UsageError, match="optimizer"):
        model.train_step([case.batch], 1e-3)
    with pytest.raises(UsageError, match="loss"):
        model.eval_step(case.batch)


def test_an_unknown_padding_is_refused(device: Device) -> None:
    net = GraphBuilder(3)
    op = Conv2D(2)
    object.__setattr__(op, "padding", "REFLECT")
    builder = device.layer_builders[Conv2D]
    kernel = np.zeros((2, 3, 3, 3), np.float32)
    images = ov.opset13.parameter([1, 3, 4, 4], np.float32, name=net.input)
    with pytest.raises(GraphError, match=r"Conv2D.*padding.*REFLECT"):
        builder(op, [images], {"kernel": kernel, "bias": np.zeros(2, np.float32)})


def test_maps_can_outlive_their_model(device: Device) -> None:
    case = small_case()
    model = device.compile(case.graph, case.state)
    lazy = model.predict(case.images)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    np.testing.assert_allclose(np.asarray(lazy), reference_map(case), rtol=0, atol=1e-4)


def test_the_whole_command(run: Any, tiny_data: Any, tmp_path: Any) -> None:
    case = small_case()
    file = tmp_path / "narrow.msinet.h5"
    save_checkpoint(file, Checkpoint(case.graph, case.state))
    chosen = ("--device", "openvino", "--image-size", "32x40", "--weights", file)
    result = run("predict", tiny_data / "stimuli", *chosen, "--out", "maps")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "maps").rglob("*.jpeg"))) == 8
    result = run("evaluate", "--data", tiny_data, *chosen, "--json")
    assert result.exit_code == 0, result.output


def test_doctor_lists_the_targets_and_refuses_a_precision(run: Any) -> None:
    result = run("--device", "openvino", "doctor")
    assert result.exit_code == 0, result.output
    assert "target CPU" in result.output
    assert "float32" in result.output
    if "FP16" not in CAPABILITIES:
        result = run("--device", "openvino", "doctor", "--precision", "float16")
        assert result.exit_code == 1
        assert "float16" in result.output


def test_doctor_opens_the_chosen_target(run: Any) -> None:
    if any(name.startswith("NPU") for name in ov.Core().available_devices):
        pytest.skip("this machine has an NPU")
    result = run("--device", "openvino", "doctor", "-O", "target=npu")
    assert result.exit_code == 1
    assert "target=npu" in result.output
