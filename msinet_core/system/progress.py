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
