"""Print tables and notes: wrapped on a terminal, one line for each row in a pipe."""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import click

from msinet_core.errors import printable

_INDENT = "    "
_UNLIMITED = 1_000_000
"""Columns of a pipe or a file, where nothing is wrapped or cut."""

_NARROWEST = 20
"""Columns that a terminal is taken to have at least."""


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    notes: Sequence[Sequence[str]] = (),
    right: Sequence[str] = (),
    styles: Mapping[str, str] | None = None,
    to_stderr: bool = False,
) -> None:
    """Print rows under headings, then the rows' notes; nothing is cut off.

    Args:
        headings: One for each column; the first column names the row.
        rows: One text for each column.
        notes: For each row its notes, which may be long.
        right: Headings of columns that are aligned to the right, such as numbers.
        styles: How certain texts look on a terminal, as styles of rich.
        to_stderr: Whether to print to stderr.
    """
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # They may come from a file.
    rows = [[printable(cell, limit=len(cell)) for cell in row] for row in rows]
    rule = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    table = Table(
        box=rule, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    terminal = _terminal_width(to_stderr)
    for heading in headings:
        justify: Literal["right", "left"] = "right" if heading in right else "left"
        table.add_column(Text(heading), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))

    text = io.StringIO()
    console = Console(
        file=text,
        width=max(terminal or _UNLIMITED, _NARROWEST),
        force_terminal=terminal is not None,
        color_system=None if terminal is None else "standard",
    )
    console.print(table)
    for line in text.getvalue().splitlines():
        click.echo(line.rstrip(), err=to_stderr)
    for row, lines in zip(rows, notes, strict=False):
        if lines:
            click.echo(f"\n{click.style(row[0], bold=True)}", err=to_stderr)
            print_indented("\n".join(lines), to_stderr=to_stderr)


def fixed(value: float) -> str:
    """Format a number with three digits after the point; never as minus zero.

    Args:
        value: The number.
    """
    return f"{round(value, 3) + 0.0:.3f}"


def print_indented(text: str, *, to_stderr: bool = False) -> None:
    """Print lines under a title.

    Args:
        text: One or several lines; nothing is printed for an empty text.
        to_stderr: Whether to print to stderr.
    """
    width = max(_terminal_width(to_stderr) or _UNLIMITED, _NARROWEST)
    for line in text.splitlines():
        wrapped = textwrap.fill(
            line,
            width,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        click.echo(wrapped, err=to_stderr)


def _terminal_width(to_stderr: bool) -> int | None:
    """Return the width in columns; None if it is not a terminal."""
    stream = sys.stderr if to_stderr else sys.stdout
    return shutil.get_terminal_size().columns if stream.isatty() else None
