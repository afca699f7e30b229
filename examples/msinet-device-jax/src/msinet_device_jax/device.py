"""The device `jax`: JAX on one of its platforms, in NHWC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from msinet_core import (
    Device,
    DeviceSpec,
    DeviceUnavailableError,
    Processes,
    Program,
    UsageError,
)

from msinet_device_jax.layers import JaxLayers
from msinet_device_jax.model import JaxModel
from msinet_device_jax.placement import Placement
from msinet_device_jax.probe import EXTRAS, automatic_platform


class JaxDevice(Device):
    """JAX on CPUs, GPUs or TPU cores, and on no other platform than the requested one.

    Args:
        spec: The description of the device.
        precision: The precision of convolutions; weights, the loss and Adam are float32.
        options: A value for each of the spec's options; None for the defaults.
        distribute: ``"none"`` uses one of JAX's devices, ``"mirrored"`` all of this process,
            ``"auto"`` as many as there are.
        max_devices: The number of JAX's devices to use at most; None: all.

    Raises:
        DeviceUnavailableError: JAX or the platform is not available.
        UsageError: There is only one device for "mirrored".
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
        probe = spec.probe()
        if not probe.ready:
            raise DeviceUnavailableError(spec.unavailable_message(probe))
        platform = self.options["platform"]
        devices = find_devices(automatic_platform() if platform == "auto" else platform)
        if distribute == "mirrored" and len(devices) == 1:
            raise UsageError(
                f"--distribute mirrored needs at least two devices for '{spec.name}'; JAX finds "
                f"only {devices[0]}. Use --distribute none"
            )
        self.placement = Placement(devices[: 1 if distribute == "none" else max_devices])
        self.layers = JaxLayers(precision)

    @property
    def processes(self) -> Processes:
        return Processes(replicas=self.placement.count)

    def build(self, program: Program) -> JaxModel:
        return JaxModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"jax": jax.__version__, "jaxlib": jax.lib.__version__}


def find_devices(platform: str) -> list[Any]:
    """Return JAX's devices of a platform, or raise DeviceUnavailableError."""
    if jax.config.jax_platforms is None:  # by default, JAX spends minutes looking for TPUs
        names = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
        jax.config.update("jax_platforms", names[platform])
    try:
        return list(jax.local_devices(backend=platform))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        fix = f' Run: pip install "{EXTRAS[platform]}"' if platform in EXTRAS else ""
        raise DeviceUnavailableError(
            f"Device 'jax' is not available on the {platform.upper()}: {reason}. This process may "
            f"use JAX's platforms {jax.config.jax_platforms} only.{fix}"
        ) from error
