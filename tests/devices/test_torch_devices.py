"""PyTorch's devices: conformance, both memory formats, results, and what each device refuses."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import msinet_torch
from msinet_core import (
    Adam,
    Availability,
    Batch,
    Deferred,
    DeviceUnavailableError,
    GraphBuilder,
    GraphError,
    Hardware,
    KLDivergence,
    Probe,
    Program,
    State,
    UsageError,
    hardware,
    msinet_graph,
    nvidia,
)
from msinet_core.conformance.cases import Case, narrow_network
from msinet_core.conformance.scenarios import SCENARIOS
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    ResizeLike,
    SubtractMean,
)
from msinet_core.training.initial_weights import random_state
from tests.faults.check import check_device

torch = pytest.importorskip("torch")
device_module = importlib.import_module("msinet_torch.device")
loading = importlib.import_module("msinet_torch.loading")
CPU, CUDA, MPS = msinet_torch.CPU, msinet_torch.CUDA, msinet_torch.MPS

LAYOUT_ROWS = ("forward/", "network/", "gradient/", "train/four", "adam/first")
"""The prefixes of rows that a memory format could change."""


class ContiguousDevice(device_module.TorchDevice):  # type: ignore[misc, name-defined]
    """What `mps` does, on the CPU: contiguous NCHW and deferred results."""

    memory_format = torch.contiguous_format


class TracedDevice(device_module.CpuDevice):  # type: ignore[misc, name-defined]
    """What ``compile=on`` traces, without generating code."""

    def compiled(self, function: Any) -> Any:
        return device_module.compile_whole(function, backend="aot_eager")


@pytest.fixture(scope="module")
def case() -> Case:
    return narrow_network(count=2)


def trained(device: Any, case: Case, steps: int = 2) -> tuple[list[float], State]:
    model = device.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    losses = [float(model.train_step([case.batch], 1e-3)) for _ in range(steps)]
    return losses, model.state()


def assert_near(one: State, other: State, tolerance: float) -> None:
    for name, value in one.weights.items():
        np.testing.assert_allclose(value, other.weights[name], atol=tolerance, err_msg=name)


def test_torch_cpu_agrees_with_the_reference_in_every_row() -> None:
    report = check_device(CPU.open("float32"))
    assert len(report.rows) > 90
    assert not report.failed, report.failed


def test_contiguous_nchw_agrees_too() -> None:
    rows = [
        row for row in SCENARIOS if row.id.startswith(LAYOUT_ROWS) and "full-size" not in row.id
    ]
    report = check_device(ContiguousDevice(CPU), scenarios=rows)
    assert len(report.rows) > 50
    assert not report.failed, report.failed


def test_bfloat16_maps_correlate_with_the_reference() -> None:
    graph = msinet_graph(0.25)
    state, images = (
        random_state(graph, seed=0),
        np.random.default_rng(0).uniform(0, 255, (2, 48, 64, 3)),
    )
    images = images.astype(np.float32)
    exact, rough = (
        np.asarray(CPU.open(precision).compile(graph, state).predict(images))
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.999
    assert not np.array_equal(exact, rough)


def test_weights_stay_float32_in_bfloat16(case: Case) -> None:
    _, state = trained(CPU.open("bfloat16"), case)
    kernel = state.weights["conv1/conv1_1/kernel"]
    rounded = torch.from_numpy(kernel).bfloat16().float().numpy()
    assert kernel.dtype == np.float32
    assert not np.array_equal(kernel, rounded)


def test_evaluation_sees_the_weights_that_a_step_changed(case: Case) -> None:
    model = CPU.open("bfloat16").compile(
        case.graph, case.state, loss=KLDivergence(), optimizer=Adam()
    )
    before = np.asarray(model.eval_step(case.batch))
    model.train_step([case.batch], 1e-2)
    assert not np.array_equal(np.asarray(model.eval_step(case.batch)), before)


@pytest.mark.parametrize(
    ("device", "memory_format"),
    [(device_module.CpuDevice, "channels_last"), (ContiguousDevice, "contiguous_format")],
)
def test_images_kernels_and_moments_have_the_devices_memory_format(
    case: Case, device: Any, memory_format: str
) -> None:
    opened = device(CPU)
    model = opened.build(Program(case.graph, case.state, KLDivergence(), Adam()))
    kernel = model._weights["conv2/conv2_2/kernel"]
    tensors = [
        opened.put_images(case.images),
        kernel,
        model._m["conv2/conv2_2/kernel"],
        model._v["conv2/conv2_2/kernel"],
    ]
    for tensor in tensors:
        assert tensor.is_contiguous(memory_format=getattr(torch, memory_format))
    assert kernel.dtype == torch.float32


def test_channels_last_images_are_not_copied() -> None:
    images = np.ones((1, 8, 8, 3), np.float32)
    placed = CPU.open().put_images(images)  # type: ignore[attr-defined]
    assert placed.data_ptr() == images.ctypes.data
    assert placed.shape == (1, 3, 8, 8)


def test_torch_cpu_returns_plain_results(case: Case) -> None:
    model = CPU.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    assert type(model.train_step([case.batch], 1e-3)) is float
    assert type(model.eval_step(case.batch)) is np.ndarray
    assert type(model.predict(case.images)) is np.ndarray


def test_deferred_results_have_the_same_values(case: Case) -> None:
    losses, state = trained(CPU.open(), case)
    deferred = ContiguousDevice(CPU)
    model = deferred.build(Program(case.graph, case.state, KLDivergence(), Adam()))
    unread = [model.train_step([case.batch], 1e-3) for _ in losses]
    assert all(isinstance(loss, Deferred) for loss in unread)
    assert [float(loss) for loss in unread] == pytest.approx(losses, rel=1e-5)
    assert_near(model.state(), state, 1e-4)
    maps = model.predict(case.images)
    assert len(maps) == len(case.images)
    assert np.asarray(maps, np.float64).dtype == np.float64


def test_the_network_can_be_traced_for_compilation() -> None:
    net = GraphBuilder(3)
    features = net.add(
        "conv", Conv2D(4, dilation=2), net.add("mean", SubtractMean((1, 2, 3)), "input")
    )
    pooled = net.add("pool", MaxPool2D(strides=1, padding="SAME"), features)
    everywhere = net.add("like", ResizeLike(), net.add("average", GlobalMean(), pooled), pooled)
    joined = net.add("concat", Concat(), pooled, everywhere)
    larger = net.add("resize", Resize(2), joined)
    net.add("output", MinMaxNormalize(), net.add("last", Conv2D(1, activation="linear"), larger))
    case = Case(net.build())
    losses, state = trained(CPU.open(), case)
    traced_losses, traced_state = trained(TracedDevice(CPU), case)
    assert traced_losses == pytest.approx(losses, rel=1e-5)
    assert_near(traced_state, state, 1e-4)


def test_an_unknown_activation_is_refused() -> None:
    net = GraphBuilder(3)
    op = Conv2D(1)
    object.__setattr__(op, "activation", "gelu")
    net.add("conv", op, net.input)
    graph = net.build()
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    model = CPU.open().compile(graph, State(weights))
    with pytest.raises(GraphError, match="gelu"):
        model.predict(np.zeros((1, 8, 8, 3), np.float32))


def test_an_empty_step_is_refused(case: Case) -> None:
    model = CPU.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    with pytest.raises(UsageError):
        model.train_step([Batch(case.images[:0], case.batch.maps[:0])], 1e-3)


def test_unused_weights_do_not_change() -> None:
    net = GraphBuilder(3)
    net.add("unused", Conv2D(2), net.input)
    net.add("used", Conv2D(1, activation="linear"), net.input)
    case = Case(net.build())
    _, state = trained(CPU.open(), case)
    np.testing.assert_array_equal(
        state.weights["unused/kernel"], case.state.weights["unused/kernel"]
    )
    assert not np.array_equal(state.weights["used/kernel"], case.state.weights["used/kernel"])


def test_more_shapes_than_pytorch_compiles_by_default_stay_compiled() -> None:
    sizes = []

    def counted(graph: Any, inputs: Any) -> Any:
        sizes.append(tuple(inputs[0].shape))
        return graph.forward

    double = device_module.compile_whole(lambda images: images * 2, backend=counted)
    for width in range(2, 14):
        double(torch.ones(1, width))
    assert len(sizes) == 12


def test_the_concatenated_features_keep_the_memory_format(case: Case) -> None:
    net = GraphBuilder(8)
    net.add("mean", GlobalMean(), net.input)
    net.add("wide", ResizeLike(), "mean", net.input)
    net.add("both", Concat(), net.input, "wide")
    device = CPU.open("bfloat16")
    images = device.put_images(np.ones((2, 6, 4, 8), np.float32)).bfloat16()
    features = net.build().apply(device.layer_builders, images, {})
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert not features.is_contiguous()


# --- torch-cuda and mps on a machine without them ------------------------------------------------


@pytest.fixture
def old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu: "Tesla T4")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_is_never_replaced_by_another_device() -> None:
    with pytest.raises(DeviceUnavailableError, match="torch-cuda"):
        CUDA.open()


def test_cuda_names_the_gpu_that_pytorch_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(nvidia, "nvidia_gpus", lambda: (Hardware("NVIDIA H200"),))
    ready = replace(CUDA, probe=lambda: Probe(Availability.INSTALLED))
    with pytest.raises(DeviceUnavailableError) as caught:
        ready.open()
    assert "NVIDIA H200" in str(caught.value)
    assert torch.__version__ in str(caught.value)


def test_cuda_says_that_a_build_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of conda's CPU build does not end in "+cpu"."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    ready = replace(CUDA, probe=lambda: Probe(Availability.INSTALLED))
    with pytest.raises(DeviceUnavailableError, match="without CUDA") as caught:
        ready.open()
    assert "driver" not in str(caught.value)


@pytest.mark.usefixtures("old_gpu")
@pytest.mark.parametrize(
    ("precision", "options", "named"),
    [("bfloat16", {}, "bfloat16"), ("float32", {"tf32": "on"}, "TF32")],
)
def test_cuda_refuses_what_an_old_gpu_lacks(
    precision: str, options: dict[str, str], named: str
) -> None:
    with pytest.raises(UsageError, match=rf"{named}.*Tesla T4.*7\.5.*8\.0"):
        CUDA.open(precision, options)


@pytest.mark.usefixtures("old_gpu")
def test_cuda_refuses_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        "LOCAL_RANK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="--nproc-per-node 1"):
        CUDA.open(distribute="multiworker")


@pytest.mark.usefixtures("old_gpu")
@pytest.mark.parametrize("count", ["1", "2"])
def test_cuda_graphs_are_refused_in_distributed_training(
    monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    group = {"RANK": "0", "WORLD_SIZE": count, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(device_module, "join", lambda device: device_module.Distribution())
    with pytest.raises(UsageError, match="--distribute none"):
        CUDA.open(options={"cuda-graphs": "on"}, distribute="multiworker")


@pytest.mark.usefixtures("old_gpu")
def test_cuda_refuses_a_gpu_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "compute_80"])
    with pytest.raises(DeviceUnavailableError, match=r"Tesla T4.*7\.5.*sm_80"):
        CUDA.open()


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is a Mac")
@pytest.mark.parametrize(("fallback", "named"), [("0", torch.__version__), ("1", "unset")])
def test_mps_is_never_replaced_by_another_device(
    monkeypatch: pytest.MonkeyPatch, fallback: str, named: str
) -> None:
    monkeypatch.setenv(loading.FALLBACK_VARIABLE, fallback)
    with pytest.raises(DeviceUnavailableError) as caught:
        MPS.open()
    assert "'mps'" in str(caught.value) and named in str(caught.value)


def test_the_fallback_is_disabled_before_pytorch_is_imported() -> None:
    code = (
        "import os; os.environ['PYTORCH_ENABLE_MPS_FALLBACK'] = '1'\n"
        "import msinet_torch.device\n"
        "print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch uses libgomp on Linux")
@pytest.mark.parametrize(
    ("variable", "spins"),
    [
        ("GOMP_SPINCOUNT=", loading.SPINS),
        ("GOMP_SPINCOUNT=7", "7"),
        ("OMP_WAIT_POLICY=passive", "0"),
    ],
)
def test_waiting_threads_soon_sleep_unless_the_user_decides(variable: str, spins: str) -> None:
    name, _, value = variable.partition("=")
    code = f"import os, msinet_torch.device; print(os.environ.get({name!r}, ''))"
    environment = {**os.environ, "OMP_DISPLAY_ENV": "verbose", **({name: value} if value else {})}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == value  # other programs and libraries are not affected
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


def test_mps_is_available_on_macos_only() -> None:
    assert MPS.probe().ready is (sys.platform == "darwin")


@pytest.mark.parametrize(("option", "limits"), [("auto", []), ("50%", [0.75]), ("90%", [1.35])])
def test_mps_limits_its_memory_to_a_share_of_the_macs(
    monkeypatch: pytest.MonkeyPatch, option: str, limits: list[float]
) -> None:
    """PyTorch's limit is a fraction of the recommended memory, here two thirds of the Mac's."""
    memory = hardware.cpu_hardware().memory
    assert memory is not None
    found: list[float] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: memory * 2 // 3)
    monkeypatch.setattr(torch.mps, "set_per_process_memory_fraction", found.append)
    device = object.__new__(device_module.MpsDevice)
    device.spec, device.options = msinet_torch.MPS, {"memory": option}
    device.open_torch_device(0)
    assert found == pytest.approx(limits)
