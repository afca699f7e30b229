"""Find, read, write and recognize images and saliency maps."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msinet_core.data.decode import OTHER_SUFFIXES, SUFFIXES, decode, to_pixels
from msinet_core.errors import DataError, MsinetError, UsageError, bullet_list, counted, os_reason
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_PADDING = 126.0
MAP_PADDING = 0.0
MAP_FORMATS = ("jpeg", "png", "npy")


class FoundImage(NamedTuple):
    """An image file, and its path in the folder that was searched.

    Args:
        path: The file.
        relative: Its path in that folder; only the name of a file that was listed itself.
    """

    path: Path
    relative: Path


def read_image(path: Path) -> NDArray[Any]:
    """Read an image of any color mode, upright.

    Args:
        path: The file.

    Returns:
        ``(H, W, 3)``, RGB in 0..255: uint8, or float32 if the file has more bits.

    Raises:
        DataError: The file is missing, not an image, damaged, truncated, or too large to decode.
    """
    return decode(path, "RGB")


def as_image(image: object) -> NDArray[Any]:
    """Return the pixels of an image in any form that users have it in.

    Args:
        image: A path; an array ``(H, W, 3)`` of RGB values in 0..255; or a PIL image of any mode,
            which is converted as files are.

    Returns:
        ``(H, W, 3)``, RGB in 0..255.

    Raises:
        DataError: The file cannot be read, or the array is not an image.
        UsageError: It is none of these.
    """
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return to_pixels(image, f"{image.width}x{image.height}", "RGB")
    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"Cannot predict from {type(image).__name__}. Pass a path, an array (H, W, 3) or a PIL "
            f"image, or an iterable of them. Received: {image!r:.80}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(
            f"An image array has the shape (H, W, 3), RGB. Received: {image.shape}; for several "
            f"images pass list(array), for a gray or transparent one PIL.Image.fromarray(array)"
        )
    if image.dtype.kind not in "uif":
        raise DataError(f"An image array is uint8 or float. Received: {image.dtype}")
    lowest, highest = image.min(), image.max()
    if not (lowest >= 0 and highest <= 255):  # also where one is not a number
        raise DataError(f"An image array has values in 0..255. Received: {lowest} to {highest}")
    if image.dtype.kind == "f" and 0 < highest <= 1:
        warnings.warn(
            "The values of this image array are at most 1, which is almost black: images are in "
            "0..255. Multiply it by 255 if it is in 0..1.",
            stacklevel=3,
        )
    return image


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a saliency map.

    Args:
        path: The file.

    Returns:
        ``(H, W, 1)`` float32 in 0..1.

    Raises:
        DataError: The file is missing, not an image, damaged, truncated, in color, or too large to
            decode.
    """
    gray = decode(path, "L", gray=True)
    map: NDArray[np.float32] = np.divide(gray, np.float32(255), dtype=np.float32)
    return map


def write_map(path: Path, map: NDArray[Any], format: str) -> None:
    """Write a saliency map atomically.

    Args:
        path: The file to make or replace.
        map: ``(H, W)`` in 0..1.
        format: ``"jpeg"`` (8-bit gray, quality 100), ``"png"`` (8-bit gray) or ``"npy"`` (float32
            unchanged).

    Raises:
        DataError: The map has values that are not finite.
        UsageError: The format is unknown.
        MsinetError: The file system refused.
    """
    from PIL import Image

    if format not in MAP_FORMATS:
        raise UsageError(f"Unknown format '{format}'. Use one of: {', '.join(MAP_FORMATS)}")
    if not np.isfinite(map).all():
        raise DataError(
            f"The map for {path.name} has values that are not finite and was not written. Check "
            f"the weights: a training run that diverged leaves such values."
        )
    with atomic_path(path) as temporary:
        if format == "npy":
            with temporary.open("wb") as stream:
                np.save(stream, np.asarray(map, np.float32))
        else:
            Image.fromarray(to_gray(map)).save(temporary, format=format.upper(), quality=100)


def to_gray(map: NDArray[Any]) -> NDArray[np.uint8]:
    """Round a map in 0..1 to 8 bits.

    Args:
        map: Any shape, finite; values outside 0..1 are clipped.
    """
    gray: NDArray[np.uint8] = np.rint(np.clip(map, 0, 1) * 255).astype(np.uint8)
    return gray


def find_images(paths: Sequence[Path]) -> list[FoundImage]:
    """Collect images from files and folders.

    Folders are searched recursively, sorted by name; hidden files and folders are skipped. A file
    that is listed itself is taken whatever its suffix; nothing is taken twice.

    Args:
        paths: Files and folders.

    Raises:
        UsageError: A path does not exist; all of them, and folders without images, are listed.
        DataError: A folder has no images.
    """
    found: dict[Path, FoundImage] = {}
    problems = []
    kind: type[MsinetError] = DataError
    for path in paths:
        if path.is_dir():
            files = [FoundImage(path / name, name) for name in list_files(path, SUFFIXES)]
            if not files:
                suffixes = " ".join(sorted(SUFFIXES))
                problems.append(f"{path}: no images in this folder ({suffixes})")
        elif os.path.lexists(path):
            files = [FoundImage(path, Path(path.name))]
        else:
            files = []
            kind = UsageError
            problems.append(f"{path}: no such file or folder")
        for file in files:
            # A link to an image is another image; a link to a folder is the same folder.
            found.setdefault(file.path.parent.resolve() / file.path.name, file)
    if problems:
        raise kind(
            f"Some paths cannot be used:\n{bullet_list(problems)}\n"
            f"List image files, or folders with images."
        )
    return list(found.values())


def unread_formats(paths: Sequence[Path]) -> Iterator[str]:
    """Say which images in folders are left out because their format is not read.

    Args:
        paths: Files and folders, as for `find_images`.
    """
    left_out = [
        path / name for path in paths if path.is_dir() for name in list_files(path, OTHER_SUFFIXES)
    ]
    if left_out:
        yield (
            f"{counted(len(left_out), 'image is', 'images are')} in a format that is not read, "
            f"for example {left_out[0]}. To predict such images, convert them to JPEG or PNG."
        )


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files in a folder that have certain suffixes, sorted, relative to it.

    Linked folders are followed, each real folder once.

    Args:
        folder: Searched recursively; hidden files and folders are skipped.
        suffixes: Suffixes in lower case, for example ``".png"``; the case of files is ignored.

    Raises:
        DataError: A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DataError(
            f"Could not list the folder {error.filename}: {os_reason(error)}. Make it readable, or "
            f"list folders without it."
        ) from error

    seen: set[str] = set()
    found = []
    onerror = refuse if folder.is_dir() else None  # a missing folder has no files
    for parent, folders, files in os.walk(folder, onerror=onerror, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(parent).relative_to(folder)
        found += [
            base / name
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(found, key=lambda path: path.as_posix())


def content_digest(path: Path) -> bytes:
    """Return 32 bytes that stand for a file's content; an unchanged file is read only once.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        status = path.stat()
        return _digest(str(path), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(f"Could not read {path}: {os_reason(error)}.") from error


@lru_cache(maxsize=200_000)
def _digest(path: str, modified: int, size: int) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()
