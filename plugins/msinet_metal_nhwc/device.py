"""The device `metal`: TensorFlow with tensorflow-metal on the GPU of a Mac."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from msinet_core import DeviceSpec, DeviceUnavailableError, Program, UsageError
from msinet_metal_nhwc.layers import MetalLayers
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.layers import tf
from msinet_tensorflow.model import TensorFlowModel

GPU = "/GPU:0"
PROCESSOR = "/CPU:0"

FIRST_MACOS_WITH_BFLOAT16 = 14


class MetalDevice(TensorFlowDevice):
    """TensorFlow on the GPU of a Mac, and nowhere else.

    Every op of a step is placed on the GPU, and soft placement is off: an op without a kernel there
    is an error, not a detour over the processor. XLA is never used, which Metal does not support.

    Args:
        spec: The device's description.
        precision: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        options: A value for each of the device's options; None for the defaults.
        placement: TensorFlow's name of the device that computes; `PROCESSOR` runs the same graphs
            in tests on other machines.

    Raises:
        DeviceUnavailableError: This is no Mac with a GPU that TensorFlow can use.
        UsageError: This version of macOS does not compute in that precision.
    """

    jit_compile = False

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        *,
        placement: str = GPU,
    ) -> None:
        if placement == GPU:
            _check_mac(spec, precision)
            _take_gpu()
        self.placement = placement
        super().__init__(spec, precision, options)

    def make_layers(self, dtype: Any) -> MetalLayers:
        return MetalLayers(dtype)

    def build(self, program: Program) -> MetalModel:
        return MetalModel(self, program)


class MetalModel(TensorFlowModel):
    """A network whose steps are placed on one device, op by op.

    Args:
        device: Says where.
        program: The network and its state, which is copied.
    """

    def __init__(
        self,
        device: MetalDevice,
        program: Program,
    ) -> None:
        self._device_name = device.placement
        with tf.device(device.placement):  # variables are read where they are placed
            super().__init__(device, program)

    def _compiled(self, step: Any) -> Any:
        def placed(*arguments: Any) -> Any:
            # Within the step: around its call it would be a wish, which TensorFlow may pass over.
            with tf.device(self._device_name):
                return step(*arguments)

        return super()._compiled(placed)


def _check_mac(spec: DeviceSpec, precision: str) -> None:
    probe = spec.probe()
    if not probe.ready:  # the caller may not have run the probe
        raise DeviceUnavailableError(spec.unavailable_message(probe))
    release = platform.mac_ver()[0]
    major = release.partition(".")[0]
    if precision == "bfloat16" and major.isdigit() and int(major) < FIRST_MACOS_WITH_BFLOAT16:
        raise UsageError(
            f"Device '{spec.name}' cannot compute in bfloat16: Metal does since macOS "
            f"{FIRST_MACOS_WITH_BFLOAT16}, and this is macOS {release}. Use --precision float32 or "
            "float16."
        )


def _take_gpu() -> None:
    """Find the GPU, and set how TensorFlow uses it in this process."""
    if not tf.config.list_physical_devices("GPU"):
        raise DeviceUnavailableError(
            f"Device 'metal' is not available: TensorFlow {tf.__version__} finds no GPU, although "
            "tensorflow-metal is installed. Run: pip install --force-reinstall --no-deps "
            '"tensorflow-metal==1.2.*"'
        )
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        raise DeviceUnavailableError(
            "Device 'metal' finds the GPU hidden: another device of TensorFlow hid it in this "
            "process. Open 'metal' in a process of its own."
        )
    try:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # TensorFlow has begun to use it: how memory grows is settled already
        pass
    tf.config.set_soft_device_placement(False)
    # It would turn some convolutions to NCHW, as NVIDIA's GPUs like them, between transposes.
    tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
