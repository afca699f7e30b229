"""PyTorch's devices: every row of the kit, both memory formats, and what each device refuses."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import msinet_torch
from msinet_core.conformance.cases import Case, narrow_network
from msinet_core.conformance.runner import SCENARIOS, prove
from msinet_core.device import Probe, Program
from msinet_core.errors import DeviceUnavailableError, GraphError, UsageError
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
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
from msinet_core.network.state import Batch, State
from msinet_core.training.initial_weights import random_state

torch = pytest.importorskip("torch")
device_module = importlib.import_module("msinet_torch.device")
loading = importlib.import_module("msinet_torch.loading")
CPU, CUDA, MPS = msinet_torch.CPU, msinet_torch.CUDA, msinet_torch.MPS

OF_LAYOUT = ("forward/", "network/", "gradient/", "train/four", "adam/first")
"""The beginnings of rows that a memory format could change."""


class ContiguousDevice(device_module.TorchDevice):  # type: ignore[misc, name-defined]
    """What `mps` computes, on the processor: contiguous NCHW, and results that are read late."""

    memory_format = torch.contiguous_format


class TracedDevice(device_module.CpuDevice):  # type: ignore[misc, name-defined]
    """What ``compile=on`` traces, without a compiler behind it."""

    def compiled(self, function: Any) -> Any:
        return torch.compile(function, dynamic=False, backend="aot_eager")


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
    report = prove(CPU.open("float32"))
    assert len(report.rows) > 90
    assert not report.failed, report.failed


def test_contiguous_nchw_agrees_too() -> None:
    rows = [row for row in SCENARIOS if row.id.startswith(OF_LAYOUT) and "full-size" not in row.id]
    report = prove(ContiguousDevice(CPU), scenarios=rows)
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
    ("device", "wanted"),
    [(device_module.CpuDevice, "channels_last"), (ContiguousDevice, "contiguous_format")],
)
def test_images_kernels_and_moments_lie_as_the_device_wants(
    case: Case, device: Any, wanted: str
) -> None:
    opened = device(CPU)
    model = opened.build(Program(case.graph, case.state, KLDivergence(), Adam()))
    kernel = model._weights["conv2/conv2_2/kernel"]
    tensors = [
        opened.place_images(case.images),
        kernel,
        model._m["conv2/conv2_2/kernel"],
        model._v["conv2/conv2_2/kernel"],
    ]
    for tensor in tensors:
        assert tensor.is_contiguous(memory_format=getattr(torch, wanted))
    assert kernel.dtype == torch.float32


def test_channels_last_images_are_not_copied() -> None:
    images = np.ones((1, 8, 8, 3), np.float32)
    placed = CPU.open().place_images(images)  # type: ignore[attr-defined]
    assert placed.data_ptr() == images.ctypes.data
    assert placed.shape == (1, 3, 8, 8)


def test_results_of_the_processor_are_plain(case: Case) -> None:
    model = CPU.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    assert type(model.train_step([case.batch], 1e-3)) is float
    assert type(model.eval_step(case.batch)) is np.ndarray
    assert type(model.predict(case.images)) is np.ndarray


def test_late_results_read_the_same(case: Case) -> None:
    exact, late = CPU.open(), ContiguousDevice(CPU)
    losses, state = trained(exact, case)
    model = late.build(Program(case.graph, case.state, KLDivergence(), Adam()))
    unread = [model.train_step([case.batch], 1e-3) for _ in losses]
    assert not any(isinstance(loss, float) for loss in unread)
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


def test_an_activation_that_nobody_computes_is_refused() -> None:
    net = GraphBuilder(3)
    op = Conv2D(1)
    object.__setattr__(op, "activation", "gelu")
    net.add("conv", op, net.input)
    graph = net.build()
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    model = CPU.open().compile(graph, State(weights))
    with pytest.raises(GraphError, match="does not compute Conv2D with activation 'gelu'"):
        model.predict(np.zeros((1, 8, 8, 3), np.float32))


def test_an_empty_step_is_refused(case: Case) -> None:
    model = CPU.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    with pytest.raises(UsageError, match="at least one image"):
        model.train_step([Batch(case.images[:0], case.batch.maps[:0])], 1e-3)


def test_weights_that_nothing_depends_on_stay_as_they_are() -> None:
    net = GraphBuilder(3)
    net.add("unused", Conv2D(2), net.input)
    net.add("used", Conv2D(1, activation="linear"), net.input)
    case = Case(net.build())
    _, state = trained(CPU.open(), case)
    np.testing.assert_array_equal(
        state.weights["unused/kernel"], case.state.weights["unused/kernel"]
    )
    assert not np.array_equal(state.weights["used/kernel"], case.state.weights["used/kernel"])


# --- torch-cuda and mps on a machine without them ------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_is_never_replaced_by_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceUnavailableError, match="Device 'torch-cuda' is not available"):
        CUDA.open()
    monkeypatch.setattr(device_module, "nvidia_gpus", lambda: ())
    ready = type("Ready", (), {"ready": True})()
    monkeypatch.setattr(device_module.CudaDevice, "__init__", lambda *given: None)
    spec = type("Spec", (), {"name": "torch-cuda", "probe": staticmethod(lambda: ready)})()
    assert "does not see it" in device_module._why_no_gpu(spec)


@pytest.mark.parametrize(
    ("precision", "options", "told"),
    [
        ("bfloat16", {}, "cannot compute in bfloat16: Tesla T4 has compute capability 7.5"),
        ("float32", {"tf32": "on"}, "cannot compute in TF32"),
    ],
)
def test_cuda_refuses_what_an_old_gpu_lacks(
    monkeypatch: pytest.MonkeyPatch, precision: str, options: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "Tesla T4")
    with pytest.raises(UsageError, match=told):
        CUDA.open(precision, options)


def test_cuda_refuses_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        "LOCAL_RANK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="process 2 of this machine, and PyTorch sees 1 GPUs"):
        CUDA.open(distribute="multiworker")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is a Mac")
def test_mps_is_never_replaced_by_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.FALLBACK_VARIABLE, "0")
    with pytest.raises(DeviceUnavailableError, match="Device 'mps' is not available"):
        MPS.open()


def test_mps_is_refused_where_pytorch_may_compute_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(loading.FALLBACK_VARIABLE, "1")
    with pytest.raises(DeviceUnavailableError, match="silently compute on the processor"):
        MPS.open()


def test_fallback_is_forbidden_before_pytorch_is_imported() -> None:
    code = (
        "import os; os.environ['PYTORCH_ENABLE_MPS_FALLBACK'] = '1'\n"
        "import msinet_torch.device\n"
        "print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_mps_is_not_here_on_linux() -> None:
    probe: Probe = MPS.probe()
    assert probe.ready is (sys.platform == "darwin")
