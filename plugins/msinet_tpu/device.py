"""The device `tpu`: TensorFlow on Google's TPUs, in NHWC."""

from __future__ import annotations

import os
from typing import Any

from msinet_core import DeviceSpec, DeviceUnavailableError, Program, suppress_native_stderr
from msinet_tpu.probe import select_pjrt, uses_pjrt

select_pjrt()  # before the import of TensorFlow, which reads the environment

# ruff: noqa: E402
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.distribution import Distribution, StrategyDistribution
from msinet_tensorflow.layers import tf
from msinet_tpu.layers import TpuLayers
from msinet_tpu.model import TpuModel

ADDRESS = "TPU_NAME"
"""The variable that names a TPU in the network; if it is not set, the local TPU is used."""

LOCAL = "local"


class FixedBatch(Distribution):
    """Pads smaller batches to the largest one so far.

    XLA takes minutes to compile each new shape, longer than the last batch of an epoch or folder
    takes to compute. The padding has zero weight in the loss and is removed from results.
    """

    _largest = 0

    def size(self, count: int) -> int:
        self._largest = max(self._largest, super().size(count))
        return self._largest if count else 0


class TpuDistribution(FixedBatch, StrategyDistribution):
    """Runs steps on every core of a TPU with ``tf.distribute.TPUStrategy``."""


class XlaDevice(TensorFlowDevice):
    """The graphs of `tpu`, compiled with XLA on any machine with TensorFlow.

    Tests and ``doctor`` use it on machines without a TPU; ``--device tpu`` opens `TpuDevice`.

    Args:
        spec: The device's description.
        precision: The dtype of convolutions; weights, the loss and Adam are float32.
        options: Values for the device's options; None for the defaults.
    """

    layers_class = TpuLayers
    jit_compile: bool | None = True

    def configure(self) -> None:
        # Otherwise a TPU rounds the factors of float32 products to bfloat16.
        tf.config.experimental.enable_tensor_float_32_execution(False)

    def make_distribution(self, distribute: str) -> Distribution:
        return FixedBatch()

    def build(self, program: Program) -> TpuModel:
        return TpuModel(self, program)


class TpuDevice(XlaDevice):
    """TensorFlow on every core of a TPU.

    Raises:
        DeviceUnavailableError: There is no TPU; it never runs on the CPU instead.
    """

    jit_compile = None  # the TPU strategy compiles steps itself

    def make_distribution(self, distribute: str) -> Distribution:
        return TpuDistribution(_connected(self.spec))


def _connected(spec: DeviceSpec) -> Any:
    """Find the TPU, initialize it and return its strategy."""
    address = os.environ.get(ADDRESS) or LOCAL
    try:
        with suppress_native_stderr():
            # Initializing a TPU that TensorFlow does not list would end the process.
            if address == LOCAL and uses_pjrt() and not tf.config.list_physical_devices("TPU"):
                raise RuntimeError("TensorFlow lists no TPU")
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        probe = spec.probe()
        if not probe.ready:
            raise DeviceUnavailableError(spec.unavailable_message(probe)) from error
        reason = str(error).partition("\n")[0]
        raise DeviceUnavailableError(
            f"Device '{spec.name}' is not available: TensorFlow {tf.__version__} cannot use the "
            f"TPU '{address}' ({type(error).__name__}: {reason}). Another process may be using it, "
            "libtpu may be incompatible with tensorflow-tpu, or another TensorFlow device was "
            "opened first in this process. Run: msinet-run devices"
        ) from error
