"""The device `jax`: JAX on one of its platforms, in NHWC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from msinet_core import Device, DeviceSpec, DeviceUnavailableError, LayerBuilder, Program

from msinet_device_jax.layers import JaxLayers
from msinet_device_jax.model import JaxModel
from msinet_device_jax.probe import EXTRAS, automatic_platform


class JaxDevice(Device):
    """JAX on one CPU, GPU or TPU core, and on no other platform than the requested one.

    Raises:
        DeviceUnavailableError: JAX or the platform is not available.
    """

    def __init__(
        self, spec: DeviceSpec, precision: str = "float32", options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(spec, precision, options)
        probe = spec.probe()
        if not probe.ready:
            raise DeviceUnavailableError(spec.unavailable_message(probe))
        platform = self.options["platform"]
        self.jax_device = first_device(automatic_platform() if platform == "auto" else platform)
        self._layer_builders = JaxLayers(precision).builders()

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        return self._layer_builders

    def build(self, program: Program) -> JaxModel:
        return JaxModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"jax": jax.__version__, "jaxlib": jax.lib.__version__}


def first_device(platform: str) -> Any:
    """Return JAX's first device of a platform, or raise DeviceUnavailableError."""
    if jax.config.jax_platforms is None:  # by default, JAX spends minutes looking for TPUs
        names = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
        jax.config.update("jax_platforms", names[platform])
    try:
        return jax.local_devices(backend=platform)[0]
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        fix = f' Run: pip install "{EXTRAS[platform]}"' if platform in EXTRAS else ""
        raise DeviceUnavailableError(
            f"Device 'jax' is not available on the {platform.upper()}: {reason}. This process may "
            f"use JAX's platforms {jax.config.jax_platforms} only.{fix}"
        ) from error
