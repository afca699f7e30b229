"""Read batches in threads ahead of the device, in an order that the threads do not affect."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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
"""Batches to read ahead of the one in use; more if that is too few to keep every thread busy."""

_FLIPS = 1
"""Separates the random numbers of flips from those of the order."""


def default_workers() -> int:
    """Return how many threads read images by default: one per core, at most 16."""
    return min(MAX_DEFAULT_WORKERS, available_cores())


@dataclass
class BatchPipeline:
    """Read, fit and batch the samples of one split.

    Args:
        samples: The samples.
        image_size: Height and width in pixels that images and maps are fitted to.
        batch_size: Samples in a batch; the last one of an epoch may have fewer.
        seed: Determines the order of each epoch, with the epoch's number.
        shuffle: Whether each epoch has its own random order, or that of `samples`.
        flip: Whether to mirror a random half of the images in each epoch, left to right.
        workers: Threads that read.
        shard: The index of this process and the number of processes. Each reads its own part of
            every batch; together, in order, the parts are the batch that one process would read.
        cache: Keeps fitted images and maps on disk; None to read and fit them in each epoch.
    """

    samples: Sequence[Sample]
    image_size: Size
    batch_size: int
    _: KW_ONLY
    seed: int = 42
    shuffle: bool = False
    flip: bool = False
    workers: int = field(default_factory=default_workers)
    shard: tuple[int, int] = (0, 1)
    cache: FittedCache | None = None

    @property
    def image_count(self) -> int:
        """The number of images in an epoch, over all processes."""
        return len(self.samples)

    def images_in(self, first: int, count: int) -> int:
        """Return the number of images in some batches, over all processes.

        Args:
            first: The index of the first batch in an epoch.
            count: The number of batches.
        """
        before, after = (
            min(batch * self.batch_size, self.image_count) for batch in (first, first + count)
        )
        return after - before

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the samples in the order of an epoch.

        Args:
            epoch: Its number, from 0; it determines the order together with the seed.
        """
        if not self.shuffle:
            return np.arange(len(self.samples))
        rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        return rng.permutation(len(self.samples))

    def flips(self, epoch: int) -> NDArray[np.bool_]:
        """Return whether each sample is mirrored in an epoch, by its index in `samples`.

        Args:
            epoch: Its number, from 0; it determines the flips together with the seed.
        """
        if not self.flip:
            return np.zeros(len(self.samples), bool)
        bits = np.random.PCG64([self.seed, epoch, _FLIPS]).random_raw(len(self.samples))
        return np.asarray(bits >> np.uint64(63), bool)

    def samples_in(self, batch: int) -> list[Sample]:
        """Return the samples of this process's part of a batch of the first epoch.

        Args:
            batch: The index of the batch in the epoch.
        """
        start = batch * self.batch_size
        part = self._part(self.order(0)[start : start + self.batch_size])
        return [self.samples[index] for index in part]

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
        first = range(start * self.batch_size, len(order), self.batch_size)
        waiting = iter([self._part(order[start : start + self.batch_size]) for start in first])
        ahead: deque[_Pending] = deque()
        prefetch = max(PREFETCH, self.workers * self.shard[1] // self.batch_size)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="msinet-data")
        try:
            while True:
                while len(ahead) <= prefetch and (part := next(waiting, None)) is not None:
                    ahead.append(self._begin(pool, part, flips[part]))
                if not ahead:
                    return
                yield ahead.popleft().finish()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _part(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        index, count = self.shard
        return batch[len(batch) * index // count : len(batch) * (index + 1) // count]

    def _begin(
        self, pool: ThreadPoolExecutor, indices: NDArray[np.int64], flips: NDArray[np.bool_]
    ) -> _Pending:
        count = len(indices)
        images = np.empty((count, *self.image_size, 3), np.float32)
        maps = np.empty((count, *self.image_size, 1), np.float32)
        reads = [
            pool.submit(self._read, self.samples[index], flip, images[row], maps[row])
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
        if self.cache is not None:
            self.cache.load(sample, self.image_size, image, map)
        else:
            image[:], map[:] = sample.load(self.image_size)


class _Pending(NamedTuple):
    """A batch whose rows are still being filled."""

    batch: Batch
    reads: list[Future[None]]

    def finish(self) -> Batch:
        for read in self.reads:
            read.result()
        return self.batch
