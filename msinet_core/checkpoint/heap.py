"""HDF5's heaps, looked at before the library does: broken ones make it loop forever or crash.

Texts of variable length, as Keras writes them, lie in collections of this heap. They have no
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

_SIGNATURE = b"GCOL\x01\0\0\0"
_FRACTAL_HEAP = b"FRHP\0"
"""The library frees a damaged one twice; HDF5's newer groups have them, and no Keras file."""

_CHUNK = 2**18
"""Bytes that are searched at once; they stay in the processor's cache."""

_HEAD = 16
_OBJECT = struct.Struct("<HHIQ")


def check_heaps(path: Path, content: bytes | None = None) -> None:
    """Walk every collection of texts in a file, and refuse heaps of links.

    Args:
        path: The file.
        content: Its bytes, where it lies in an archive.

    Raises:
        CheckpointError: A text lies outside its collection, or there is a fractal heap.
    """
    if content is not None:
        _check(content, path)
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check(data, path)


def _check(data: bytes | mmap.mmap, path: Path) -> None:
    if any(True for _ in _places(data, _FRACTAL_HEAP)):
        raise CheckpointError(
            f"{path} is refused: it stores groups in a way that Keras does not and that links to "
            f"other files need, and in which damage crashes the HDF5 library. "
            f"Save it again with Keras, or use a file from a source you trust."
        )
    for start in _places(data, _SIGNATURE):
        if not _is_whole(data, start):
            raise CheckpointError(
                f"{path} is damaged: the texts stored at byte {start:,} do not follow one another. "
                f"Copy or download it again."
            )


def _places(data: bytes | mmap.mmap, signature: bytes) -> Iterator[int]:
    """Give every place of a signature; several times as quick as `find`, which goes by bytes."""
    word = np.frombuffer(signature[:4], "<u4")
    for begin in range(0, len(data), _CHUNK):
        piece = np.frombuffer(data[begin : begin + _CHUNK + 3], np.uint8)
        found: list[int] = []
        for shift in range(4):
            count = max(0, len(piece) - shift) // 4
            words = piece[shift : shift + 4 * count].view("<u4")
            found += (np.flatnonzero(words == word) * 4 + begin + shift).tolist()
        for place in sorted(found):
            if data[place : place + len(signature)] == signature:
                yield place


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
