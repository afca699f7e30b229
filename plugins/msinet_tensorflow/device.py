"""The base class of all TensorFlow devices."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from msinet_core import Device, DeviceSpec, Processes, Program
from msinet_tensorflow.distribution import Distribution, open_distribution
from msinet_tensorflow.layers import TensorFlowLayers, tf
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

    layers_class: type[TensorFlowLayers] = TensorFlowLayers
    """The builders for this device's hardware and data format."""

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
        self.layers = self.layers_class(tf.as_dtype(precision))

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

    def build(self, program: Program) -> TensorFlowModel:
        return TensorFlowModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return installed_wheels()
