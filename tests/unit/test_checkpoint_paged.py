from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from msinet_core.checkpoint.paged import PAGE, PagedMemory

offsets = st.integers(0, 5 * PAGE)


@given(st.lists(st.tuples(offsets, st.binary(max_size=3 * PAGE)), max_size=6), offsets, offsets)
def test_it_reads_as_a_plain_file_does(
    writes: list[tuple[int, bytes]], start: int, length: int
) -> None:
    paged, plain = PagedMemory(), bytearray()
    for offset, data in writes:
        if data:
            plain.extend(bytes(max(0, offset + len(data) - len(plain))))
            plain[offset : offset + len(data)] = data
        paged.seek(offset)
        assert paged.write(memoryview(data)) == len(data)
        paged.size = len(plain)
    assert paged.seek(0, os.SEEK_END) == len(plain)
    paged.seek(start)
    assert paged.read(length) == bytes(plain[start : start + length])
    assert paged.tell() == start + len(plain[start : start + length])


def test_room_that_nobody_wrote_takes_no_memory() -> None:
    paged = PagedMemory()
    paged.seek(2**40)
    paged.write(memoryview(b"end"))
    assert paged.size == 2**40 + 3
    assert len(paged.pages) == 1
    paged.seek(2**39)
    assert paged.read(4) == bytes(4)
    paged.truncate(100)
    assert paged.size == 100
