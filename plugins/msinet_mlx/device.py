"""The device `mlx`: MLX on the GPU of a Mac, or on the device of its installed backend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

from msinet_core import (
    Device,
    DeviceSpec,
    DeviceUnavailableError,
    Program,
    UsageError,
    hardware,
)
from msinet_mlx.probe import CPU_BACKEND, backend

CAPTURE_VARIABLE = "MTL_CAPTURE_ENABLED"
"""Read by Metal when the process starts.

Source: https://ml-explore.github.io/mlx/build/html/dev/metal_debugger.html
"""

TF32_VARIABLE = "MLX_ENABLE_TF32"
"""Read by MLX at its first matrix product; 1 if unset."""

WINOGRAD_VARIABLE = "MLX_CONV_WINOGRAD"
"""0 keeps MLX from computing large 3x3 convolutions with Winograd's algorithm.

In 16 bits its intermediate values are 16 bits too, and with TF32 they are rounded, so that results
are 4 to 35 times less exact; and whether it is used depends on the batch size.

Source: https://github.com/ml-explore/mlx/pull/4242 and 4639
"""


class MlxDevice(Device):
    """MLX on the device of its installed backend, and on no other.

    Args:
        spec: The description of the device.
        precision: The precision of convolutions; weights, the loss and Adam are float32.
        options: ``memory``, ``cache``, ``wired`` and ``tf32``.

    Raises:
        DeviceUnavailableError: The backend is for a GPU, but MLX finds none.
    """

    _disabled_winograd = False
    """Whether a device of this process set the variable, and not the user."""

    _inexact: ClassVar[WeakSet[MlxDevice]] = WeakSet()
    """The open devices for which Winograd's algorithm is not exact."""

    def __init__(self, spec: DeviceSpec, precision: str, options: Mapping[str, str]) -> None:
        super().__init__(spec, precision, options)
        tf32 = self.options["tf32"] == "on"
        os.environ[TF32_VARIABLE] = "1" if tf32 else "0"
        self._set_winograd(exact=not tf32 and precision == "float32")
        # Only after setting the variables: MLX may compute as soon as it is imported.
        from msinet_mlx.layers import MlxLayers, mx
        from msinet_mlx.memory import set_limits

        self.dtype = getattr(mx, precision)
        self.layers = MlxLayers(self.dtype)
        self.mlx_device = _find_device(spec)
        # On a CPU, MLX compiles C++ with the system's compiler, which may be missing.
        self.compiles = self.mlx_device.type == mx.gpu or shutil.which("g++") is not None
        self.memory_limit = set_limits(self.options, mx.device_info(self.mlx_device))

    def _set_winograd(self, exact: bool) -> None:
        """Disable Winograd's algorithm while it is not exact for an open device.

        The user's own setting is left alone.
        """
        ours = MlxDevice._disabled_winograd
        if not exact and (ours or WINOGRAD_VARIABLE not in os.environ):
            os.environ[WINOGRAD_VARIABLE] = "0"
            MlxDevice._disabled_winograd = True
            MlxDevice._inexact.add(self)
        elif exact and ours and not MlxDevice._inexact:
            os.environ.pop(WINOGRAD_VARIABLE, None)
            MlxDevice._disabled_winograd = False

    def build(self, program: Program) -> Any:
        from msinet_mlx.model import MlxModel

        return MlxModel(self, program)

    @contextmanager
    def trace(self, folder: Path) -> Iterator[None]:
        from msinet_mlx.layers import mx

        if self.mlx_device.type != mx.gpu or os.environ.get(CAPTURE_VARIABLE) != "1":
            raise UsageError(
                f"Device '{self.spec.name}' writes a profile on a Mac's GPU only, with the "
                f"environment variable {CAPTURE_VARIABLE}=1"
            )
        mx.metal.start_capture(str(folder / "trace.gputrace"))
        try:
            yield
        finally:
            mx.metal.stop_capture()

    def versions(self) -> Mapping[str, str]:
        names = filter(None, ("mlx", backend()))
        return {name: hardware.distribution_version(name) or "" for name in names}


def _find_device(spec: DeviceSpec) -> Any:
    """Return MLX's device: the GPU, unless the backend is for the CPU."""
    from msinet_mlx.layers import mx

    installed = backend()
    if installed == CPU_BACKEND:
        return mx.Device(mx.cpu)
    if mx.is_available(mx.gpu):
        return mx.Device(mx.gpu)
    raise DeviceUnavailableError(
        f"Device '{spec.name}' is not available: {installed} is installed, but MLX "
        f"{hardware.distribution_version('mlx')} finds no GPU. Virtual machines and containers may "
        "hide it. To list other devices, run: msinet-run devices"
    )
