"""The batches of an epoch, and the time that training waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from msinet_core.network.state import Batch


class TimedReads:
    """Iterate over batches, and measure the time spent waiting for them.

    Args:
        batches: The batches.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.monotonic()
        try:
            return next(self._batches)
        finally:
            self._seconds += time.monotonic() - start

    def take_seconds(self) -> float:
        """Return the seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def groups(batches: Iterable[Batch], size: int) -> Iterator[Sequence[Batch]]:
    """Yield the batches of each optimizer step.

    Args:
        batches: The batches of an epoch.
        size: The batches in a step; the last one may have fewer.
    """
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
