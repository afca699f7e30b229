"""The device `metal`: TensorFlow with tensorflow-metal on the GPU of a Mac."""

from __future__ import annotations

import platform
from contextlib import suppress

from msinet_core import DeviceSpec, DeviceUnavailableError, UsageError
from msinet_metal_nhwc.layers import MetalLayers
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.distribution import OnOneDevice
from msinet_tensorflow.layers import tf

GPU = "/GPU:0"

DISABLED_REWRITERS = {
    "layout_optimizer": False,  # converts some convolutions to NCHW, for NVIDIA GPUs
    "remapping": False,  # fuses a convolution with its bias
    "use_plugin_optimizers": False,  # so does tensorflow-metal's own
}
"""Parts of TensorFlow's graph optimizer that replace audited ops by others."""

FIRST_MACOS_WITH_BFLOAT16 = 14


class NhwcDevice(TensorFlowDevice):
    """The graphs of `metal` on the processor of any machine with TensorFlow.

    Tests and ``doctor`` use it on other machines; ``--device metal`` opens `MetalDevice`. Metal
    does not support XLA.
    """

    layers_class = MetalLayers
    jit_compile = False
    placement = "/CPU:0"
    """TensorFlow's name of the device that computes."""

    def make_distribution(self, distribute: str) -> OnOneDevice:
        return OnOneDevice(self.placement)


class MetalDevice(NhwcDevice):
    """TensorFlow on the GPU of a Mac.

    Every op of a step is placed on the GPU, and soft placement is disabled: an op without a GPU
    kernel is an error and never runs on the processor.

    Raises:
        DeviceUnavailableError: TensorFlow finds no Apple GPU that it can use.
        UsageError: This version of macOS does not support the precision.
    """

    placement = GPU

    def configure(self) -> None:
        _check_mac(self.spec, self.precision)
        _set_up_gpu(self.spec.name)


def _check_mac(spec: DeviceSpec, precision: str) -> None:
    probe = spec.probe()
    if not probe.ready:  # the caller may not have run the probe
        raise DeviceUnavailableError(spec.unavailable_message(probe))
    release = platform.mac_ver()[0]
    major = release.partition(".")[0]
    if precision == "bfloat16" and major.isdigit() and int(major) < FIRST_MACOS_WITH_BFLOAT16:
        raise UsageError(
            f"Device '{spec.name}' needs macOS {FIRST_MACOS_WITH_BFLOAT16} or later for bfloat16; "
            f"this is macOS {release}. Use --precision float32 or float16."
        )


def _set_up_gpu(name: str) -> None:
    """Check that TensorFlow can use the GPU, and configure it for this process."""
    if not tf.config.list_physical_devices("GPU"):
        raise DeviceUnavailableError(
            f"Device '{name}' is not available: TensorFlow {tf.__version__} finds no GPU, although "
            "tensorflow-metal is installed. Run: pip install --force-reinstall --no-deps "
            '"tensorflow-metal==1.2.*"'
        )
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        raise DeviceUnavailableError(
            f"Device '{name}' is not available: another TensorFlow device has hidden the GPU in "
            f"this process. Use '{name}' in a separate process."
        )
    with suppress(RuntimeError):  # TensorFlow already uses the GPU
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.set_soft_device_placement(False)
    tf.config.optimizer.set_experimental_options(DISABLED_REWRITERS)
