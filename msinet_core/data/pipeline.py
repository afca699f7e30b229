"""Batches in order, read by threads ahead of the device; their number changes nothing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msinet_core.errors import UsageError
from msinet_core.network.ops import Size
from msinet_core.network.state import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.data.sample import Sample

MAX_DEFAULT_WORKERS = 4
PREFETCH = 4


class BatchPipeline:
    """Read, fit and batch the samples of one split.

    Args:
        samples: What to read.
        image_size: Height and width in pixels that images and maps are fitted into.
        batch_size: Samples in a batch; the last of an epoch may have fewer.
        seed: Decides the order of every epoch, with its number.
        shuffle: Whether each epoch has an order of its own, or all have that of `samples`.
        workers: Threads that read; None for one a core, at most 4.
        prefetch: Batches that are read ahead of the one in use; this bounds the memory.
        shard: This worker's index and the number of workers. Each reads its own part of every
            batch; together, in their order, the parts are the batch that one worker would read.

    Raises:
        UsageError: A number is too small, or there is no such shard.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        image_size: Size,
        batch_size: int,
        *,
        seed: int = 42,
        shuffle: bool = False,
        workers: int | None = None,
        prefetch: int = PREFETCH,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        workers = min(MAX_DEFAULT_WORKERS, os.cpu_count() or 1) if workers is None else workers
        for name, value, least in (
            ("batch size", batch_size, 1),
            ("number of workers", workers, 1),
            ("number of batches to prefetch", prefetch, 1),
            ("seed", seed, 0),
        ):
            if value < least:
                raise UsageError(f"The {name} must be at least {least}. Received: {value}")
        if not 0 <= shard[0] < shard[1]:
            raise UsageError(f"There is no shard {shard[0]} of {shard[1]}; they count from 0.")
        self._samples = samples
        self._image_size = image_size
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._workers = workers
        self._prefetch = prefetch
        self._shard = shard

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._samples) // self._batch_size)

    @property
    def image_count(self) -> int:
        """The number of images in an epoch, over all workers."""
        return len(self._samples)

    def images_in(self, first: int, count: int) -> int:
        """Give the number of images in some batches, over all workers.

        Args:
            first: The first batch's place in an epoch.
            count: The number of batches.
        """
        before, after = (
            min(batch * self._batch_size, self.image_count) for batch in (first, first + count)
        )
        return after - before

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Give the places of the samples in the order of an epoch.

        Args:
            epoch: Its number, from 0; alone with the seed it decides the order.
        """
        if not self._shuffle:
            return np.arange(len(self._samples))
        rng = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        return rng.permutation(len(self._samples))

    def batches(self, epoch: int = 0, start: int = 0) -> Generator[Batch, None, None]:
        """Read an epoch, or the rest of it.

        Closing the iterator early, or losing it, stops the threads before it returns.

        Args:
            epoch: Its number, from 0.
            start: Batches to skip; they are not read.

        Yields:
            Images ``(N, *image_size, 3)`` in 0..255 and maps ``(N, *image_size, 1)`` in 0..1,
            float32, contiguous; none (N = 0) where a batch has fewer images than there are workers.

        Raises:
            DataError: A file cannot be used; raised in the place of the batch that it is in.
        """
        order = self.order(epoch)
        first = range(start * self._batch_size, len(order), self._batch_size)
        waiting = iter([self._part(order[place : place + self._batch_size]) for place in first])
        ahead: deque[_Pending] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="msinet-data")
        try:
            while True:
                while len(ahead) <= self._prefetch and (places := next(waiting, None)) is not None:
                    ahead.append(self._begin(pool, places))
                if not ahead:
                    return
                yield ahead.popleft().finish()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _part(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        index, count = self._shard
        return places[len(places) * index // count : len(places) * (index + 1) // count]

    def _begin(self, pool: ThreadPoolExecutor, places: NDArray[np.int64]) -> _Pending:
        count = len(places)
        images = np.empty((count, *self._image_size, 3), np.float32)
        maps = np.empty((count, *self._image_size, 1), np.float32)
        reads = [
            pool.submit(self._read, self._samples[place], images[row], maps[row])
            for row, place in enumerate(places)
        ]
        return _Pending(Batch(images, maps), reads)

    def _read(self, sample: Sample, image: NDArray[np.float32], map: NDArray[np.float32]) -> None:
        image[:], map[:] = sample.load(self._image_size)


class _Pending(NamedTuple):
    """A batch whose rows are still being filled."""

    batch: Batch
    reads: list[Future[None]]

    def finish(self) -> Batch:
        for read in self.reads:
            read.result()
        return self.batch
