"""The device `tpu`: TensorFlow on Google's TPUs, in NHWC."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from msinet_core import DeviceSpec, DeviceUnavailableError, Program
from msinet_tensorflow.device import TensorFlowDevice
from msinet_tensorflow.distribution import Distribution
from msinet_tensorflow.layers import tf
from msinet_tensorflow.loading import suppress_native_stderr
from msinet_tpu.distribution import FixedBatch, TpuDistribution
from msinet_tpu.layers import TpuLayers
from msinet_tpu.model import TpuModel

ADDRESS = "TPU_NAME"
"""The variable that names a TPU in the network; without it the one in this machine is meant."""


class XlaDevice(TensorFlowDevice):
    """The graphs of `tpu`, wherever XLA compiles them.

    By itself it proves these graphs on machines without a TPU, in tests and in ``doctor``; what
    ``--device tpu`` opens is `TpuDevice`.

    Args:
        spec: The device's description.
        precision: The dtype of convolutions; weights, the loss and Adam are float32.
        options: A value for each of the device's options; None for the defaults.
    """

    jit_compile: bool | None = True

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "bfloat16",
        options: Mapping[str, str] | None = None,
    ) -> None:
        # Otherwise XLA lets a TPU multiply float32 with the digits of bfloat16.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        super().__init__(spec, precision, options)

    def make_layers(self, dtype: Any) -> TpuLayers:
        return TpuLayers(dtype)

    def make_distribution(self, distribute: str) -> Distribution:
        return FixedBatch()

    def build(self, program: Program) -> TpuModel:
        return TpuModel(self, program)


class TpuDevice(XlaDevice):
    """TensorFlow on every core of a TPU.

    Raises:
        DeviceUnavailableError: There is no TPU; nothing is computed elsewhere instead.
    """

    jit_compile = None  # a TPU takes nothing but what its strategy has compiled

    def make_distribution(self, distribute: str) -> Distribution:
        return TpuDistribution(_connected(self.spec))


def _connected(spec: DeviceSpec) -> Any:
    """Find the TPU, take it into use and return its strategy."""
    address = os.environ.get(ADDRESS) or "local"
    try:
        with suppress_native_stderr():
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
            f"TPU '{address}' ({type(error).__name__}: {reason}). Another process may hold it, or "
            f"libtpu may be of another release than tensorflow-tpu wants. Run: msinet-run devices"
        ) from error
