"""How long work tells what it does; the command line shows it, everything else only reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """One piece of work with a known number of items; this one tells nobody."""

    def advance(self, count: int = 1, **fields: str) -> None:
        """Report finished items.

        Args:
            count: How many.
            fields: What to show beside them, for example ``loss="0.731"``.
        """


class Progress:
    """Takes reports of long work; this one tells nobody, and subclasses show them."""

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        """Begin a piece of work; it ends with the block.

        Args:
            description: What is done, for example ``"epoch 1/3"``.
            total: The number of items; done when `Task.advance` has counted as many. 0 for bytes
                of which nobody knows how many will come.
            unit: What an item is; ``"bytes"`` are shown as megabytes.
            done: How many of them were finished before, by an earlier process.
        """
        yield Task()

    def message(self, text: str) -> None:
        """Tell one line that stays.

        Args:
            text: A sentence.
        """


def as_progress(progress: bool | Progress) -> Progress:
    """Return a progress display for an argument of a public function.

    Args:
        progress: True for bars on stderr, False for none, or a display of the caller's own.
    """
    if isinstance(progress, Progress):
        return progress
    if not progress:
        return Progress()
    from msinet_core.system.progress_bars import progress_bars

    return progress_bars()
