"""CRC-32C, the checksum in TensorFlow's checkpoints, vectorized with NumPy.

A message is a polynomial over GF(2), and its CRC is the remainder after division by P. Squaring is
linear there, so P(x)**n = P(x**n) for every power of two n, and a multiple of P does not change the
remainder. Reducing by P(x**n) with n the bits of a whole block needs no table: a block is removed
by XORing it onto the blocks that the lower terms of P point to. That shrinks a message to 32
blocks; smaller and smaller blocks shrink it to what a plain loop does at once.

Source: RFC 3720, appendix B.4 (polynomial and test vectors).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_LOWER_TERMS = (28, 27, 26, 25, 23, 22, 20, 19, 18, 14, 13, 11, 10, 9, 8, 6, 0)
"""The powers of x in the Castagnoli polynomial below x**32."""

_STEP = 32 - _LOWER_TERMS[0]
"""The number of blocks that can go at once: the highest lower term points this far ahead."""

_BLOCK_SIZES = (16384, 1024, 64)
"""Bytes in a block, from pass to pass; the first keeps the working set in the processor's cache."""


def crc32c(data: bytes | memoryview | NDArray[np.uint8]) -> int:
    """Compute the CRC-32C of bytes.

    Args:
        data: Any contiguous buffer.
    """
    message = np.frombuffer(data, np.uint8)
    if message.size < 4:
        return _plain(message.tobytes(), 0xFFFFFFFF) ^ 0xFFFFFFFF
    message = message.copy()
    message[:4] ^= 0xFF  # starting from all ones is the same as inverting the first 32 bits
    for size in _BLOCK_SIZES:
        message = _reduce(message, size)
    return _plain(message.tobytes(), 0) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview | NDArray[np.uint8]) -> int:
    """Compute the CRC-32C of bytes, masked as TensorFlow stores it.

    Args:
        data: Any contiguous buffer.

    Source: tensorflow/core/lib/hash/crc32c.h.
    """
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _reduce(message: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Shorten a message to at most 32 blocks with the same remainder."""
    chunk = _STEP * size
    surplus = message.size - 32 * size
    if surplus <= 0:
        return message
    padding = -surplus % chunk  # zeros in front change nothing
    padded = np.zeros(padding + message.size, np.uint8)
    padded[padding:] = message
    blocks = padded.view(np.uint64)
    word, step = size // 8, chunk // 8
    last = (surplus + padding) // 8
    for start in range(0, last, step):
        top = blocks[start : start + step]
        for term in _LOWER_TERMS:
            target = start + (32 - term) * word
            blocks[target : target + step] ^= top
    return padded[last * 8 :]


def _plain(message: bytes, crc: int) -> int:
    table = _table()
    for byte in message:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


@cache
def _table() -> tuple[int, ...]:
    polynomial = 0x82F63B78  # the bits of the lower terms, reversed
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return tuple(table)
