"""The base class of all TensorFlow devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from msinet_core import Device, DeviceSpec, LayerBuilder, Processes, Program
from msinet_tensorflow.distribution import Distribution, open_distribution
from msinet_tensorflow.layers import Tensor, TensorFlowLayers, tf
from msinet_tensorflow.model import TensorFlowModel
from msinet_tensorflow.versions import installed_wheels


class TensorFlowDevice(Device):
    """TensorFlow in NHWC; each device overrides what its hardware needs.

    Args:
        spec: The device's description.
        precision: The dtype of convolutions; weights, the loss and Adam are float32.
        options: Values for the device's options; None for the defaults.
        distribute: ``"auto"``, ``"none"`` or one of the spec's distributions.
        max_devices: The number of devices of this machine to use at most; None: all.
    """

    kind = "GPU"
    """TensorFlow's name for the devices it computes on."""

    synchronous = False
    """Whether TensorFlow returns from a step only when it has finished."""

    unread_losses = 1
    """The number of steps that may be started before the oldest losses are read."""

    jit_compile: bool | None = None
    """Whether every step is compiled with XLA: True, False (never), or None (TensorFlow decides).

    An instance may change it before it builds a model.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
        max_devices: int | None = None,
    ) -> None:
        super().__init__(spec, precision, options)
        self.max_devices = max_devices
        self.configure()
        self.distribution = self.make_distribution(distribute)
        self._layer_builders = self.make_layers(tf.as_dtype(precision)).builders()

    @property
    def processes(self) -> Processes:
        return self.distribution.processes

    def trace(self, folder: Path) -> AbstractContextManager[object]:
        profile: AbstractContextManager[object] = tf.profiler.experimental.Profile(str(folder))
        return profile

    def configure(self) -> None:
        """Configure TensorFlow in this process; called before TensorFlow computes anything.

        Raises:
            DeviceUnavailableError: TensorFlow cannot use the hardware.
            UsageError: The hardware does not support the precision or an option.
        """

    def make_distribution(self, distribute: str) -> Distribution:
        """Return the distribution that runs steps; called before TensorFlow computes anything.

        Args:
            distribute: ``"auto"``, ``"none"`` or one of the spec's distributions.
        """
        return open_distribution(self.spec, distribute, self.kind, self.max_devices)

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        return self._layer_builders

    def make_layers(self, dtype: Any) -> TensorFlowLayers:
        """Return the builders for this device's hardware and data format.

        Args:
            dtype: The dtype of convolutions.
        """
        return TensorFlowLayers(dtype)

    def to_native_format(self, images: Tensor) -> Tensor:
        """Convert images or maps to the device's data format, inside the compiled step.

        Args:
            images: ``(N, H, W, C)`` float32.
        """
        return images

    def to_canonical_format(self, maps: Tensor) -> Tensor:
        """Convert maps back to NHWC, inside the compiled step.

        Args:
            maps: In the device's data format.
        """
        return maps

    def all_finite(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return whether all values are finite, as a boolean scalar inside the compiled step.

        The sum of absolute values is finite only if each value is; unlike IsFinite and All, its ops
        have kernels on every device.

        Args:
            tensors: float32.
        """
        total = tf.add_n([tf.reduce_sum(tf.abs(tensor)) for tensor in tensors])
        return total <= tf.float32.max

    def build(self, program: Program) -> TensorFlowModel:
        return TensorFlowModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return installed_wheels()
