"""The device `mlx`: MLX on the GPU of a Mac, or wherever its backend computes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from msinet_core.device import Device, DeviceSpec, Program
from msinet_core.errors import DeviceUnavailableError
from msinet_core.hardware.host import distribution_version
from msinet_core.network.graph import LayerBuilder
from msinet_mlx.probe import CPU_BACKEND, backend

TF32_VARIABLE = "MLX_ENABLE_TF32"
"""Read by MLX when it first multiplies matrices; unset it means 1."""


class MlxDevice(Device):
    """MLX on the device of its installed backend, and on no other.

    Args:
        spec: The light description it was opened from.
        precision: What convolutions compute in; weights, the loss and Adam are float32.
        options: ``memory``, ``cache``, ``wired`` and ``tf32``; None for their defaults.

    Raises:
        DeviceUnavailableError: The backend is for a GPU, and MLX finds none.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(spec, precision, options)
        os.environ[TF32_VARIABLE] = "1" if self.options["tf32"] == "on" else "0"
        # Only now, after the variable: MLX may compute as soon as it is imported.
        from msinet_mlx.layers import Layers, mx
        from msinet_mlx.memory import set_limits

        self.dtype = getattr(mx, precision)
        self.place = _place(spec)
        # For a processor MLX compiles C++, with the system's compiler, which need not be there.
        self.compiles = self.place.type == mx.gpu or shutil.which("g++") is not None
        self.memory_limit = set_limits(self.options, mx.device_info(self.place))
        self._layer_builders = Layers(self.dtype).builders()

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        return self._layer_builders

    def build(self, program: Program) -> Any:
        from msinet_mlx.model import MlxModel

        return MlxModel(self, program)

    def versions(self) -> Mapping[str, str]:
        names = filter(None, ("mlx", backend()))
        return {name: distribution_version(name) or "" for name in names}


def _place(spec: DeviceSpec) -> Any:
    """Return MLX's device: the GPU, unless the backend is the processor's."""
    from msinet_mlx.layers import mx

    installed = backend()
    if installed == CPU_BACKEND:
        return mx.Device(mx.cpu)
    if mx.is_available(mx.gpu):
        return mx.Device(mx.gpu)
    raise DeviceUnavailableError(
        f"Device '{spec.name}' is not available: {installed} is installed, but MLX "
        f"{distribution_version('mlx')} finds no GPU. Start msinet-run outside of virtual machines "
        "and containers that hide it; msinet-run devices tells what else can compute."
    )
