"""Find, read and write images and saliency maps; the same NumPy arrays for every device."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msinet_core.data._decode import SUFFIXES, decode, image_size
from msinet_core.data.resize import fit, placement, restore_map
from msinet_core.errors import DataError, MsinetError, UsageError, bullet_list, os_reason
from msinet_core.network.ops import Size
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_PADDING = 126.0
MAP_PADDING = 0.0
MAP_FORMATS = ("jpeg", "png", "npy")


class FoundImage(NamedTuple):
    """An image file and its place under the folder that was searched.

    Args:
        path: The file.
        relative: Its path under that folder; the bare name of a file that was given itself.
    """

    path: Path
    relative: Path


def read_image(path: Path) -> NDArray[np.float32]:
    """Read an image upright, whatever its kind of color.

    Args:
        path: The file.

    Returns:
        ``(H, W, 3)`` float32, RGB in 0..255.

    Raises:
        DataError: The file is not there, no image, damaged, cut off, or too large to decode.
    """
    return decode(path, "RGB")


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a saliency map.

    Args:
        path: The file; colors are reduced to their luminance.

    Returns:
        ``(H, W, 1)`` float32 in 0..1.

    Raises:
        DataError: The file is not there, no image, damaged, cut off, or too large to decode.
    """
    return decode(path, "L") / np.float32(255)


def prepare_image(path: Path, size: Size) -> NDArray[np.float32]:
    """Read an image and fit it into the network's input.

    Args:
        path: The file.
        size: Height and width of the input in pixels.

    Returns:
        ``(*size, 3)`` float32, RGB in 0..255, padded with 126.

    Raises:
        DataError: As `read_image`.
    """
    return fit(read_image(path), size, IMAGE_PADDING)


def write_map(path: Path, map: NDArray[Any], format: str) -> None:
    """Write a saliency map; a kill leaves the old file or the new one, never half of it.

    Args:
        path: The file to make or replace.
        map: ``(H, W)`` in 0..1.
        format: ``"jpeg"`` (8-bit gray, quality 100), ``"png"`` (8-bit gray) or ``"npy"`` (float32
            as it is).

    Raises:
        DataError: The map holds values that are not numbers.
        UsageError: The format is none of these.
        MsinetError: The disk refuses.
    """
    from PIL import Image

    if format not in MAP_FORMATS:
        raise UsageError(f"Format '{format}' is unknown. Use {', '.join(MAP_FORMATS)}.")
    if not np.isfinite(map).all():
        raise DataError(
            f"The map for {path.name} holds values that are not numbers and was not written. "
            f"Check the weights: a training run that diverged leaves such values."
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

    Folders are searched to their depth, in the order of their names; hidden files and folders are
    skipped. A file that is given itself is taken whatever its ending; nothing is taken twice.

    Args:
        paths: Files and folders.

    Raises:
        UsageError: A path is not there; all that are not, and folders without images, are listed.
        DataError: A folder has no images.
    """
    found: dict[Path, FoundImage] = {}
    problems = []
    kind: type[MsinetError] = DataError
    for path in paths:
        if path.is_dir():
            files = [FoundImage(path / name, name) for name in list_files(path, SUFFIXES)]
            if not files:
                endings = " ".join(sorted(SUFFIXES))
                problems.append(f"{path}: no images in this folder ({endings})")
        elif path.exists():
            files = [FoundImage(path, Path(path.name))]
        else:
            files = []
            kind = UsageError
            problems.append(f"{path}: no such file or folder")
        for file in files:
            # A link and what it points to are two images to their owner; one folder is one.
            found.setdefault(file.path.parent.resolve() / file.path.name, file)
    if problems:
        raise kind(
            f"Not everything that was asked for is there:\n{bullet_list(problems)}\n"
            f"Give image files, or folders with images."
        )
    return list(found.values())


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files under a folder by their endings, sorted, relative to it.

    Linked folders are followed, each real folder once.

    Args:
        folder: Where to look, to any depth; hidden files and folders are skipped.
        suffixes: Endings in lower case, for example ``".png"``; the files' own case is ignored.

    Raises:
        DataError: A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DataError(
            f"The folder {error.filename} cannot be listed: {os_reason(error)}. Make it readable, "
            f"or name folders without it."
        ) from error

    seen: set[str] = set()
    found = []
    there = folder.is_dir()  # a folder that is not there has no files; its callers say so
    for parent, folders, files in os.walk(
        folder, onerror=refuse if there else None, followlinks=True
    ):
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


__all__ = [
    "IMAGE_PADDING",
    "MAP_FORMATS",
    "MAP_PADDING",
    "FoundImage",
    "find_images",
    "fit",
    "image_size",
    "list_files",
    "placement",
    "prepare_image",
    "read_image",
    "read_map",
    "restore_map",
    "to_gray",
    "write_map",
]
