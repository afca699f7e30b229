"""Write figures of Matplotlib to files."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.errors import UsageError
from msinet_core.system.files import atomic_path, check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLOT_FORMATS = ("png", "svg", "pdf")


def plot_format(path: Path) -> str:
    """Return the format of a plot by its file name.

    Args:
        path: The file to create: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
    """
    format = path.suffix.lower().removeprefix(".")
    if format not in _PLOT_FORMATS:
        suffixes = ", ".join(f".{known}" for known in _PLOT_FORMATS)
        raise UsageError(
            f"Unknown format of the plot '{path.name}'. Use one of these suffixes: {suffixes}"
        )
    return format


@contextmanager
def figures_released() -> Iterator[None]:
    """Release at the end of a block, or of a decorated function, the figures that it drew.

    Figures are reference cycles, and Python looks for old ones only when there are a quarter as
    many new objects as old ones. Beside a framework with a million objects these are the figures
    of many epochs. A new object stays young, and quickly found, while nothing is collected.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        if enabled:
            gc.enable()


def check_plot(path: Path) -> None:
    """Refuse a plot that cannot be written, before long work whose result would be lost.

    Args:
        path: The file to create or replace: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
        MsinetError: The file system refused.
    """
    plot_format(path)
    check_writable(path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the file name.

    Args:
        figure: The figure.
        path: The file to create or replace: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
        MsinetError: The file system refused.
    """
    format = plot_format(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=format)
