"""What the device cuda demands of the machine, and what doctor finds; on made-up machines."""

from __future__ import annotations

import dataclasses
import importlib
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
    """What TensorFlow is made to say about its GPUs, and what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.physical: list[Any] = [H200]
        self.visible: list[Any] = [H200]
        self.details: dict[str, Any] = {"device_name": "H200", "compute_capability": (9, 0)}
        self.told: dict[str, Any] = {}
        self.probe = READY
        config, experimental = tf.config, tf.config.experimental

        def tell(name: str) -> Callable[..., None]:
            return lambda *values: self.told.update({name: values})

        monkeypatch.setattr(config, "list_physical_devices", lambda kind: self.physical)
        monkeypatch.setattr(config, "get_visible_devices", lambda kind: self.visible)
        monkeypatch.setattr(config, "set_soft_device_placement", tell("soft placement"))
        monkeypatch.setattr(config.optimizer, "set_experimental_options", tell("optimizer"))
        monkeypatch.setattr(experimental, "get_device_details", lambda gpu: self.details)
        monkeypatch.setattr(experimental, "set_memory_growth", tell("memory growth"))
        monkeypatch.setattr(experimental, "enable_tensor_float_32_execution", tell("tf32"))
        monkeypatch.setattr(nvidia, "nvidia_gpus", lambda: self.probe.hardware)

    def open(self, precision: str = "float32", **options: str) -> Any:
        spec = dataclasses.replace(SPEC, probe=lambda: self.probe)
        return cuda.CudaDevice(spec, precision, options)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


# --- what it demands ------------------------------------------------------------------------------


def test_without_a_gpu_it_does_not_open() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU on this machine")
    with pytest.raises(DeviceUnavailableError, match="Device 'cuda' is not available: "):
        SPEC.open()


def test_a_probe_that_found_nothing_says_why(machine: Machine) -> None:
    machine.physical = machine.visible = []
    machine.probe = Probe(Availability.NOT_HERE, "There is no driver.", "Install one.")
    with pytest.raises(DeviceUnavailableError) as error:
        machine.open()
    assert str(error.value) == "Device 'cuda' is not available: There is no driver. Install one."


def test_a_tensorflow_without_cuda_is_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.physical = machine.visible = []
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    monkeypatch.setattr(cuda, "installed_wheels", lambda: {"tensorflow-rocm": "2.21.0"})
    with pytest.raises(DeviceUnavailableError, match="was built without CUDA") as error:
        machine.open()
    assert 'pip uninstall --yes tensorflow-rocm && pip install "msinet[cuda]"' in str(error.value)


def test_missing_cuda_libraries_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.physical = machine.visible = []
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    with pytest.raises(DeviceUnavailableError, match="the driver offers H200, but") as error:
        machine.open()
    assert f'pip install "tensorflow[and-cuda]=={tf.__version__}"' in str(error.value)


def test_a_gpu_that_another_device_hid_is_named(machine: Machine) -> None:
    machine.visible = []
    with pytest.raises(DeviceUnavailableError, match="Open 'cuda' in a process of its own"):
        machine.open()


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("bfloat16", {}, "has compute capability 7.5, and bfloat16 needs 8.0"),
        ("float32", {"tf32": "on"}, "has compute capability 7.5, and TF32 needs 8.0"),
    ],
)
def test_what_an_older_gpu_lacks_is_refused(
    machine: Machine, precision: str, options: dict[str, str], message: str
) -> None:
    machine.details["compute_capability"] = (7, 5)
    with pytest.raises(UsageError, match=message):
        machine.open(precision, **options)
    assert machine.open("float16").precision == "float16"


# --- what it settles ------------------------------------------------------------------------------


@pytest.mark.parametrize("tf32", ["off", "on"])
def test_how_tensorflow_is_set_up(machine: Machine, tf32: str) -> None:
    device = machine.open(tf32=tf32)
    assert machine.told == {
        "memory growth": (H200, True),
        "tf32": (tf32 == "on",),
        "optimizer": ({"layout_optimizer": False},),
        "soft placement": (False,),
    }
    assert device.distribution.placement == "/GPU:0"
    assert device.jit_compile is False
    assert machine.open(xla="on").jit_compile is True


def test_memory_that_was_taken_already_is_no_obstacle(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_doctor_counts_transposes_and_says_what_nobody_has_seen() -> None:
    found = findings()
    assert found["transposes"].status == "ok"
    assert found["transposes"].data == {
        "float32": {"predict": 1, "evaluate": 1, "train": 1, "accumulate": 1, "finish": 0}
    }
    assert found["evidence"].status == "note"
    assert "was not run on an NVIDIA GPU" in found["evidence"].detail


def test_doctor_says_when_there_are_no_gpu_kernels_to_audit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everywhere = {"Conv2D": [Kernel("DEFAULT", {}, frozenset())]}
    monkeypatch.setattr(doctor, "cuda_kernels", lambda: everywhere)
    found = findings()["kernel audit"]
    assert found.status == "note"
    assert "has no kernels for GPUs" in found.detail


def test_doctor_names_nodes_that_would_leave_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class AllButOne(dict[str, list[Kernel]]):
        def get(self, op: str, default: Any = None) -> Any:
            host = frozenset({"indices"} if op == "Transpose" else ())
            return [] if op == "MaxPoolGrad" else [Kernel("GPU", {}, host)]

    monkeypatch.setattr(doctor, "cuda_kernels", AllButOne)
    found = findings()["kernel audit in float32"]
    assert found.status == "problem"
    assert "MaxPoolGrad has no GPU kernel." in found.detail
    assert found.data["problems"]


def test_doctor_shows_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (nvidia.Gpu("NVIDIA H200", 141 * 2**30, 16896, (9, 0)), nvidia.Gpu("NVIDIA GB10"))
    monkeypatch.setattr(nvidia, "nvidia_gpus", lambda: (Hardware("NVIDIA H200"),))
    monkeypatch.setattr(nvidia, "ask_driver", lambda: nvidia.Driver("570.86.15", gpus))
    monkeypatch.setattr(doctor, "installed_wheels", dict)
    found = findings()
    assert found["driver"].detail == (
        "NVIDIA driver 570.86.15.\n"
        "NVIDIA H200, 141 GiB, compute capability 9.0.\n"
        "NVIDIA GB10, memory of the host, compute capability unknown."
    )
    assert found["graphs"].status == "note"
    assert "none is installed" in found["graphs"].detail
