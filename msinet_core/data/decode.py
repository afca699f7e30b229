"""Decode image files and Pillow images of any common mode to arrays in 0..255."""

from __future__ import annotations

import importlib
import io
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np

from msinet_core.errors import DataError, os_reason
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm"}
)
"""Suffixes, in lower case, of the files that count as images when a folder is searched."""

OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd"}
)
"""Suffixes of images that are not read: of phones and cameras, and of other programs."""

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
"""What Pillow may try: for others, such as EPS, it runs other programs. MPO, which some cameras
write, is opened as the JPEG that it begins with."""

Mode: TypeAlias = Literal["RGB", "L"]

LARGEST_IMAGE = 2**27
"""Pixels; decoded, so many take 1.6 GB. The largest cameras have about 10^8."""

_ORIENTATION = 0x0112
_JPEG_GRAY = (127, 128)
_NEARLY_GRAY = 32
"""How much the channels of a gray pixel may differ, after JPEG's rounding."""

_FILLER = b"\x5a" * 256
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def decode(path: Path, mode: Mode, *, gray: bool = False) -> NDArray[Any]:
    """Decode the first frame of an image file, upright; see `to_pixels`.

    Args:
        path: The file.
        mode: ``"RGB"`` for images, ``"L"`` for maps.
        gray: Whether to refuse an image in color.

    Returns:
        ``(H, W, 3)`` or ``(H, W, 1)`` in 0..255: uint8, or float32 if the file has more bits.

    Raises:
        DataError: The file is missing, not an image, damaged, truncated, in color, or too large to
            decode.
    """
    with _opened(path) as stream:
        data = stream.read()
    if not data:
        raise DataError(f"Image {path} is empty (0 bytes). Copy or download it again.")
    picture = _open(path, io.BytesIO(data))
    pixels = _quick_jpeg(picture, data, mode)
    if pixels is not None:
        return _arranged(pixels, picture, mode)
    _load(path, picture)
    if picture.format in ("JPEG", "MPO") and _ends_early(picture, data):
        raise _damaged(path, "its data end before the last pixel")
    if gray and _is_colored(picture):
        raise DataError(
            f"{path} is in color, but a map is gray: white where people look. If it was drawn with "
            f"a color map, write its values instead."
        )
    return to_pixels(picture, path, mode)


def to_pixels(picture: Image, name: object, mode: Mode) -> NDArray[Any]:
    """Convert a Pillow image of any mode to an array, upright.

    Transparent images are drawn on white for "RGB", as browsers and viewers show them, and on
    black for "L", since a map has no saliency there.

    Args:
        picture: The image.
        name: What messages call it.
        mode: ``"RGB"`` for images, ``"L"`` for maps.

    Returns:
        ``(H, W, 3)`` or ``(H, W, 1)`` in 0..255, uint8; 16-bit gray keeps its precision as
        fractions in float32, 16-bit color is reduced to 8 bits by Pillow.

    Raises:
        DataError: The image is damaged, or its values have no defined range.
    """
    _load(name, picture)
    pixels = _wide_gray(name, picture)
    if pixels is None:
        pixels = np.asarray(_narrow(picture, mode))
    return _arranged(pixels, picture, mode)


def _arranged(pixels: NDArray[Any], picture: Image, mode: Mode) -> NDArray[Any]:
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if mode == "RGB" and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(_upright(pixels, _orientation(picture)))


def _quick_jpeg(picture: Image, data: bytes, mode: Mode) -> NDArray[np.uint8] | None:
    """Decode a JPEG with simplejpeg if it is installed: the same bits, without Pillow's copies.

    Returns:
        None for what libjpeg does not convert as Pillow does, and for any file it warns about, so
        that Pillow's path decides about damage.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None or picture.format != "JPEG" or picture.mode not in ("L", mode):
        return None
    try:
        space = "GRAY" if picture.mode == "L" else "RGB"
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, space, strict=True)
    except ValueError:
        return None
    return pixels


@cache
def _simplejpeg() -> Any:
    """Return the package, or None; Python would look for a missing one again for every image."""
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def image_size(path: Path) -> Size:
    """Read an image's height and width, upright, without decoding it.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing or not an image.
    """
    with _opened(path) as stream:
        picture = _open(path, stream)
        width, height = picture.size
        return (width, height) if _orientation(picture) >= 5 else (height, width)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device may never end
            raise DataError(f"Could not read image {path}: not a regular file.")
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise DataError(f"Could not read image {path}: {os_reason(error)}.") from error


def _open(path: Path, stream: BinaryIO) -> Image:
    from PIL import Image, UnidentifiedImageError

    Image.init()  # registers all formats; without it only some can be named
    try:
        picture = Image.open(stream, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(
            f"Image {path} is damaged, or is not one of the supported formats (JPEG, PNG, TIFF, "
            f"WebP, BMP, GIF, PPM). Copy it again, or convert it to PNG or JPEG."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"Image {path} is too large: {error} If it is a real image, save it at a smaller size."
        ) from error
    except Exception as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    width, height = picture.size
    if width * height > LARGEST_IMAGE:
        raise DataError(
            f"Image {path} is too large: {height}x{width} are more than {LARGEST_IMAGE:,} pixels. "
            f"Save it at a smaller size."
        )
    return picture


def _load(name: object, picture: Image) -> None:
    try:
        picture.load()
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise _damaged(name, str(error) or type(error).__name__) from error


def _damaged(name: object, reason: str) -> DataError:
    return DataError(
        f"Image {name} is damaged or truncated: {reason}. Copy or download it again, or remove it."
    )


def _ends_early(picture: Image, data: bytes) -> bool:
    """Return whether a JPEG that decoded without an error lacks data for its last blocks.

    If a marker comes too early, libjpeg fills the missing blocks with mid-gray (or leaves them
    blurred, if the file is progressive) and only warns, which Pillow does not report. To tell a
    real gray corner from a filled one, bytes are inserted before the marker: they change the
    picture only if the decoder still expects data.
    """
    last = np.asarray(picture.crop((picture.width - 1, picture.height - 1, *picture.size)))
    gray = all(value in _JPEG_GRAY for value in last.flat)
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


def _is_colored(picture: Image) -> bool:
    """Return whether more than a hundredth of the pixels are not gray."""
    if picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I"):
        return False
    from PIL import ImageChops

    red, green, blue = picture.convert("RGB").split()
    brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    # By Pillow, in a fifteenth of NumPy's time: maps are read in every epoch.
    differences = ImageChops.subtract(brightest, darkest).histogram()
    return sum(differences[_NEARLY_GRAY + 1 :]) > 0.01 * picture.width * picture.height


def _wide_gray(name: object, picture: Image) -> NDArray[np.float32] | None:
    """Scale gray of more than 8 bits to 0..255; None for a picture of at most 8 bits."""
    if picture.mode == "F":
        raise DataError(
            f"Image {name} has floating-point values, whose range is not defined. Save it with 8 "
            f"or 16 bits."
        )
    if not picture.mode.startswith("I"):
        return None
    values = np.asarray(picture)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"Image {name} has values from {values.min()} to {values.max()}, which do not fit 16 "
            f"bits. Save it with 8 or 16 bits."
        )
    return values.astype(np.float32) / np.float32(257)


def _narrow(picture: Image, mode: Mode) -> Image:
    from PIL import Image, ImageChops

    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white" if mode == "RGB" else "black")
        picture = Image.alpha_composite(ground, picture)
    elif picture.mode == "CMYK" and picture.format == "JPEG" and "adobe" not in picture.info:
        # Pillow inverts the inks of every CMYK JPEG; only Adobe's programs store them inverted.
        picture = ImageChops.invert(picture)
    return picture if picture.mode == mode else picture.convert(mode)


def _orientation(picture: Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data do not matter to the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
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
