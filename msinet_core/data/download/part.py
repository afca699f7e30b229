"""The file beside the target in which a download grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from msinet_core.system.files import move_into_place, write_text
from msinet_core.system.progress import Progress


@dataclass(frozen=True)
class Origin:
    """Where the bytes of a part come from.

    Args:
        url: The address that was requested.
        validator: The server's name for this version of the file; empty if it has none.
        total: Bytes of the whole file; None if the server did not say.
    """

    url: str
    validator: str
    total: int | None


class Part:
    """A file that grows; only one process at a time has it open.

    Args:
        path: The file.
        stream: The file, opened for appending.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream
        self.size = path.stat().st_size
        self.origin = _read_origin(path)

    def begin(self, origin: Origin) -> None:
        """Discard the content and record where the new content comes from.

        Args:
            origin: Written before any of the content, so that a kill cannot separate them.
        """
        self._stream.truncate(0)
        self.size = 0
        self.origin = origin
        write_text(_origin_path(self.path), json.dumps(asdict(origin)) + "\n")

    def append(self, data: bytes) -> None:
        """Add bytes at the end; they are in the file when this returns.

        Args:
            data: The bytes.
        """
        view = memoryview(data)
        while view:
            written = self._stream.write(view)
            self.size += written
            view = view[written:]

    def discard(self) -> None:
        """Remove the file and its origin."""
        self.size = 0
        self._stream.close()  # Windows cannot remove or rename an open file
        for path in (self.path, _origin_path(self.path)):
            with suppress(OSError):
                path.unlink()

    def publish(self, target: Path) -> None:
        """Rename the complete file.

        Args:
            target: Its name, in the same folder.
        """
        self._stream.close()
        move_into_place(self.path, target)
        self.discard()


@contextmanager
def open_part(target: Path, progress: Progress) -> Iterator[Part]:
    """Open the part of a file; wait while another process is downloading the same file.

    Args:
        target: The complete file; its folder is created if it is missing.
        progress: Receives a message before waiting.
    """
    path = target.with_name(f"{target.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target, progress), path.open("ab", buffering=0) as stream:
        part = Part(path, stream)
        try:
            yield part
        finally:
            if part.size == 0:
                part.discard()


@contextmanager
def _locked(target: Path, progress: Progress) -> Iterator[None]:
    path = target.with_name(f"{target.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.message(f"{target.name}: waiting for another process that is downloading it")
        lock.acquire()
    except OSError:  # a network drive without locks
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # a process that waits for it sees that, and creates a new one
        lock.release()


def _origin_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_origin(path: Path) -> Origin | None:
    try:
        return Origin(**json.loads(_origin_path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
