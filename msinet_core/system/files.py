"""Write files and folders so that a kill at any moment leaves the old one or the new one."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from msinet_core.errors import MsinetError, os_reason

_TEMPORARY = re.compile(r"\.msinet-(?P<host>.+)-(?P<process>\d{1,9})-[0-9a-f]{8}\.tmp")


def cache_folder() -> Path:
    """Return the user's cache folder: for files that can be created or downloaded again."""
    import platformdirs

    return platformdirs.user_cache_path("msinet", appauthor=False)


@contextmanager
def atomic_path(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` at the end.

    The data reach the disk before the rename. If the block raises, `path` is unchanged and the
    temporary file is removed; so are those that killed processes of this machine left.

    Args:
        path: The file to create or replace; its folder is created if it is missing. What a link
            points to is replaced, and a device such as ``/dev/null`` is written to.
        replace: Whether a file that exists is replaced; otherwise it is an error, also if another
            process creates it meanwhile.

    Raises:
        MsinetError: The file system refused; `path` is unchanged.
    """
    stream = is_stream(path)
    with suppress(OSError):  # the name is too long, which writing will report
        if path.is_symlink() and not stream:
            path = Path(os.path.realpath(path))
    temporary = _temporary(Path(tempfile.gettempdir()) if stream else path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(temporary.parent)
        yield temporary
        if stream:
            with temporary.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            move_into_place(temporary, path, replace=replace)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Return whether a path is a device, a pipe, or a name for one, such as ``/dev/stdout``.

    Args:
        path: Any path.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    # /dev/stdout may be a regular file that must not be replaced; those in /dev/shm may be.
    if re.match(r"/(proc/|dev/(fd/|std(in|out|err)$))", str(path)):
        return True
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before long work whose result would be lost.

    Args:
        path: The file to create or replace.

    Raises:
        MsinetError: The file system refused, or `path` is a folder.
    """
    if path.is_dir():
        raise _refused(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not is_stream(path):
        check_writable_folder(path.parent, path)


def check_writable_folder(folder: Path, target: Path | None = None) -> None:
    """Refuse a folder in which nothing can be written, before long work whose results go there.

    Args:
        folder: The folder. A missing one is not created; its nearest parent is examined.
        target: What will be written there, for the message; None for the folder itself.

    Raises:
        MsinetError: The file system refused.
    """
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        temporary = _temporary(nearest)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise _refused(target or folder, error) from error


def _refused(path: Path, error: OSError) -> MsinetError:
    exists = os.path.exists(path)  # noqa: PTH110  -- Path.exists raises if a name is too long
    kept = " What was there before is unchanged." if exists else ""
    advice = "Choose"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "Free some space, or choose"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "Make it writable, or choose"
    return MsinetError(
        f"Could not write {path}: {os_reason(error)}.{kept} {advice} another folder, and run the "
        f"command again."
    )


def move_into_place(finished: Path, path: Path, *, replace: bool = True) -> None:
    """Flush a finished file to the disk and rename it in one step.

    Args:
        finished: The file, in the folder of `path`.
        path: The file to create or replace.
        replace: As for `atomic_path`.

    Raises:
        OSError: The file system refused; `path` is unchanged.
    """
    with finished.open("rb+") as stream:
        _sync(stream.fileno())
    if not replace:
        path.touch(exist_ok=False)
    try:
        finished.replace(path)
    except OSError:
        if not replace:
            path.unlink()
        raise
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, and rename it to `folder` at the end.

    Its files may be written in any way: they are flushed to the disk all at once, which for
    thousands of files takes seconds instead of minutes. If the block raises, the new folder is
    removed.

    Args:
        folder: The folder to create; it must not exist, or be empty.

    Raises:
        MsinetError: The file system refused.
    """
    new = _temporary(folder.parent)
    try:
        new.mkdir(parents=True)
        _remove_leftovers(folder.parent)
        yield new
        if hasattr(os, "sync"):
            os.sync()
        if folder.is_dir():
            folder.rmdir()
        new.replace(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        raise _refused(folder, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Args:
        path: The file to create or replace.
        text: Its whole content.

    Raises:
        MsinetError: The file system refused; `path` is unchanged.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a binary file atomically.

    Args:
        path: The file to create or replace.
        data: Its whole content.

    Raises:
        MsinetError: The file system refused; `path` is unchanged.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _temporary(folder: Path) -> Path:
    """Return a new name that is unmistakably ours, and short whatever the final name is."""
    return folder / f".msinet-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _host() -> str:
    """Return a name for where a process number has a meaning: a machine, or a container on it."""
    host = socket.gethostname()
    with suppress(OSError):  # not Linux
        host += f"-{Path('/proc/self/ns/pid').stat().st_ino}"
    return host


@cache  # once per folder: it lists the whole folder, which may hold thousands of maps
def _remove_leftovers(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            found = _TEMPORARY.fullmatch(path.name)
            if found is None or _may_be_alive(found["host"], int(found["process"])):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _may_be_alive(host: str, process: int) -> bool:
    """Return whether a process may be alive; one of another machine or container may."""
    import psutil

    return host != _host() or psutil.pid_exists(process)


def _sync(descriptor: int) -> None:
    """Write a file's data to the disk; macOS needs a second call to empty the disk's own cache."""
    os.fsync(descriptor)
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # not every file system supports it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every system can open a folder for syncing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)
