"""The device `cuda`: TensorFlow on NVIDIA GPUs, in NCHW."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from msinet_core import (
    DeviceSpec,
    DeviceUnavailableError,
    Probe,
    nvidia,
    suppress_native_stderr,
)
from msinet_cuda_nchw.layers import NchwLayers
from msinet_cuda_nchw.probe import INSTALL, USE_TORCH, is_too_new
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.distribution import Distribution, OnOneDevice, StrategyDistribution
from msinet_tensorflow.layers import tf
from msinet_tensorflow.versions import installed_wheels

GPU = "/GPU:0"


class NchwDevice(TensorFlowDevice):
    """The graphs of `cuda` on any machine with TensorFlow.

    Tests and ``doctor`` use it on machines without a GPU; ``--device cuda`` opens `CudaDevice`.

    Args:
        spec: The device's description.
        precision: The dtype of convolutions; weights, the loss and Adam are float32.
        options: ``xla`` and ``tf32``, each ``"on"`` or ``"off"``; None for their defaults.
        distribute: ``"auto"``, ``"none"``, ``"mirrored"`` over every visible GPU, or
            ``"multiworker"``.
        max_devices: The number of devices of this machine to use at most; None: all.
    """

    layers_class = NchwLayers
    unread_losses = 15
    """Losses are read eight at once: TensorFlow copies from a GPU only after all steps so far, so
    that every read lets the GPU run out of work."""

    def configure(self) -> None:
        self.jit_compile = self.options["xla"] == "on"


class CudaDevice(NchwDevice):
    """TensorFlow on NVIDIA GPUs.

    Memory is allocated as needed, so that other programs can share a GPU. TensorFlow's layout
    optimizer is disabled, so that graphs keep their data format.

    Raises:
        DeviceUnavailableError: TensorFlow finds no GPU; it never runs on the CPU instead.
        UsageError: A GPU does not support the precision, or TF32.
    """

    def configure(self) -> None:
        super().configure()
        tf32 = self.options["tf32"] == "on"
        for gpu in _visible_gpus(self.spec):
            _check_gpu(self.spec, gpu, self.precision, tf32)
            with suppress(RuntimeError):  # the GPU is already in use
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})

    def make_distribution(self, distribute: str) -> Distribution:
        distribution = super().make_distribution(distribute)
        if isinstance(distribution, StrategyDistribution):  # it places every op
            return distribution
        tf.config.set_soft_device_placement(False)
        return OnOneDevice(GPU)


def _visible_gpus(spec: DeviceSpec) -> list[Any]:
    with suppress_native_stderr():  # TensorFlow logs errors if there is no GPU
        physical = tf.config.list_physical_devices("GPU")
        visible = tf.config.get_visible_devices("GPU")
    if visible:
        return list(visible)
    if physical:
        raise DeviceUnavailableError(
            f"Device '{spec.name}' is not available: another TensorFlow device, such as 'cpu', has "
            f"hidden the GPU in this process. Use '{spec.name}' in a separate process."
        )
    raise DeviceUnavailableError(_why_no_gpu(spec, spec.probe()))


def _why_no_gpu(spec: DeviceSpec, probe: Probe) -> str:
    if not probe.ready:
        return spec.unavailable_message(probe)
    version = tf.__version__
    if not tf.test.is_built_with_cuda():
        wheels = " ".join(installed_wheels())
        reason = f"this TensorFlow {version} was built without CUDA."
        fix = f"Run: pip uninstall --yes {wheels} && {INSTALL}"
    else:
        names = ", ".join(gpu.name for gpu in nvidia.nvidia_gpus())
        reason = (
            f"the driver lists {names}, but TensorFlow {version} finds no GPU. Usually CUDA "
            "libraries are missing, or the driver is too old for them."
        )
        fix = (
            f'Run: pip install "tensorflow[and-cuda]=={version}"; if that does not help, '
            "TF_CPP_MIN_LOG_LEVEL=0 shows which library is missing."
        )
    return f"Device '{spec.name}' is not available: {reason} {fix}"


def _check_gpu(spec: DeviceSpec, gpu: Any, precision: str, tf32: bool) -> None:
    """Refuse a GPU that this TensorFlow has no kernels for, or that lacks a requested feature."""
    details = tf.config.experimental.get_device_details(gpu)
    name, capability = details.get("device_name", gpu.name), details.get("compute_capability")
    targets = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", ())
    if capability is None:
        return
    supported = nvidia.kernel_support(capability, targets) != "none"
    if targets and (not supported or is_too_new(capability, tf.__version__)):
        raise DeviceUnavailableError(
            f"Device '{spec.name}' is not available: TensorFlow {tf.__version__} has no kernels "
            f"for {name} (compute capability {capability[0]}.{capability[1]}), only for "
            f"{', '.join(targets)}. {USE_TORCH}"
        )
    nvidia.check_features(spec.name, name, capability, precision, tf32)
