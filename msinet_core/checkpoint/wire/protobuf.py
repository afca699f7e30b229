"""Protocol buffers, read and written field by field, without schemas.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

Buffer = bytes | memoryview
Chunks = Sequence[Buffer]
"""A message in pieces, so that a tensor's values are never copied into it."""


def read_varint(data: Buffer, position: int) -> tuple[int, int]:
    """Read an integer, and return it with the position after it.

    Args:
        data: The message.
        position: Of its first byte.

    Raises:
        ValueError: It is too long.
        IndexError: The message ends first.
    """
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("an integer is too long")


def fields(message: Buffer) -> Iterator[tuple[int, Any]]:
    """Split a message into field numbers and values: int, or a slice of the message.

    Args:
        message: Slices of a memoryview are views of it.

    Raises:
        ValueError: It is not a message, or ends in the middle of a field.
        IndexError: It ends in the middle of an integer.
    """
    position, end = 0, len(message)
    while position < end:
        tag = message[position]
        position += 1
        if tag > 0x7F:  # rarely: most fields have numbers up to 15
            tag, position = read_varint(message, position - 1)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind in (0, 2):
            value = message[position]
            position += 1
            if value > 0x7F:  # in line, since a hostile file can have millions of fields
                value, position = read_varint(message, position - 1)
            if kind == 0:
                yield number, value
                continue
            length = value
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field has the unknown type {kind}")
        if position + length > end:
            raise ValueError("a field extends beyond its message")
        value = message[position : position + length]
        if kind != 2:
            value = int.from_bytes(value, "little")
        position += length
        yield number, value


def varint(value: int) -> bytes:
    """Write an integer.

    Args:
        value: 0 or more.
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def integer(number: int, value: int) -> bytes:
    """Write a field that holds an integer.

    Args:
        number: The field's.
        value: 0 or more.
    """
    return varint(number << 3) + varint(value)


def fixed32(number: int, value: int) -> bytes:
    """Write a field that holds an integer in four bytes.

    Args:
        number: The field's.
        value: 0 to 2**32 - 1.
    """
    return varint(number << 3 | 5) + struct.pack("<I", value)


def text(number: int, value: str | Buffer) -> bytes:
    """Write a field that holds text or bytes.

    Args:
        number: The field's.
        value: Its content.
    """
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(number: int, content: Chunks) -> list[Buffer]:
    """Write a field that holds a message, in pieces.

    Args:
        number: The field's.
        content: The message.
    """
    return [varint(number << 3 | 2) + varint(sum(len(chunk) for chunk in content)), *content]
