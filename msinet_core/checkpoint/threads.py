"""Work on many tensors at once: hashing, copying and reading large arrays release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_THREADS = 8
"""More threads only wait for memory, and each may hold a copy of a tensor."""


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function with every item, in several threads.

    Args:
        function: Called for several items at the same time.
        items: Its arguments.

    Returns:
        The results in the order of the items; the first exception in that order is raised.
    """
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
