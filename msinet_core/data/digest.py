"""Recognize files by their content."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from msinet_core.errors import DataError, os_reason


def content_digest(path: Path) -> bytes:
    """Return 32 bytes that stand for a file's content; an unchanged file is read only once.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        status = path.stat()
        return _digest(str(path), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(f"Could not read {path}: {os_reason(error)}.") from error


@lru_cache(maxsize=200_000)
def _digest(path: str, modified: int, size: int) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()
