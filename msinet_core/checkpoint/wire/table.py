"""Tables of sorted keys and values in blocks, as LevelDB and TensorFlow's index files have them.

Source: LevelDB's doc/table_format.md; tensorflow/core/lib/io/format.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from msinet_core.checkpoint.guard import UnsupportedError
from msinet_core.checkpoint.wire.crc32c import masked_crc32c
from msinet_core.checkpoint.wire.limits import MAX_ENTRIES
from msinet_core.checkpoint.wire.protobuf import read_varint, varint

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER_SIZE = 48
_TRAILER_SIZE = 5
"""After each block: its compression, and a checksum."""

_MAX_KEYS = 2**24
"""Characters in all keys."""

_NO_RESTARTS = struct.pack("<II", 0, 1)
"""Every key of a block counts from its first entry."""


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Read every key and value of a table.

    Args:
        data: The file.

    Raises:
        ValueError: It is not a table, or damaged.
        IndexError: It is damaged.
        UnsupportedError: It is compressed.
    """
    if len(data) < _FOOTER_SIZE or not data.endswith(_MAGIC):
        raise ValueError("truncated, or not an index")
    footer = data[-_FOOTER_SIZE:]
    _, position = _read_handle(footer, 0)  # of the metaindex, which is empty
    (offset, size), _ = _read_handle(footer, position)
    table: dict[bytes, bytes] = {}
    left, count, characters = len(data), 0, 0
    for _, handle in _read_block(data, offset, size):
        (offset, size), _ = _read_handle(handle, 0)
        left -= size
        if left < 0:
            raise ValueError("its blocks overlap")
        for key, value in _read_block(data, offset, size):
            count += 1
            characters += len(key)  # each key can repeat almost all of the one before
            if count > MAX_ENTRIES or characters > _MAX_KEYS:
                raise ValueError("too many or too long names")
            table[key] = value
    return table


def write_table(entries: Mapping[str, bytes]) -> bytes:
    """Return a table with one block of entries.

    Args:
        entries: Sorted by their names in UTF-8.
    """
    data = _block(entries)
    metaindex = _block({})
    index = _block({list(entries)[-1]: _handle(0, data)})
    footer = _handle(len(data), metaindex) + _handle(len(data) + len(metaindex), index)
    return data + metaindex + index + footer.ljust(_FOOTER_SIZE - len(_MAGIC), b"\0") + _MAGIC


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Verify one block and yield its keys and values; keys share prefixes with the one before."""
    end = offset + size
    if end + _TRAILER_SIZE > len(data) or size < 4:
        raise ValueError("a block extends beyond the file")
    compression, checksum = struct.unpack_from("<BI", data, end)
    if masked_crc32c(data[offset : end + 1]) != checksum:
        raise ValueError("wrong checksum of a block")
    if compression != 0:
        raise UnsupportedError(
            "is compressed, which is not supported. Load it with TensorFlow, and save it again "
            "with tf.compat.v1.train.Saver."
        )
    (restarts,) = struct.unpack_from("<I", data, end - 4)
    last = end - 4 - 4 * restarts
    position, key = offset, b""
    while position < last:
        shared, position = read_varint(data, position)
        unshared, position = read_varint(data, position)
        length, position = read_varint(data, position)
        key = key[:shared] + data[position : position + unshared]
        position += unshared
        yield key, data[position : position + length]
        position += length


def _read_handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _block(entries: Mapping[str, bytes]) -> bytes:
    body = bytearray()
    for name, value in entries.items():
        key = name.encode()
        body += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    body += _NO_RESTARTS + b"\0"  # not compressed
    return bytes(body) + struct.pack("<I", masked_crc32c(bytes(body)))


def _handle(offset: int, block: bytes) -> bytes:
    return varint(offset) + varint(len(block) - _TRAILER_SIZE)
