"""HDF5's global heap, walked before the library does: it loops forever in a broken one.

Texts of variable length, as Keras writes them, lie in collections of this heap. They have no
checksum, and the library trusts the sizes in them.

Source: HDF5 File Format Specification 3.0, section III.E, "Global Heap".
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from msinet_core.errors import CheckpointError

_SIGNATURE = b"GCOL\x01\0\0\0"
_HEAD = 16
_OBJECT = struct.Struct("<HHIQ")


def check_global_heap(path: Path, content: bytes | None = None) -> None:
    """Walk every collection of texts in a file.

    Args:
        path: The file.
        content: Its bytes, where it lies in an archive.

    Raises:
        CheckpointError: An object in one lies outside it.
    """
    if content is not None:
        _check(content, path)
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check(data, path)


def _check(data: bytes | mmap.mmap, path: Path) -> None:
    start = data.find(_SIGNATURE)
    while start >= 0:
        if not _is_whole(data, start):
            raise CheckpointError(
                f"{path} is damaged: the texts stored at byte {start:,} do not follow one another. "
                f"Copy or download it again."
            )
        start = data.find(_SIGNATURE, start + 1)


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
