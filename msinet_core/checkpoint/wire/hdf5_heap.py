"""HDF5's heaps, checked before the library reads them: broken ones make it loop forever or crash.

Texts of variable length, as Keras writes them, are in collections of the global heap. They have no
checksum, and the library trusts the sizes in them.

Source: HDF5 File Format Specification 3.0, section III.E, "Global Heap".
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from msinet_core.errors import CheckpointError

_GLOBAL_HEAP = b"GCOL\x01\0\0\0"
_FRACTAL_HEAP = b"FRHP\0"
"""The library frees a damaged one twice; HDF5's newer groups have them, and no Keras file."""

_CHUNK = 2**18
"""Bytes that are searched at once; they stay in the processor's cache."""

_HEAD = 16
_OBJECT = struct.Struct("<HHIQ")


def check_heaps(path: Path, content: bytes | None = None) -> None:
    """Check every collection of texts in a file, and refuse fractal heaps.

    Args:
        path: The file.
        content: Its bytes, if it is inside an archive.

    Raises:
        CheckpointError: A text lies outside its collection, or there is a fractal heap.
    """
    if content is not None:
        _check(content, path)
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check(data, path)


def find_all(data: bytes | mmap.mmap, signature: bytes, chunk: int = _CHUNK) -> Iterator[int]:
    """Find a signature; several times as fast as `find`, which compares byte by byte.

    Args:
        data: A file.
        signature: At least four bytes.
        chunk: How many bytes are searched at once.

    Yields:
        Every offset, in ascending order.
    """
    word = np.frombuffer(signature[:4], "<u4")
    for begin in range(0, len(data), chunk):
        piece = np.frombuffer(data[begin : begin + chunk + 3], np.uint8)
        found: list[int] = []
        for shift in range(4):
            count = max(0, len(piece) - shift) // 4
            words = piece[shift : shift + 4 * count].view("<u4")
            found += (np.flatnonzero(words == word) * 4 + begin + shift).tolist()
        for offset in sorted(found):
            if data[offset : offset + len(signature)] == signature:
                yield offset


def _check(data: bytes | mmap.mmap, path: Path) -> None:
    if any(True for _ in find_all(data, _FRACTAL_HEAP)):
        raise CheckpointError(
            f"{path} is refused: it contains a fractal heap, which Keras does not write and in "
            f"which damage crashes the HDF5 library. Save it again with Keras, or use a file from "
            f"a source you trust."
        )
    for start in find_all(data, _GLOBAL_HEAP):
        if not _is_whole(data, start):
            raise CheckpointError(
                f"{path} is damaged: the texts stored at byte {start:,} overlap or are cut off. "
                f"Copy or download it again."
            )


def _is_whole(data: bytes | mmap.mmap, start: int) -> bool:
    if start + _HEAD > len(data):
        return False
    (size,) = struct.unpack_from("<Q", data, start + 8)
    end, position = start + size, start + _HEAD
    if end > len(data):
        return False
    while position + _OBJECT.size <= end:
        index, _, _, length = _OBJECT.unpack_from(data, position)
        if index == 0:  # what is left, its own head included
            return bool(position + length == end)
        position += _OBJECT.size + (length + 7) // 8 * 8
    return bool(position <= end)
