from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.checkpoint.wire.crc32c import crc32c, masked_crc32c


def bitwise(data: bytes) -> int:
    """The definition, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_published_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@given(st.binary(max_size=300))
def test_short_messages_agree_with_the_definition(data: bytes) -> None:
    assert crc32c(data) == bitwise(data)


@pytest.mark.parametrize("size", [2047, 2048, 2049, 32767, 32768, 32769, 70001, 524_289, 600_003])
def test_every_pass_agrees_with_the_definition(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    assert crc32c(data) == bitwise(data.tobytes())


def test_masking_as_tensorflow_does() -> None:
    # tensorflow/core/lib/hash/crc32c.h: rotate right by 15 bits, add a constant.
    assert masked_crc32c(b"") == 0xA282EAD8
    rotated = 0xE3069283 >> 15 | 0xE3069283 << 17
    assert masked_crc32c(b"123456789") == (rotated + 0xA282EAD8) % 2**32
