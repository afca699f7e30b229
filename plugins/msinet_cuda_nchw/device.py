"""The device `cuda`: TensorFlow on NVIDIA GPUs, in NCHW."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from msinet_core import DeviceSpec, DeviceUnavailableError, Probe, UsageError, nvidia, permutation
from msinet_cuda_nchw.layers import NchwLayers
from msinet_cuda_nchw.probe import INSTALL
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.distribution import Distribution, StrategyDistribution
from msinet_tensorflow.layers import Tensor, tf
from msinet_tensorflow.loading import suppress_native_stderr
from msinet_tensorflow.versions import installed_wheels

GPU = "/GPU:0"

AMPERE = (8, 0)
"""The first compute capability with tensor cores for bfloat16 and TF32.

Source: NVIDIA CUDA C++ Programming Guide, table of features by compute capability.
"""


class NchwDevice(TensorFlowDevice):
    """The graphs of `cuda` on any machine with TensorFlow.

    Tests and ``doctor`` use it on machines without a GPU; ``--device cuda`` opens `CudaDevice`.

    Args:
        spec: The device's description.
        precision: The dtype of convolutions; weights, the loss and Adam are float32.
        options: ``xla`` and ``tf32``, each ``"on"`` or ``"off"``; None for their defaults.
        distribute: ``"auto"``, ``"none"``, ``"mirrored"`` over every visible GPU, or
            ``"multiworker"``.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> None:
        super().__init__(spec, precision, options, distribute)
        self.jit_compile = self.options["xla"] == "on"

    def make_layers(self, dtype: Any) -> NchwLayers:
        return NchwLayers(dtype)

    def to_native_format(self, images: Tensor) -> Tensor:
        return _converted(images, "NHWC", "NCHW")

    def to_canonical_format(self, maps: Tensor) -> Tensor:
        return _converted(maps, "NCHW", "NHWC")


class CudaDevice(NchwDevice):
    """TensorFlow on NVIDIA GPUs.

    Memory is allocated as needed, so that other programs can share a GPU. TensorFlow's layout
    optimizer is disabled, so that graphs keep their data format.

    Args:
        spec: The device's description.
        precision: The dtype of convolutions; weights, the loss and Adam are float32.
        options: ``xla`` and ``tf32``, each ``"on"`` or ``"off"``; None for their defaults.
        distribute: ``"auto"``, ``"none"``, ``"mirrored"`` over every visible GPU, or
            ``"multiworker"``.

    Raises:
        DeviceUnavailableError: TensorFlow finds no GPU; it never runs on the CPU instead.
        UsageError: A GPU does not support the precision, or TF32.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> None:
        gpus = _visible_gpus(spec)
        tf32 = spec.check_options(options or {})["tf32"] == "on"
        for gpu in gpus:
            _check_gpu(gpu, precision, tf32)
            with suppress(RuntimeError):  # the GPU is already in use
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
        super().__init__(spec, precision, options, distribute)

    def make_distribution(self, distribute: str) -> Distribution:
        distribution = super().make_distribution(distribute)
        if isinstance(distribution, StrategyDistribution):  # it places every op
            return distribution
        tf.config.set_soft_device_placement(False)
        return OnOneDevice(GPU)


class OnOneDevice(Distribution):
    """Runs every op of a step on one device; an op without a kernel is an error.

    Args:
        placement: TensorFlow's name of the device.
    """

    def __init__(self, placement: str) -> None:
        self.placement = placement

    def compiled(self, step: Callable[..., Any], jit_compile: bool | None) -> Any:
        # XLA places a function as a whole and ignores the placement of its ops.
        inner = super().compiled(step, jit_compile) if jit_compile else step

        def placed(*arguments: Any) -> Any:
            with tf.device(self.placement):
                return inner(*arguments)

        return super().compiled(placed, None if jit_compile else jit_compile)


def _converted(images: Tensor, source: str, target: str) -> Tensor:
    """Change the data format; with a single channel, a reshape is enough."""
    axes = permutation(source, target)
    if images.shape[source.index("C")] == 1:
        return tf.reshape(images, [images.shape[axis] for axis in axes])
    return tf.transpose(images, axes)


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


def _check_gpu(gpu: Any, precision: str, tf32: bool) -> None:
    """Raise an error if a GPU does not support the precision or TF32."""
    details = tf.config.experimental.get_device_details(gpu)
    capability = details.get("compute_capability", AMPERE)
    if capability >= AMPERE:
        return
    name = details.get("device_name", gpu.name)
    capability_text = f"{name} has compute capability {capability[0]}.{capability[1]}"
    if precision == "bfloat16":
        raise UsageError(
            f"Device 'cuda' cannot compute in bfloat16: {capability_text}, and bfloat16 needs 8.0. "
            "Use --precision float16 or float32."
        )
    if tf32:
        raise UsageError(
            f"Device 'cuda' cannot compute in TF32: {capability_text}, and TF32 needs 8.0. "
            "Remove --device-option tf32=on."
        )
