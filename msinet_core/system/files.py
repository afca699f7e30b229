"""The one place that writes files, so that a kill at any moment leaves the old or the new one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from msinet_core.errors import MsinetError, os_reason


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path` and put what was written there in its place.

    The data reach the disk before the name changes. When the block raises, `path` is untouched and
    the temporary file is removed; what an earlier kill left behind is removed too.

    Args:
        path: The file to make or replace; its folder is made when it is missing.

    Raises:
        MsinetError: The disk refuses (full, read-only, no permission); `path` is as it was.
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        yield temporary
        move_into_place(temporary, path)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        reason = "its folder cannot be made" if is_missing else os_reason(error)
        raise MsinetError(
            f"Could not write {path}: {reason}. What was there before is "
            f"unchanged. Make room or choose another folder, and run the command again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def move_into_place(finished: Path, path: Path) -> None:
    """Give a finished file its name in one step, after its content reached the disk.

    Args:
        finished: The file, in the folder of `path`.
        path: The file to make or replace.

    Raises:
        OSError: The disk refuses; `path` is as it was.
    """
    with finished.open("rb+") as stream:
        os.fsync(stream.fileno())
    finished.replace(path)
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Lend a new folder beside `folder` that takes its place at the end, or goes away.

    What is in it may be written in any way: it is brought to the disk all at once, which for
    thousands of files takes seconds and not minutes. What an earlier kill left behind is removed.

    Args:
        folder: The folder to make; it must not exist, or be empty.

    Raises:
        OSError: The disk refuses.
    """
    new = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        process = leftover.name.split(".")[-2]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        if hasattr(os, "sync"):
            os.sync()
        if folder.is_dir():
            folder.rmdir()
        new.replace(folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Args:
        path: The file to make or replace.
        text: Its whole content.

    Raises:
        MsinetError: The disk refuses; `path` is as it was.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a binary file atomically.

    Args:
        path: The file to make or replace.
        data: Its whole content.

    Raises:
        MsinetError: The disk refuses; `path` is as it was.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@cache  # once for each folder: it reads the whole folder, which may hold thousands of maps
def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(".*.tmp"):
        process = leftover.name.split(".")[-2].partition("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            with suppress(OSError):
                leftover.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # a folder cannot be opened for syncing on every system
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
