"""The device `jax`: JAX on one of its platforms, in NHWC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from msinet_core.device import Device, DeviceSpec, Program
from msinet_core.errors import DeviceUnavailableError
from msinet_core.network.graph import LayerBuilder
from msinet_core.registry.registry import run_probe

from msinet_device_jax.layers import Layers
from msinet_device_jax.model import JaxModel
from msinet_device_jax.probe import EXTRAS, automatic_platform


class JaxDevice(Device):
    """JAX on one processor, GPU or TPU core; raises where the platform asked for is not here."""

    def __init__(
        self, spec: DeviceSpec, precision: str = "float32", options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(spec, precision, options)
        probe = run_probe(spec)
        if not probe.ready:  # a JAX that is too old; whoever opens a device need not have asked
            raise DeviceUnavailableError(spec.unavailable_message(probe))
        platform = self.options["platform"]
        self.place = first_device(automatic_platform() if platform == "auto" else platform)
        self._layer_builders = Layers(precision).builders()

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        return self._layer_builders

    def build(self, program: Program) -> JaxModel:
        return JaxModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"jax": jax.__version__, "jaxlib": jax.lib.__version__}


def first_device(platform: str) -> Any:
    """Return JAX's first device of a platform; raise where there is none, take no other."""
    if jax.config.jax_platforms is None:  # else JAX looks for TPUs, for minutes where there is none
        names = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
        jax.config.update("jax_platforms", names[platform])
    try:
        return jax.local_devices(backend=platform)[0]
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        fix = f'Run: pip install "{EXTRAS[platform]}"' if platform in EXTRAS else ""
        raise DeviceUnavailableError(
            f"Device 'jax' is not available on the {platform.upper()}: {reason}. In this process "
            f"JAX may use {jax.config.jax_platforms} only. {fix}".strip()
        ) from error
