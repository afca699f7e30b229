"""A file in memory that holds only what was written to it, however large it says it is."""

from __future__ import annotations

import io
import os

PAGE = 4096


class PagedMemory(io.RawIOBase):
    """A sparse file: pages that nobody wrote take no memory and read as zeros."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.size = 0
        self._position = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self.size - self._position))
        done = 0
        while done < count:
            page, start = divmod(self._position + done, PAGE)
            part = self.pages.get(page, bytes(PAGE))[start : start + count - done]
            target[done : done + len(part)] = part
            done += len(part)
        self._position += count
        return count

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        source = memoryview(data).cast("B")
        done = 0
        while done < len(source):
            page, start = divmod(self._position + done, PAGE)
            part = source[done : done + PAGE - start]
            self.pages.setdefault(page, bytearray(PAGE))[start : start + len(part)] = part
            done += len(part)
        self._position += len(source)
        self.size = max(self.size, self._position)
        return len(source)
