"""What ``msinet-run --device mlx doctor`` finds, on a Mac and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msinet_core.device import DeviceSpec
from msinet_core.network.msinet import msinet_graph
from msinet_core.registry.doctor import Finding
from msinet_mlx.probe import CPU_BACKEND, CUDA_BACKENDS, INSTALL, METAL_BACKEND, backend

if TYPE_CHECKING:
    from msinet_mlx.device import MlxDevice

SIZE = (240, 320)
GIB = 2**30


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Show what computes, how much memory it may use, and what a training step needs of it.

    Args:
        spec: The device `mlx`.
        arguments: ``"precision"`` and the device's options.
    """
    installed = backend()
    if installed is None:
        detail = "MLX has no backend here, the part of it that computes."
        yield Finding("backend", "note", detail, INSTALL)
        return
    names = {option.name for option in spec.options}
    options = {name: value for name, value in arguments.items() if name in names}
    device: MlxDevice = spec.open(arguments.get("precision", "auto"), options)  # type: ignore[assignment]
    yield _backend(installed, device)
    yield _memory(device)


def _backend(installed: str, device: MlxDevice) -> Finding:
    from msinet_mlx.layers import mx

    facts = mx.device_info(device.place)
    told = f"{installed}, computing on {facts.get('device_name', 'an unnamed device')}"
    if installed == METAL_BACKEND:
        return Finding("backend", "ok", f"{told}.", data=facts)
    if installed in CUDA_BACKENDS:
        detail = f"{told}. msinet was never run on this backend: try devices --check first."
        return Finding("backend", "note", detail, data=facts)
    assert installed == CPU_BACKEND
    compiled = "compiled with g++" if device.compiles else "not compiled, for want of g++"
    detail = f"{told}: slow; steps are {compiled}. The devices cpu and torch-cpu are fast here."
    return Finding("backend", "note", detail, data=facts)


def _memory(device: MlxDevice) -> Finding:
    from msinet_mlx.memory import least_needed

    one, two = (
        least_needed(msinet_graph(), (count, *SIZE, 3), device.dtype.size, training=True)
        for count in (1, 2)
    )
    limit = device.memory_limit
    detail = (
        f"MLX may use {f'{limit / GIB:.1f} GiB' if limit else 'an unknown amount'}. Training in "
        f"{device.precision} at {SIZE[0]}x{SIZE[1]} needs at least {one / GIB:.2f} GiB with one "
        f"image, and {(two - one) / GIB:.2f} GiB with each further one; in fact more, by what MLX "
        "keeps to work with."
    )
    data = {"limit": limit, "least": one, "least_per_further_image": two - one}
    return Finding("memory", "ok", detail, data=data)
