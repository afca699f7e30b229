"""Decode an image file of any common kind into 8-bit-range float32, or say what is wrong."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msinet_core.errors import DataError, os_reason
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm"}
)
"""Endings, in lower case, of the files that count as images when a folder is searched."""

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
"""What Pillow may try; it knows formats (EPS) that it starts other programs for. MPO, which some
cameras write, is opened as the JPEG that it begins with."""

_ORIENTATION = 0x0112
_JPEG_GRAY = (127, 128)
_FILLER = b"\x5a" * 256
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def decode(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.float32]:
    """Decode the first frame of an image file, upright.

    Transparency is laid over white for "RGB", since that is what browsers and viewers show it on
    and what such pictures are drawn for; over black for "L", since a map says nothing there.

    Args:
        path: The file.
        mode: ``"RGB"`` for images, ``"L"`` for maps.

    Returns:
        ``(H, W, 3)`` or ``(H, W, 1)`` in 0..255; 16-bit gray keeps its precision as fractions,
        16-bit color is reduced to 8 bits by Pillow.

    Raises:
        DataError: The file is not there, no image, damaged, cut off, or too large to decode.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Image {path} cannot be read: {os_reason(error)}.") from error
    if not data:
        raise DataError(f"Image {path} is empty: the file has 0 bytes. Copy or download it again.")
    picture = _load(path, data)
    pixels = _wide_gray(path, picture)
    if pixels is None:
        pixels = np.asarray(_narrow(picture, mode), np.float32)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if mode == "RGB" and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(_upright(pixels, _orientation(picture)))


def image_size(path: Path) -> Size:
    """Read an image's height and width, as seen upright, without decoding it.

    Args:
        path: The file.

    Raises:
        DataError: The file is not there or no image.
    """
    try:
        data = path.open("rb")
    except OSError as error:
        raise DataError(f"Image {path} cannot be read: {os_reason(error)}.") from error
    with data:
        picture = _open(path, data)
        width, height = picture.size
        return (width, height) if _orientation(picture) >= 5 else (height, width)


def _open(path: Path, stream: Any) -> Image:
    from PIL import Image, UnidentifiedImageError

    Image.init()  # registers all formats; without it only some can be named
    try:
        return Image.open(stream, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(
            f"Image {path} is not in a format that can be read (JPEG, PNG, TIFF, WebP, BMP, GIF, "
            f"PPM), or its beginning is damaged. Convert it to PNG or JPEG, or copy it again."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"Image {path} is refused: {error} A small file that unpacks to so much can be made "
            f"to fill the memory; if it is a real image, save it at a smaller size."
        ) from error
    except Exception as error:
        raise _damaged(path, str(error) or type(error).__name__) from error


def _load(path: Path, data: bytes) -> Image:
    picture = _open(path, io.BytesIO(data))
    try:
        picture.load()
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise _damaged(path, str(error) or type(error).__name__) from error
    if picture.format in ("JPEG", "MPO") and _ends_early(picture, data):
        raise _damaged(path, "its coded data end before the last pixel")
    return picture


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"Image {path} is damaged or was cut off: {reason}. Copy or download it again, or remove "
        f"it."
    )


def _ends_early(picture: Image, data: bytes) -> bool:
    """Tell whether a JPEG that decoded without complaint lacks data for its last blocks.

    When a marker comes too early, libjpeg paints what is missing mid-gray (or leaves it blurred, if
    the file is progressive) and only warns, which Pillow does not pass on. A real gray corner is
    told from a painted one by adding bytes in front of the marker: they change the picture only if
    the decoder still waits for data.
    """
    gray = all(value in _JPEG_GRAY for value in np.asarray(picture)[-1, -1:].flat)
    if not gray and "progressive" not in picture.info:
        return False
    try:
        longer = _open(Path(), io.BytesIO(_with_filler(data)))
        return not np.array_equal(np.asarray(longer), np.asarray(picture))
    except (DataError, OSError, IndexError):
        return True


def _with_filler(data: bytes) -> bytes:
    parts = []
    start, at = 0, 2
    while data[at + 1] != 0xD9:
        if data[at + 1] == 0xFF:  # markers may be preceded by any number of these
            at += 1
            continue
        is_scan = data[at + 1] == 0xDA
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if is_scan:
            end = _END_OF_SCAN.search(data, at)
            at = end.start() if end else len(data)
            parts += [data[start:at], _FILLER]
            start = at
    return b"".join([*parts, data[start:]])


def _wide_gray(path: Path, picture: Image) -> NDArray[np.float32] | None:
    """Scale gray of more than 8 bits to 0..255; None for a picture of 8 bits or fewer."""
    if picture.mode == "F":
        raise DataError(
            f"Image {path} holds floating-point values, whose black and white are not defined. "
            f"Save it with 8 or 16 bits."
        )
    if not picture.mode.startswith("I"):
        return None
    values = np.asarray(picture)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"Image {path} holds values from {values.min()} to {values.max()}, which are not in "
            f"the range of 16 bits. Save it with 8 or 16 bits."
        )
    return values.astype(np.float32) / np.float32(257)


def _narrow(picture: Image, mode: Literal["RGB", "L"]) -> Image:
    from PIL import Image, ImageChops

    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white" if mode == "RGB" else "black")
        picture = Image.alpha_composite(ground, picture)
    elif picture.mode == "CMYK" and picture.format == "JPEG" and "adobe" not in picture.info:
        # Pillow inverts the inks of every CMYK JPEG; only Adobe's programs store them inverted.
        picture = ImageChops.invert(picture)
    return picture.convert(mode)


def _orientation(picture: Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # unreadable EXIF data say nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Undo the camera's orientation of ``(H, W, C)``.

    Source: EXIF 2.32, tag Orientation.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
