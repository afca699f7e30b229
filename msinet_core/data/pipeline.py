"""Read batches in threads ahead of the device, in an order that the threads do not affect."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msinet_core.errors import UsageError
from msinet_core.network.ops import Size
from msinet_core.network.state import Batch
from msinet_core.system.resources import available_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.data.cache import FittedCache
    from msinet_core.data.sample import Sample

MAX_DEFAULT_WORKERS = 16
"""A thread reads about 180 images a second, and a fast GPU trains on a thousand."""

PREFETCH = 4

_FLIPS = 1
"""Separates the random numbers of flips from those of the order."""


def default_workers() -> int:
    """Return how many threads read images by default: one per core, at most 16."""
    return min(MAX_DEFAULT_WORKERS, available_cores() or 1)


class BatchPipeline:
    """Read, fit and batch the samples of one split.

    Args:
        samples: The samples.
        image_size: Height and width in pixels that images and maps are fitted to.
        batch_size: Samples in a batch; the last one of an epoch may have fewer.
        seed: Determines the order of each epoch, with the epoch's number.
        shuffle: Whether each epoch has its own random order, or that of `samples`.
        flip: Whether to mirror a random half of the images in each epoch, left to right.
        workers: Threads that read; None for one per core, at most 16.
        prefetch: Batches to read ahead of the one in use; this bounds the memory. None for 4, or
            for as many as keep every thread busy.
        shard: The index of this process and the number of processes. Each reads its own part of
            every batch; together, in order, the parts are the batch that one process would read.
        cache: Keeps fitted images and maps on disk; None to read and fit them in each epoch.

    Raises:
        UsageError: A number is too small, or the shard does not exist.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        image_size: Size,
        batch_size: int,
        *,
        seed: int = 42,
        shuffle: bool = False,
        flip: bool = False,
        workers: int | None = None,
        prefetch: int | None = None,
        shard: tuple[int, int] = (0, 1),
        cache: FittedCache | None = None,
    ) -> None:
        workers = default_workers() if workers is None else workers
        if prefetch is None:
            prefetch = max(PREFETCH, workers * shard[1] // max(batch_size, 1))
        for name, value, minimum in (
            ("batch size", batch_size, 1),
            ("number of workers", workers, 1),
            ("number of batches to prefetch", prefetch, 1),
            ("seed", seed, 0),
        ):
            if value < minimum:
                raise UsageError(f"The {name} must be at least {minimum}. Received: {value}")
        if not 0 <= shard[0] < shard[1]:
            raise UsageError(f"No such shard: {shard[0]} of {shard[1]}, counted from 0.")
        self._samples = samples
        self._image_size = image_size
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._flip = flip
        self.workers = workers
        self._prefetch = prefetch
        self._shard = shard
        self._cache = cache

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._samples) // self._batch_size)

    @property
    def image_count(self) -> int:
        """The number of images in an epoch, over all processes."""
        return len(self._samples)

    def images_in(self, first: int, count: int) -> int:
        """Return the number of images in some batches, over all processes.

        Args:
            first: The index of the first batch in an epoch.
            count: The number of batches.
        """
        before, after = (
            min(batch * self._batch_size, self.image_count) for batch in (first, first + count)
        )
        return after - before

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the samples in the order of an epoch.

        Args:
            epoch: Its number, from 0; it determines the order together with the seed.
        """
        if not self._shuffle:
            return np.arange(len(self._samples))
        rng = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        return rng.permutation(len(self._samples))

    def flips(self, epoch: int) -> NDArray[np.bool_]:
        """Return whether each sample is mirrored in an epoch, by its index in `samples`.

        Args:
            epoch: Its number, from 0; it determines the flips together with the seed.
        """
        if not self._flip:
            return np.zeros(len(self._samples), bool)
        bits = np.random.PCG64([self._seed, epoch, _FLIPS]).random_raw(len(self._samples))
        return np.asarray(bits >> np.uint64(63), bool)

    def samples(self, batch: int, epoch: int = 0) -> list[Sample]:
        """Return the samples of this process's part of a batch.

        Args:
            batch: The index of the batch in the epoch.
            epoch: The number of the epoch, from 0.
        """
        start = batch * self._batch_size
        part = self._part(self.order(epoch)[start : start + self._batch_size])
        return [self._samples[index] for index in part]

    def batches(self, epoch: int = 0, start: int = 0) -> Generator[Batch, None, None]:
        """Read an epoch, or the rest of it.

        Closing or dropping the iterator early stops the threads before it returns.

        Args:
            epoch: Its number, from 0.
            start: Batches to skip; they are not read.

        Yields:
            Images ``(N, *image_size, 3)`` in 0..255 and maps ``(N, *image_size, 1)`` in 0..1,
            float32, contiguous; N is 0 if a batch has fewer images than there are processes.

        Raises:
            DataError: A file cannot be used; raised instead of its batch.
        """
        order, flips = self.order(epoch), self.flips(epoch)
        first = range(start * self._batch_size, len(order), self._batch_size)
        waiting = iter([self._part(order[start : start + self._batch_size]) for start in first])
        ahead: deque[_Pending] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="msinet-data")
        try:
            while True:
                while len(ahead) <= self._prefetch and (part := next(waiting, None)) is not None:
                    ahead.append(self._begin(pool, part, flips[part]))
                if not ahead:
                    return
                yield ahead.popleft().finish()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _part(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        index, count = self._shard
        return batch[len(batch) * index // count : len(batch) * (index + 1) // count]

    def _begin(
        self, pool: ThreadPoolExecutor, indices: NDArray[np.int64], flips: NDArray[np.bool_]
    ) -> _Pending:
        count = len(indices)
        images = np.empty((count, *self._image_size, 3), np.float32)
        maps = np.empty((count, *self._image_size, 1), np.float32)
        reads = [
            pool.submit(self._read, self._samples[index], flip, images[row], maps[row])
            for row, (index, flip) in enumerate(zip(indices, flips, strict=True))
        ]
        return _Pending(Batch(images, maps), reads)

    def _read(
        self,
        sample: Sample,
        flip: bool,
        image: NDArray[np.float32],
        map: NDArray[np.float32],
    ) -> None:
        columns = slice(None, None, -1 if flip else 1)
        image, map = image[:, columns], map[:, columns]
        if self._cache is not None:
            self._cache.load(sample, self._image_size, image, map)
        else:
            image[:], map[:] = sample.load(self._image_size)


class _Pending(NamedTuple):
    """A batch whose rows are still being filled."""

    batch: Batch
    reads: list[Future[None]]

    def finish(self) -> Batch:
        for read in self.reads:
            read.result()
        return self.batch
