"""The device `cpu`: TensorFlow on the processor."""

from __future__ import annotations

from msinet_core import DeviceUnavailableError, UsageError, suppress_native_stderr
from msinet_cpu.layers import CpuLayers
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.distribution import Distribution
from msinet_tensorflow.layers import tf


class CpuDevice(TensorFlowDevice):
    """TensorFlow on the processor, with TensorFlow's default number of threads.

    Args:
        spec: The device's description.
        precision: ``"float32"``, or ``"bfloat16"``, which is faster on processors with AVX512-BF16
            or AMX.
        options: Values for the device's options; None for the defaults.
        distribute: ``"auto"``, ``"none"``, ``"mirrored"`` over TensorFlow's logical devices, or
            ``"multiworker"``.
        max_devices: The number of devices of this machine to use at most; None: all.

    Raises:
        DeviceUnavailableError: TensorFlow already uses a GPU in this process.
        UsageError: TensorFlow cannot compute in that precision on this processor.
    """

    layers_class = CpuLayers
    kind = "CPU"
    synchronous = True

    def configure(self) -> None:
        _hide_gpus(self.spec.name)

    def make_distribution(self, distribute: str) -> Distribution:
        distribution = super().make_distribution(distribute)
        # After processes are connected, because it computes.
        _check_precision(self.spec.name, self.precision)
        return distribution


def _hide_gpus(name: str) -> None:
    """Hide GPUs from TensorFlow, including a Mac's, which CUDA_VISIBLE_DEVICES does not hide."""
    try:
        with suppress_native_stderr():  # TensorFlow logs errors if there is no GPU
            tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        if tf.config.get_visible_devices("GPU"):
            raise DeviceUnavailableError(
                f"Device '{name}' cannot hide the GPU: TensorFlow already uses it in this process. "
                f"Use '{name}' in a separate process."
            ) from error


def _check_precision(name: str, precision: str) -> None:
    """Raise an error if TensorFlow lacks a precision on this processor or computes it wrongly."""
    images, kernel = tf.ones((1, 2, 2, 1), precision), tf.ones((2, 2, 1, 1), precision)
    try:
        with tf.GradientTape() as tape:
            tape.watch((images, kernel))
            output = tf.nn.conv2d(images, kernel, 1, "VALID")
        gradients = tape.gradient(output, (images, kernel))
    except tf.errors.OpError as error:
        raise UsageError(
            f"Device '{name}' cannot compute in {precision} on this processor: {error.message}. "
            "Use --precision float32."
        ) from error
    sums = [float(tf.reduce_sum(values)) for values in (output, *gradients)]
    if sums != [4.0, 4.0, 4.0]:
        raise UsageError(
            f"Device '{name}' computes incorrectly in {precision} on this processor: a convolution "
            f"of ones returned {sums} instead of 4. Use --precision float32."
        )
