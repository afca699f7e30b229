"""Resize, pad and crop as MSI-Net was trained: area average down, bicubic up, aspect ratio kept."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msinet_core.network.ops import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray


_BAND = 2**19
"""Values of the image or the result that are worked on at a time."""


class Box(NamedTuple):
    """The position of an image inside its padding, in pixels."""

    top: int
    left: int
    height: int
    width: int


def placement(original: Size, size: Size) -> Box:
    """Return the box of an image that is fitted into a size.

    Args:
        original: The image's height and width in pixels.
        size: The height and width to fit into.
    """
    scale = min(target / axis for target, axis in zip(size, original, strict=True))
    height, width = (max(1, round(axis * scale)) for axis in original)
    return Box((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def fit(image: NDArray[Any], size: Size, pad_value: float) -> NDArray[np.float32]:
    """Resize an image so that it fits, keeping its aspect ratio, and pad it symmetrically.

    If the number of padding pixels is odd, the extra one is below or to the right.

    Args:
        image: ``(H, W, 3)``, an image in 0..255, or ``(H, W, 1)``, a map in 0..1; any real dtype.
        size: Height and width of the result in pixels.
        pad_value: The value of the padding; 126 for images, 0 for maps.

    Returns:
        ``(*size, C)`` float32, contiguous; bicubic overshoot is clipped to the value range.

    Source: Kroner et al. 2020, section 3.3; the reference implementation's data.py.
    """
    height, width, channels = image.shape
    box = placement((height, width), size)
    fitted = np.full((*size, channels), pad_value, np.float32)
    inside = fitted[box.top : box.top + box.height, box.left : box.left + box.width]
    rows = _Axis(height, box.height, 0, box.height)
    columns = _Axis(width, box.width, 0, box.width)
    _resample(image, rows, columns, result=inside)
    np.clip(inside, 0, 255 if channels == 3 else 1, out=inside)
    return fitted


def restore_map(map: NDArray[Any], original: Size) -> NDArray[np.float32]:
    """Resize a network's map to the size of the image that was fitted for it.

    The map is resized so that it covers the original size, and the part that `fit` gave to the
    image is cut out, even if its padding was uneven.

    Args:
        map: ``(h, w)`` in 0..1.
        original: The image's height and width in pixels.

    Returns:
        ``(*original)`` float32 in 0..1.
    """
    size = (map.shape[0], map.shape[1])
    scale = max(axis / source for axis, source in zip(original, size, strict=True))
    box = placement(original, size)
    axes = []
    for source, axis, before in zip(size, original, (box.top, box.left), strict=True):
        cover = max(axis, round(source * scale))
        # Compute only the pixels that are cut out: the cover of a long strip can be huge.
        axes.append(_Axis(source, cover, min(round(before * scale), cover - axis), axis))
    restored = np.empty((*original, 1), np.float32)
    _resample(map[..., None], axes[0], axes[1], result=restored)
    return np.clip(restored[..., 0], 0, 1)


class _Axis(NamedTuple):
    """Resizes one axis from `source` to `target` pixels, of which some are wanted."""

    source: int
    target: int
    start: int
    wanted: int

    def weights(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return for each wanted pixel its first source pixel, and weights with the sum 1."""
        first, weights = (_area if self.target < self.source else _bicubic)(*self[:2])
        columns = first[:, None] + np.arange(weights.shape[1])
        weights = np.where((columns >= 0) & (columns < self.source), weights, 0)
        weights /= weights.sum(axis=1, keepdims=True)
        wanted = slice(self.start, self.start + self.wanted)
        return first[wanted], weights[wanted]


def _resample(
    image: NDArray[Any], rows: _Axis, columns: _Axis, result: NDArray[np.float32]
) -> None:
    """Resize both axes of ``(H, W, C)`` into ``(h, w, C)``.

    SciPy's sparse products work on whole rows in C, without the interpreter's lock. In bands that
    fit the processor's cache they take a third of the time of the whole image: no float copy of it
    is made or transposed.
    """
    width, channels = result.shape[1:]
    longest = max(rows.source * image.shape[1] // rows.target, width) * channels
    matrix = _matrix(columns, channels)
    for inside, outside, weights in _bands(rows, max(1, _BAND // longest)):
        band = np.asarray(image[inside], np.float32).reshape(weights.shape[1], -1)
        product = matrix @ (weights @ band).T
        result[outside] = product.T.reshape(-1, width, channels)


@lru_cache(maxsize=256)
def _matrix(axis: _Axis, channels: int) -> Any:
    """Return the matrix ``(w * C, W * C)`` that resizes the columns of pixels of C values."""
    first, weights = axis.weights()
    first = first[:, None] * channels + np.arange(channels)
    weights = np.repeat(weights, channels, axis=0)
    return _sparse(first.ravel(), channels, weights, axis.source * channels)


@lru_cache(maxsize=256)
def _bands(axis: _Axis, count: int) -> list[tuple[slice, slice, Any]]:
    """Return for every `count` rows of the result those of the source, and the matrix between."""
    first, weights = axis.weights()
    used = weights != 0
    low = first + used.argmax(axis=1)
    high = first + weights.shape[1] - used[:, ::-1].argmax(axis=1)
    bands = []
    for start in range(0, len(first), count):
        outside = slice(start, min(start + count, len(first)))
        inside = slice(int(low[start]), int(high[outside.stop - 1]))
        shifted = first[outside] - inside.start
        matrix = _sparse(shifted, 1, weights[outside], inside.stop - inside.start)
        bands.append((inside, outside, matrix))
    return bands


def _sparse(first: NDArray[np.int64], step: int, weights: NDArray[np.float64], width: int) -> Any:
    """Return a matrix whose rows have `weights` at every `step` columns from `first`."""
    from scipy.sparse import csr_array

    used = weights != 0
    columns = first[:, None] + step * np.arange(weights.shape[1])
    starts = np.concatenate([[0], used.sum(axis=1).cumsum()])
    parts = (weights[used].astype(np.float32), columns[used], starts)
    return csr_array(parts, shape=(len(first), width))


def _area(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weight source pixels by how much of them lies in each target pixel.

    Source: TensorFlow's ResizeArea; OpenCV's INTER_AREA.
    """
    pixels = np.arange(target, dtype=np.int64)
    first = pixels * source // target
    columns = first[:, None] + np.arange(-(-source // target) + 1)
    # In units of 1/target source pixels all edges are integers: there are no rounding errors.
    begin = np.maximum(columns * target, pixels[:, None] * source)
    end = np.minimum((columns + 1) * target, (pixels[:, None] + 1) * source)
    return first, np.maximum(end - begin, 0) / source


def _bicubic(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weight the four nearest source pixels; taps outside the image are dropped.

    Source: Keys 1981, equation 15 (a = -1/2), with half-pixel centers, as Pillow's BICUBIC.
    """
    center = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(center).astype(np.int64) - 1
    x = np.abs(center[:, None] - (first[:, None] + np.arange(4)))
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return first, np.where(x < 1, near, np.where(x < 2, far, 0))
