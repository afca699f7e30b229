"""Bilinear resizing by an integer factor, in both coordinate systems, forward and backward.

PyTorch's `interpolate` supports half-pixel coordinates only. With an integer factor, each of the
`scale` output rows of a source row lies between fixed neighbors, with a fixed weight. So an axis is
enlarged by `scale` interpolations of the whole image with its neighbor, each written to every
`scale`-th row; the gradient is computed in reverse.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from msinet_core import ops
from msinet_torch.loading import Tensor, torch

HEIGHT, WIDTH = 2, 3


class Phase(NamedTuple):
    """The position of an output row between two source rows.

    Args:
        before: Whether they are the previous row and its own, or its own and the next.
        weight: The weight of the later of the two.
    """

    before: bool
    weight: float


def phases(scale: int, coordinates: ops.Coordinates) -> list[Phase]:
    """Return the positions of the output rows of one source row.

    Args:
        scale: The integer factor.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.
    """
    offset = 0.5 if coordinates == "half_pixel" else 0.0
    positions = [(number + offset) / scale - offset for number in range(scale)]
    return [Phase(position < 0, position - math.floor(position)) for position in positions]


class _Enlarge(torch.autograd.Function):  # type: ignore[misc]
    """Enlarge one axis of ``(N, C, H, W)`` images of any dtype and memory format."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, axis: int, scale: int, coordinates: ops.Coordinates
    ) -> Any:
        ctx.settings = axis, scale, coordinates
        shape = list(images.shape)
        shape[axis] *= scale
        # Not `new_empty`, which takes no memory format, so that a copy would follow.
        output = torch.empty(
            shape, dtype=images.dtype, device=images.device, memory_format=memory_format(images)
        )
        for number, phase in enumerate(phases(scale, coordinates)):
            target = _every(output, axis, scale, number)
            if not phase.weight:
                target.copy_(images)
                continue
            inner, edge = _parts(target, axis, phase)
            # Not `out=`: torch.compile cannot trace it with strided views.
            inner.copy_(torch.lerp(_front(images, axis), _back(images, axis), phase.weight))
            edge.copy_(_parts(images, axis, phase)[1])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        axis, scale, coordinates = ctx.settings
        positions = phases(scale, coordinates)
        own = [_every(gradient, axis, scale, number) for number in range(scale)]
        first = 0 if positions[0].weight else 1
        total = torch.empty_like(own[0], memory_format=memory_format(gradient))
        if first:
            total.copy_(own[0])
        else:
            total.zero_()
        for number in range(first, scale):
            _add(total, own[number], axis, positions[number])
        return total, None, None, None


def _add(total: Tensor, own: Tensor, axis: int, phase: Phase) -> None:
    """Add to each source row its share of the gradient of the output rows of one phase."""
    if not phase.weight:
        total.add_(own)
        return
    inner, edge = _parts(own, axis, phase)
    _front(total, axis).add_(inner, alpha=1 - phase.weight)
    _back(total, axis).add_(inner, alpha=phase.weight)
    _parts(total, axis, phase)[1].add_(edge)


def enlarge(images: Tensor, scale: int, coordinates: ops.Coordinates) -> Tensor:
    """Enlarge height and width by an integer factor.

    Args:
        images: ``(N, C, H, W)``; the result has the same memory format.
        scale: The factor.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.
    """
    if scale == 1:
        return images
    # Height last: copying whole rows of the larger image is faster than copying pixels.
    wider = _Enlarge.apply(images, WIDTH, scale, coordinates)
    return _Enlarge.apply(wider, HEIGHT, scale, coordinates)


def memory_format(images: Tensor) -> Any:
    """Return the memory format of images: ``torch.channels_last`` or contiguous."""
    if images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def _every(images: Tensor, axis: int, scale: int, number: int) -> Tensor:
    """View every `scale`-th row, starting with row `number`."""
    return images[:, :, number::scale] if axis == HEIGHT else images[:, :, :, number::scale]


def _front(images: Tensor, axis: int) -> Tensor:
    return images.narrow(axis, 0, images.shape[axis] - 1)


def _back(images: Tensor, axis: int) -> Tensor:
    return images.narrow(axis, 1, images.shape[axis] - 1)


def _parts(images: Tensor, axis: int, phase: Phase) -> tuple[Tensor, Tensor]:
    """Split off the row at the edge, which lacks one of the two neighbors."""
    last = images.shape[axis] - 1
    if phase.before:
        return _back(images, axis), images.narrow(axis, 0, 1)
    return _front(images, axis), images.narrow(axis, last, 1)
