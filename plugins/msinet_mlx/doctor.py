"""What ``msinet-run --device mlx doctor`` checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msinet_core import DEFAULT_IMAGE_SIZE, DeviceSpec, Finding, msinet_graph
from msinet_mlx.probe import CUDA_BACKENDS, INSTALL, METAL_BACKEND, backend

if TYPE_CHECKING:
    from msinet_mlx.device import MlxDevice

GIB = 2**30


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Describe the backend, how much memory it may use, and what a training step needs.

    Args:
        spec: The device `mlx`.
        arguments: ``"precision"`` and the device's options.
    """
    installed = backend()
    if installed is None:
        yield Finding("backend", "note", "MLX has no backend installed.", INSTALL)
        return
    names = {option.name for option in spec.options}
    options = {name: value for name, value in arguments.items() if name in names}
    device: MlxDevice = spec.open(arguments.get("precision", "auto"), options)  # type: ignore[assignment]
    yield _backend(installed, device)
    yield _memory(device)


def _backend(installed: str, device: MlxDevice) -> Finding:
    from msinet_mlx.layers import mx

    facts = mx.device_info(device.mlx_device)
    detail = f"{installed} on {facts.get('device_name', 'an unnamed device')}"
    if installed == METAL_BACKEND:
        return Finding("backend", "ok", f"{detail}.", data=facts)
    if installed in CUDA_BACKENDS:
        detail += ". msinet was never tested on this backend; first run: msinet-run devices --check"
        return Finding("backend", "note", detail, data=facts)
    steps = "compiled with g++" if device.compiles else "not compiled, because g++ is missing"
    detail += f": slow; steps are {steps}. Use the devices cpu or torch-cpu on this machine."
    return Finding("backend", "note", detail, data=facts)


def _memory(device: MlxDevice) -> Finding:
    from msinet_mlx.memory import minimum_memory

    height, width = DEFAULT_IMAGE_SIZE
    one, two = (
        minimum_memory(msinet_graph(), (count, height, width, 3), device.dtype.size, training=True)
        for count in (1, 2)
    )
    limit = device.memory_limit
    detail = (
        f"MLX may use {f'{limit / GIB:.1f} GiB' if limit else 'an unknown amount'}. Training in "
        f"{device.precision} at {height}x{width} needs at least {one / GIB:.2f} GiB with one image "
        f"and {(two - one) / GIB:.2f} GiB per additional image, plus MLX's temporary buffers."
    )
    data = {"limit": limit, "least": one, "least_per_further_image": two - one}
    return Finding("memory", "ok", detail, data=data)
