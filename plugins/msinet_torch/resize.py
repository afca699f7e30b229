"""Bilinear resizing by a whole factor, in both coordinate systems, forward and backward.

PyTorch's own `interpolate` knows half-pixel coordinates only. Enlarging by a whole factor needs no
index per pixel in either system: of every `scale` output rows, row p lies between the same two
neighbors with the same weight. So an axis is enlarged by that many interpolations of the whole
image with its neighbor, each written to every `scale`-th row, and the gradient by the opposite.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from msinet_core.network.ops import Coordinates
from msinet_torch.loading import load_torch

torch = load_torch()

Tensor = Any

HEIGHT, WIDTH = 2, 3


class Phase(NamedTuple):
    """Where one of every `scale` output rows lies.

    Args:
        before: Whether between the row before and its own; else between its own and the next.
        weight: Of the later of the two.
    """

    before: bool
    weight: float


def phases(scale: int, coordinates: Coordinates) -> list[Phase]:
    """Give the place of each of the output rows that belong to one source row.

    Args:
        scale: The whole factor.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.
    """
    found = []
    for number in range(scale):
        place = number / scale if coordinates == "asymmetric" else (number + 0.5) / scale - 0.5
        found.append(Phase(place < 0, place - math.floor(place)))
    return found


class _Enlarge(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """Enlarges one axis; ``(N, C, H, W)`` in any dtype and memory format."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, axis: int, scale: int, coordinates: Coordinates) -> Any:
        ctx.settings = axis, scale, coordinates
        shape = list(images.shape)
        shape[axis] *= scale
        output = images.new_empty(shape).contiguous(memory_format=_format(images))
        for number, phase in enumerate(phases(scale, coordinates)):
            target = _every(output, axis, scale, number)
            if not phase.weight:
                target.copy_(images)
                continue
            inner, edge = _parts(target, axis, phase)
            torch.lerp(_front(images, axis), _back(images, axis), phase.weight, out=inner)
            edge.copy_(_parts(images, axis, phase)[1])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        axis, scale, coordinates = ctx.settings
        total = None
        for number, phase in enumerate(phases(scale, coordinates)):
            own = _every(gradient, axis, scale, number)
            if total is None:
                total = torch.empty_like(own, memory_format=_format(gradient))
                _begin(total, own, axis, phase)
            else:
                _add(total, own, axis, phase)
        return total, None, None, None


def _begin(total: Tensor, own: Tensor, axis: int, phase: Phase) -> None:
    if not phase.weight:
        total.copy_(own)
        return
    total.zero_()
    _add(total, own, axis, phase)


def _add(total: Tensor, own: Tensor, axis: int, phase: Phase) -> None:
    """Give each source row its share of the gradient of the output rows of one phase."""
    if not phase.weight:
        total.add_(own)
        return
    inner, edge = _parts(own, axis, phase)
    _front(total, axis).add_(inner, alpha=1 - phase.weight)
    _back(total, axis).add_(inner, alpha=phase.weight)
    _parts(total, axis, phase)[1].add_(edge)


def enlarge(images: Tensor, scale: int, coordinates: Coordinates) -> Tensor:
    """Enlarge height and width by a whole factor.

    Args:
        images: ``(N, C, H, W)``; the memory format is kept.
        scale: The factor.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.
    """
    if scale == 1:
        return images
    # Rows are longer in memory than pixels: the larger image is better enlarged along its height.
    wider = _Enlarge.apply(images, WIDTH, scale, coordinates)
    return _Enlarge.apply(wider, HEIGHT, scale, coordinates)


def _format(images: Tensor) -> Any:
    if images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def _every(images: Tensor, axis: int, scale: int, number: int) -> Tensor:
    """View every `scale`-th row, from row `number` on."""
    return images[:, :, number::scale] if axis == HEIGHT else images[:, :, :, number::scale]


def _front(images: Tensor, axis: int) -> Tensor:
    return images.narrow(axis, 0, images.shape[axis] - 1)


def _back(images: Tensor, axis: int) -> Tensor:
    return images.narrow(axis, 1, images.shape[axis] - 1)


def _parts(images: Tensor, axis: int, phase: Phase) -> tuple[Tensor, Tensor]:
    """Part the rows that have both neighbors from the one at the edge that has not."""
    last = images.shape[axis] - 1
    if phase.before:
        return _back(images, axis), images.narrow(axis, 0, 1)
    return _front(images, axis), images.narrow(axis, last, 1)
