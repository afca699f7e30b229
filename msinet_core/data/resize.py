"""Resize, pad and crop as MSI-Net was trained: area average down, bicubic up, aspect ratio kept."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msinet_core.network.layout import transpose
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    resized = np.asarray(image, np.float32)
    resized = _resample(resized, _weights(height, box.height), _weights(width, box.width))
    fitted = np.full((*size, channels), pad_value, np.float32)
    inside = fitted[box.top : box.top + box.height, box.left : box.left + box.width]
    np.clip(resized, 0, 255 if channels == 3 else 1, out=inside)
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
    cropped = []
    for source, axis, before in zip(size, original, (box.top, box.left), strict=True):
        cover = max(axis, round(source * scale))
        start = min(round(before * scale), cover - axis)
        # Compute only the rows that are cut out: the cover of a long strip can be huge.
        cropped.append(_weights(source, cover)[start : start + axis])
    restored = _resample(np.asarray(map, np.float32)[..., None], *cropped)[..., 0]
    return np.clip(restored, 0, 1)


def _resample(image: NDArray[np.float32], rows: Any, columns: Any) -> NDArray[np.float32]:
    """Multiply both axes of ``(H, W, C)`` by sparse matrices ``(h, H)`` and ``(w, W)``."""
    image = transpose(_multiply(rows, image), "HWC", "WHC")
    return transpose(_multiply(columns, image), "WHC", "HWC")


def _multiply(matrix: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    # SciPy's sparse product works on whole rows in C, without the interpreter's lock: 1.4 ms for
    # 600x800 to 240x320. Pillow's BOX filter is no area average unless the ratio is an integer.
    product: NDArray[np.float32] = matrix @ image.reshape(image.shape[0], -1)
    return product.reshape(-1, *image.shape[1:])


@lru_cache(maxsize=256)
def _weights(source: int, target: int) -> Any:
    """Return the matrix ``(target, source)`` that resizes one axis; each row sums to 1."""
    from scipy.sparse import csr_array

    first, weights = (_area if target < source else _bicubic)(source, target)
    taps = weights.shape[1]
    columns = first[:, None] + np.arange(taps)
    weights = np.where((columns >= 0) & (columns < source), weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = csr_array(
        (
            weights.astype(np.float32).ravel(),
            columns.clip(0, source - 1).ravel(),
            np.arange(0, target * taps + 1, taps),
        ),
        shape=(target, source),
    )
    matrix.eliminate_zeros()
    return matrix


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
