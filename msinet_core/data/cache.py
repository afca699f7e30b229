"""The user's cache: drawn maps and fitted samples, keyed by content, bounded, safe to share."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.images import content_digest
from msinet_core.data.sample import Sample
from msinet_core.errors import MsinetError, UsageError
from msinet_core.network.ops import Size
from msinet_core.system.files import atomic_path, cache_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

CACHE_SIZE_VARIABLE = "MSINET_CACHE_GB"
DEFAULT_CACHE_GB = 20.0
FIT_VERSION = 1
"""Part of the key of fitted samples; increase it when decoding, `fit` or drawn maps change."""

_PARTS = ("fitted", "maps")


class FittedCache:
    """Keep fitted images and maps on disk, where later epochs and runs map them into memory.

    An entry's name is a hash of the content of the sample's files and of all parameters, so a
    changed file or size is another entry. Entries are written atomically; several processes can
    share the folder. When the cache is full, entries that this object has not used make room, the
    oldest first, a tenth of the cache at a time. A run has one object for all its images.

    Args:
        folder: The cache folder; None: the user's.
        limit: The maximum number of bytes; None: ``MSINET_CACHE_GB``, else 20 GB.

    Raises:
        UsageError: The environment variable is not a number of at least 0.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self._folder = (folder or cache_folder()) / _PARTS[0]
        self._limit = _limit() if limit is None else limit
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._writing: dict[str, int] = {}
        self._size = sum(size for _, size, _ in self._entries())

    def load(
        self, sample: Sample, size: Size, image: NDArray[np.float32], map: NDArray[np.float32]
    ) -> None:
        """Fill arrays with a fitted sample: the bits are those of `Sample.load`.

        Args:
            sample: The sample.
            size: Height and width in pixels that it is fitted to.
            image: ``(*size, 3)`` float32, to fill.
            map: ``(*size, 1)`` float32, to fill.

        Raises:
            DataError: The sample is not cached, and one of its files cannot be used.
        """
        key = _key(sample, size)
        path = self._folder / key[:2] / f"{key}.f32"
        with suppress(OSError, ValueError):  # missing, or damaged: of another length
            cached = np.memmap(path, np.float32, "r", shape=(image.size + map.size,))
            image[:] = cached[: image.size].reshape(image.shape)
            map[:] = cached[image.size :].reshape(map.shape)
            self._used.add(key)
            return
        image[:], map[:] = sample.load(size)
        entry = np.concatenate([image, map], axis=None)
        self._used.add(key)
        if self._make_room(key, entry.nbytes):
            try:
                with atomic_path(path) as temporary:
                    entry.tofile(temporary)
            except MsinetError:  # a full disk costs time only
                self._limit = 0
            finally:
                with self._lock:
                    self._writing.pop(key, None)  # two samples may have one key

    def _make_room(self, key: str, size: int) -> bool:
        with self._lock:
            if self._limit and self._size + size > self._limit:
                self._remove_oldest(self._limit - max(size, self._limit // 10))
                if self._size + size > self._limit:
                    self._limit = 0  # this run uses all of it: do not search again
            fits = self._size + size <= self._limit
            if fits:
                self._size += size
                self._writing[key] = size
        return fits

    def _remove_oldest(self, wanted: int) -> None:
        """Remove entries until the rest has at most `wanted` bytes, or is in use."""
        entries = sorted(self._entries())
        # Other processes write and remove entries too. What this one writes may be there already.
        written = (size for _, size, path in entries if path.stem not in self._writing)
        self._size = sum(self._writing.values()) + sum(written)
        for _, size, path in entries:
            if self._size <= wanted:
                break
            if path.stem not in self._used:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    self._size -= size

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the time, the bytes and the path of each entry."""
        for path in self._folder.glob("*/*.f32"):
            with suppress(FileNotFoundError):  # another process has removed it
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def _key(sample: Sample, size: Size) -> str:
    parts = [f"v{FIT_VERSION}", "x".join(map(str, size)), sample.content()]
    parts.append(content_digest(sample.stimulus).hex())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def _limit() -> int:
    text = os.environ.get(CACHE_SIZE_VARIABLE) or DEFAULT_CACHE_GB
    try:
        limit = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise UsageError(
            f"Invalid {CACHE_SIZE_VARIABLE}: '{text}'; use a number of gigabytes, such as 20."
        )
    return limit


def cache_sizes() -> dict[str, int]:
    """Return the bytes of each part of the user's cache that can be created again."""
    sizes = dict.fromkeys(_PARTS, 0)
    for part in _PARTS:
        for path in (cache_folder() / part).rglob("*"):
            with suppress(FileNotFoundError):  # another process has removed it
                sizes[part] += path.stat().st_size * path.is_file()
    return sizes


def clear_cache() -> int:
    """Remove fitted samples and drawn maps; downloads and weights are kept.

    A running training creates the entries that it needs again.

    Returns:
        The number of bytes that were freed.
    """
    freed = sum(cache_sizes().values())
    for part in _PARTS:
        shutil.rmtree(cache_folder() / part, ignore_errors=True)
    return freed
