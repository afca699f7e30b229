"""What ``msinet-run --device mlx doctor`` checks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msinet_core import DeviceSpec, Finding
from msinet_mlx.probe import CUDA_BACKENDS, INSTALL, METAL_BACKEND, backend

if TYPE_CHECKING:
    from msinet_mlx.device import MlxDevice

GIB = 2**30

LARGEST_ERRORS = {"float32": 5e-5, "bfloat16": 1.4e-2, "float16": 2e-3}
"""Relative errors of a large convolution that pass; those of the conformance kit."""


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Describe the backend and its memory, and compare a large convolution with the processor.

    Args:
        spec: The device `mlx`.
        arguments: ``"precision"`` and the device's options.
    """
    installed = backend()
    if installed is None:
        yield Finding("backend", "note", "MLX has no backend installed.", INSTALL)
        return
    precision, options = arguments.get("precision", "auto"), spec.options_in(arguments)
    device: MlxDevice = spec.open(precision, options)  # type: ignore[assignment]
    yield _backend(installed, device)
    yield compare_winograd(device)


def _backend(installed: str, device: MlxDevice) -> Finding:
    from msinet_mlx.layers import mx

    facts = mx.device_info(device.mlx_device)
    detail = f"{installed} on {facts.get('device_name', 'an unnamed device')}"
    if device.memory_limit:
        detail += f", which may use {device.memory_limit / GIB:.1f} GiB of memory"
    if installed == METAL_BACKEND:
        return Finding("backend", "ok", f"{detail}.", data=facts)
    if installed in CUDA_BACKENDS:
        detail += ". msinet was never tested on this backend; first run: msinet-run devices --check"
        return Finding("backend", "note", detail, data=facts)
    steps = "compiled with g++" if device.compiles else "not compiled, because g++ is missing"
    detail += f": slow; steps are {steps}. Use the devices cpu or torch-cpu on this machine."
    return Finding("backend", "note", detail, data=facts)


def compare_winograd(device: MlxDevice) -> Finding:
    """Compare a large convolution, with Winograd's algorithm disabled and enabled, to float32.

    Args:
        device: The open device.
    """
    from msinet_mlx.device import WINOGRAD_VARIABLE

    set_before = os.environ.get(WINOGRAD_VARIABLE)
    off, on = (_convolution_error(device, value) for value in ("0", "1"))
    if set_before is None:
        del os.environ[WINOGRAD_VARIABLE]
    else:
        os.environ[WINOGRAD_VARIABLE] = set_before
    used = off if set_before == "0" else max(off, on)
    detail = (
        f"A convolution of 128 to 128 channels at 64x64 in {device.precision}: relative error "
        f"{off:.1e} with {WINOGRAD_VARIABLE}=0 and {on:.1e} with 1. Please report both."
    )
    title, data, largest = "Winograd test", {"off": off, "on": on}, LARGEST_ERRORS[device.precision]
    if used <= largest:
        return Finding(title, "ok", detail, data=data)
    fix = f"Set {WINOGRAD_VARIABLE}=0" if off <= largest else "Use another device."
    return Finding(title, "problem", detail, fix, data)


def _convolution_error(device: MlxDevice, winograd: str) -> float:
    from msinet_mlx.device import WINOGRAD_VARIABLE
    from msinet_mlx.layers import mx

    os.environ[WINOGRAD_VARIABLE] = winograd
    with mx.stream(device.mlx_device):
        images = mx.random.uniform(-1, 1, (1, 64, 64, 128), key=mx.random.key(0))
        kernel = mx.random.uniform(-1, 1, (128, 3, 3, 128), key=mx.random.key(1))
        images, kernel = images.astype(device.dtype), kernel.astype(device.dtype)
        found = mx.conv2d(images, kernel, padding=1).astype(mx.float32)
        mx.eval(images, kernel, found)
    with mx.stream(mx.cpu):
        exact = mx.conv2d(images.astype(mx.float32), kernel.astype(mx.float32), padding=1)
        error = mx.abs(found - exact).max() / mx.abs(exact).max()
        return float(error.item())
