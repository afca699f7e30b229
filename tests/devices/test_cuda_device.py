"""The setup of TensorFlow by the device cuda, its refusals and its doctor, with simulated GPUs."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from msinet_core.device import Availability, Hardware, Probe
from msinet_core.errors import DeviceUnavailableError, UsageError
from msinet_core.hardware import nvidia
from msinet_core.registry.doctor import Finding
from msinet_cuda_nchw import SPEC
from msinet_tensorflow.audit import Kernel, audit

tf = pytest.importorskip("tensorflow")
cuda = importlib.import_module("msinet_cuda_nchw.device")
doctor = importlib.import_module("msinet_cuda_nchw.doctor")
kernels = importlib.import_module("msinet_cuda_nchw.kernels")

H200 = SimpleNamespace(name="/physical_device:GPU:0")
READY = Probe(Availability.INSTALLED, framework_version="2.21.0", hardware=(Hardware("H200"),))


class Machine:
    """The GPUs that TensorFlow seems to have, and the settings that it received."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.physical: list[Any] = [H200]
        self.visible: list[Any] = [H200]
        self.details: dict[str, Any] = {"device_name": "H200", "compute_capability": (9, 0)}
        self.settings: dict[str, Any] = {}
        self.probe = READY
        config, experimental = tf.config, tf.config.experimental

        def record(name: str) -> Callable[..., None]:
            return lambda *values: self.settings.update({name: values})

        monkeypatch.setattr(config, "list_physical_devices", lambda kind: self.physical)
        monkeypatch.setattr(config, "get_visible_devices", lambda kind: self.visible)
        monkeypatch.setattr(config, "set_soft_device_placement", record("soft placement"))
        monkeypatch.setattr(config.optimizer, "set_experimental_options", record("optimizer"))
        monkeypatch.setattr(experimental, "get_device_details", lambda gpu: self.details)
        monkeypatch.setattr(experimental, "set_memory_growth", record("memory growth"))
        monkeypatch.setattr(experimental, "enable_tensor_float_32_execution", record("tf32"))
        monkeypatch.setattr(nvidia, "nvidia_gpus", lambda: self.probe.hardware)

    def open(self, precision: str = "float32", **options: str) -> Any:
        spec = dataclasses.replace(SPEC, probe=lambda: self.probe)
        return cuda.CudaDevice(spec, precision, options)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


# --- what it refuses ------------------------------------------------------------------------------


def test_without_a_gpu_it_does_not_open() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU on this machine")
    with pytest.raises(DeviceUnavailableError, match="'cuda'"):
        SPEC.open()


def test_the_reason_of_the_probe_is_shown(machine: Machine) -> None:
    machine.physical = machine.visible = []
    machine.probe = Probe(Availability.NOT_HERE, "There is no driver.", "Install one.")
    with pytest.raises(DeviceUnavailableError, match=r"There is no driver\. Install one\."):
        machine.open()


@pytest.mark.parametrize(
    ("with_cuda", "command"),
    [
        (False, 'pip uninstall --yes tensorflow-rocm && pip install "msinet[cuda]"'),
        (True, f'pip install "tensorflow[and-cuda]=={tf.__version__}"'),
    ],
    ids=["built without CUDA", "CUDA libraries missing"],
)
def test_a_tensorflow_that_finds_no_gpu_names_the_fix(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, with_cuda: bool, command: str
) -> None:
    machine.physical = machine.visible = []
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: with_cuda)
    monkeypatch.setattr(cuda, "installed_wheels", lambda: {"tensorflow-rocm": "2.21.0"})
    with pytest.raises(DeviceUnavailableError, match=re.escape(command)):
        machine.open()


def test_a_gpu_hidden_by_another_device_is_not_used(machine: Machine) -> None:
    machine.visible = []
    with pytest.raises(DeviceUnavailableError, match=r"'cuda'.*hid.*process"):
        machine.open()


@pytest.mark.parametrize(
    ("precision", "options", "name"),
    [("bfloat16", {}, "bfloat16"), ("float32", {"tf32": "on"}, "TF32")],
)
def test_older_gpus_refuse_what_needs_ampere(
    machine: Machine, precision: str, options: dict[str, str], name: str
) -> None:
    machine.details["compute_capability"] = (7, 5)
    with pytest.raises(UsageError, match=rf"{name}.* 7\.5.* 8\.0"):
        machine.open(precision, **options)
    assert machine.open("float16").precision == "float16"


@pytest.mark.parametrize(
    ("capability", "targets"), [((10, 0), ["sm_80", "compute_90"]), ((5, 0), ["sm_60", "sm_70"])]
)
def test_gpus_without_kernels_are_refused(
    machine: Machine,
    capability: tuple[int, int],
    targets: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tf, "__version__", "2.21.0")
    built = {"cuda_compute_capabilities": targets}
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: built)
    machine.details["compute_capability"] = capability
    with pytest.raises(DeviceUnavailableError, match=r"H200.*torch-cuda"):
        machine.open()
    machine.details["compute_capability"] = (8, 0) if capability > (8, 0) else (7, 5)
    assert machine.open().jit_compile is False


# --- what it sets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tf32", ["off", "on"])
def test_how_tensorflow_is_set_up(machine: Machine, tf32: str) -> None:
    device = machine.open(tf32=tf32)
    assert machine.settings == {
        "memory growth": (H200, True),
        "tf32": (tf32 == "on",),
        "optimizer": ({"layout_optimizer": False},),
        "soft placement": (False,),
    }
    assert device.distribution.placement == "/GPU:0"
    assert device.jit_compile is False
    assert machine.open(xla="on").jit_compile is True


def test_a_gpu_in_use_can_be_opened(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*values: Any) -> None:
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    machine.open()


@pytest.fixture
def hard_placement() -> Iterator[None]:
    before = tf.config.get_soft_device_placement()
    tf.config.set_soft_device_placement(False)
    yield
    tf.config.set_soft_device_placement(before)


@pytest.mark.usefixtures("hard_placement")
@pytest.mark.parametrize("xla", [False, True])
def test_a_step_is_never_computed_elsewhere(xla: bool) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU on this machine")
    step = cuda.OnOneDevice("/GPU:0").compiled(lambda value: value + 1, xla)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"GPU:0|[Dd]evice"):
        step(tf.constant(1.0))
    here = cuda.OnOneDevice("/CPU:0").compiled(lambda value: value + 1, xla)
    assert float(here(tf.constant(1.0))) == 2


# --- doctor ---------------------------------------------------------------------------------------


def findings(arguments: Mapping[str, str] | None = None) -> dict[str, Finding]:
    found = doctor.examine(SPEC, arguments or {"precision": "float32"})
    return {finding.title: finding for finding in found}


def test_every_node_has_a_gpu_kernel() -> None:
    table = kernels.cuda_kernels()
    if not kernels.has_gpu_kernels(table):
        pytest.skip("the installed TensorFlow has no GPU kernels to audit against")
    for precision in SPEC.capabilities.precisions:
        report = audit(doctor.trace_steps(SPEC, precision), table)
        assert report.problems == ()
        assert report.nodes > 1000


def test_doctor_counts_transposes() -> None:
    found = findings()
    assert found["transposes"].status == "ok"
    assert found["transposes"].data == {
        "float32": {"predict": 1, "evaluate": 1, "train": 1, "accumulate": 1, "finish": 0}
    }


def test_doctor_notes_a_tensorflow_without_gpu_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = {"Conv2D": [Kernel("DEFAULT", {}, frozenset())]}
    monkeypatch.setattr(doctor, "cuda_kernels", lambda: everywhere)
    found = findings()["kernel audit"]
    assert found.status == "note"
    assert found.fix.endswith('pip install "msinet[cuda]"')


def test_doctor_names_nodes_that_would_leave_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class AllButOne(dict[str, list[Kernel]]):
        def get(self, op: str, default: Any = None) -> Any:
            host = frozenset({"indices"} if op == "Transpose" else ())
            return [] if op == "MaxPoolGrad" else [Kernel("GPU", {}, host)]

    monkeypatch.setattr(doctor, "cuda_kernels", AllButOne)
    found = findings()["kernel audit in float32"]
    assert found.status == "problem"
    assert "MaxPoolGrad" in found.detail
    assert {problem["op"] for problem in found.data["problems"]} == {"MaxPoolGrad"}


def test_doctor_shows_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (nvidia.Gpu("NVIDIA H200", 141 * 2**30, 16896, (9, 0)), nvidia.Gpu("NVIDIA GB10"))
    monkeypatch.setattr(nvidia, "query_driver", lambda: nvidia.Driver("570.86.15", gpus))
    monkeypatch.setattr("msinet_core.hardware.distribution_version", lambda name: None)
    found = findings()
    assert "570.86.15" in found["driver"].detail
    assert "9.0, unknown" in found["driver"].detail
    missing = found["kernel audit"]
    assert (missing.status, missing.fix) == ("note", 'pip install "msinet[cuda]"')
