"""Files by their names, and as bytes that are read from the disk when they are used."""

from __future__ import annotations

import mmap
from pathlib import Path

from msinet_core.errors import CheckpointError


def is_named(path: Path, *suffixes: str) -> bool:
    """Return whether a path is a file, not empty, whose name ends with one of some suffixes.

    Args:
        path: Any path.
        suffixes: For example ``".onnx"``.
    """
    return path.name.endswith(suffixes) and path.is_file() and path.stat().st_size > 0


def map_file(path: Path) -> memoryview:
    """Return a file's bytes without reading them.

    The file stays open until the last view of it is gone, so tensors may be read long after.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is empty.
        OSError: It cannot be opened.
    """
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty. Copy or download it again.")
    with path.open("rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
