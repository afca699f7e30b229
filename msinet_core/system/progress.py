"""Report the progress of long work; the command line shows it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """A piece of work with a known number of items; this one shows nothing."""

    def advance(self, count: int = 1, share: float | None = None, **fields: str) -> None:
        """Report finished items.

        Args:
            count: The number of items.
            share: The part of the time that has passed, if items differ in it; from 0 to 1.
            fields: What to show beside them, for example ``loss="0.731"``.
        """


class Progress:
    """Receive reports of long work; this one shows nothing, subclasses do."""

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        """Begin a piece of work; it ends with the block.

        Args:
            description: For example ``"epoch 1/3"``.
            total: The number of items; 0 for an unknown number of bytes.
            unit: What an item is; ``"bytes"`` are shown as megabytes.
            done: The number of items that an earlier process finished.
        """
        yield Task()

    def message(self, text: str) -> None:
        """Show one line that stays.

        Args:
            text: A sentence.
        """

    def warn(self, text: str) -> None:
        """Show one line about what may be wrong, as a Python warning if no line is shown.

        Args:
            text: A sentence.
        """
        warnings.warn(text, stacklevel=2)
