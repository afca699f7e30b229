"""Work on many files or tensors at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from msinet_core.system.progress import Progress
from msinet_core.system.resources import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_THREADS = 8
"""For tensors: more threads only wait for memory, and each may hold a copy of one."""


def in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Generator[Result, None, None]:
    """Yield a function's result for each item, in order; threads work ahead.

    When the loop ends early, items that no thread has begun are dropped.

    Args:
        function: Called for several items at the same time.
        items: Its arguments.
        description: Of the work, for the progress.
        progress: Shows progress.
        workers: Threads; None: by the number of cores.
    """
    with (
        (progress or Progress()).task(description, len(items)) as task,
        ThreadPoolExecutor(workers or available_cores()) as pool,
    ):
        for result in pool.map(function, items):
            yield result
            task.advance()


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function with every tensor: hashing, copying and reading them release the GIL.

    Args:
        function: Called for several items at the same time.
        items: Its arguments.

    Returns:
        The results in the order of the items; the first exception in that order is raised.
    """
    with ThreadPoolExecutor(min(_MAX_THREADS, available_cores())) as pool:
        return list(pool.map(function, items))
