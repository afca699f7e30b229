"""The file beside the target in which a download grows, and what is known about it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from msinet_core.system.files import move_into_place, write_text
from msinet_core.system.progress import Progress

_LOCK_INTERVAL = 0.5


@dataclass(frozen=True)
class Origin:
    """Where the bytes in a part come from.

    Args:
        url: The address that was asked.
        validator: What the server calls this version of the file; empty if nothing.
        total: Bytes of the whole file; None if the server did not say.
    """

    url: str
    validator: str
    total: int | None


class Part:
    """A file that grows, held by one process at a time.

    Args:
        path: The file.
        stream: The same, open and locked.
    """

    def __init__(self, path: Path, stream: FileIO) -> None:
        self.path = path
        self._stream = stream
        self.size = stream.seek(0, os.SEEK_END)
        self.origin = _read_origin(path)

    def begin(self, origin: Origin) -> None:
        """Throw away what is there, and note where the new content comes from.

        Args:
            origin: Written before any of the content, so that a kill leaves no riddle.
        """
        self._stream.truncate(0)
        self._stream.seek(0)
        self.size = 0
        self.origin = origin
        write_text(_note(self.path), json.dumps(asdict(origin)) + "\n")

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
        """Remove the file and what is known about it."""
        self.size = 0
        for path in (self.path, _note(self.path)):
            with suppress(OSError):
                path.unlink()

    def publish(self, target: Path) -> None:
        """Put the file in its place.

        In one step: a process that waits for this one finds the part or the target.

        Args:
            target: Beside the part.
        """
        if os.name == "nt":  # where an open file cannot be renamed
            self._stream.close()
        move_into_place(self.path, target)
        self.discard()


@contextmanager
def open_part(target: Path, progress: Progress) -> Iterator[Part]:
    """Open the part of a file, and wait for another process that is downloading the same.

    Args:
        target: The file that it will become; its folder is made when it is missing.
        progress: Is told when there is something to wait for.
    """
    told = False
    path = target.with_name(f"{target.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with FileIO(descriptor, "r+") as stream:
            if _lock(descriptor) and _is_still(path, descriptor):
                part = Part(path, stream)
                try:
                    yield part
                finally:
                    if part.size == 0:
                        part.discard()
                return
        if not told:
            progress.message(f"{target.name}: another process is downloading it; waiting for that.")
            told = True
        time.sleep(_LOCK_INTERVAL)


def _lock(descriptor: int) -> bool:
    """Take the file for this process until it is closed; False if another one has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network drive without locks
        return True
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether the file was not renamed or removed before it was locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_origin(path: Path) -> Origin | None:
    try:
        content = json.loads(_note(path).read_text(encoding="utf-8"))
        total = content["total"]
        return Origin(
            str(content["url"]), str(content["validator"]), None if total is None else int(total)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
