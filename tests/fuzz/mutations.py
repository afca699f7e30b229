"""Random damage."""

from __future__ import annotations

import random
from collections.abc import Callable

_EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
"""What damaged sizes, counts and addresses are."""


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return damaged data.

    Args:
        data: Whole.
        draw: The source of random numbers.
    """
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if found:
            draw.choice(_MUTATIONS)(found, draw)
    return bytes(found)


def _position(data: bytearray, draw: random.Random) -> int:
    """Return an offset; half of them near something that is not a tensor: a text or a zero."""
    position = draw.randrange(len(data))
    if draw.random() < 0.5:
        marks = (b"TREE", b"HEAP", b"SNOD", b"GCOL", b"FRHP", b"BTHD", b"OHDR", b"PK", b"\0\0\0\0")
        found = data.find(draw.choice(marks), position)
        if found >= 0:
            position = min(found + draw.randrange(48), len(data) - 1)
    return position


def _flip(data: bytearray, draw: random.Random) -> None:
    data[_position(data, draw)] ^= 1 << draw.randrange(8)


def _byte(data: bytearray, draw: random.Random) -> None:
    data[_position(data, draw)] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))


def _integer(data: bytearray, draw: random.Random) -> None:
    size = draw.choice((2, 4, 8))
    position = _position(data, draw) // size * size
    value = draw.choice((*_EXTREMES, len(data), draw.randrange(len(data)))) % 2 ** (8 * size)
    data[position : position + size] = value.to_bytes(size, "little")


def _truncate(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _remove(data: bytearray, draw: random.Random) -> None:
    position = _position(data, draw)
    del data[position : position + draw.choice((1, 4, 8, 100))]


def _copy(data: bytearray, draw: random.Random) -> None:
    source, size = draw.randrange(len(data)), draw.choice((8, 40, 512))
    position = _position(data, draw)
    data[position : position + size] = data[source : source + size]


def _insert(data: bytearray, draw: random.Random) -> None:
    position = _position(data, draw)
    data[position:position] = draw.randbytes(draw.choice((1, 4, 8)))


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip, _byte, _byte, _integer, _integer, _integer),
    *(_truncate, _remove, _copy, _insert),
)
