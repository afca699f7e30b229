"""Tables that lose nothing: whole lines in a pipe, and on a terminal what its width allows."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

import click

_GAP = "  "
_INDENT = "    "


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    notes: Sequence[Sequence[str]] = (),
    right: Sequence[str] = (),
    styles: Mapping[str, Mapping[str, str | bool]] | None = None,
    to_stderr: bool = False,
) -> None:
    """Print rows under headings, without cutting anything off.

    In a pipe or a file each row is one line, however long. On a terminal that is too narrow for
    the longest row, each row becomes a block of lines, one for each heading.

    Args:
        headings: One for each column; the first names the row.
        rows: One text for each column.
        notes: For each row the lines that stand under it, which may be long.
        right: Headings of columns that are aligned to the right, for numbers.
        styles: How certain texts look on a terminal, as arguments of `click.style`.
        to_stderr: Whether to print to stderr.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    terminal = shutil.get_terminal_size().columns if stream.isatty() else None
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    is_block = terminal is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > terminal
    lines = [] if is_block else _head(headings, widths, right)
    for place, row in enumerate(rows):
        if is_block:
            lines += _block(headings, row, styles or {})
        else:
            lines.append(_line(row, widths, [name in right for name in headings], styles or {}))
        for note in notes[place] if notes else ():
            lines += _wrapped(note, terminal)
    for line in lines:
        click.echo(line, err=to_stderr)


def print_indented(text: str) -> None:
    """Print lines under a title: wrapped on a terminal, whole in a pipe.

    Args:
        text: One or several lines; nothing is printed for an empty text.
    """
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in _wrapped(text, terminal):
        click.echo(line)


def _head(headings: Sequence[str], widths: Sequence[int], right: Sequence[str]) -> list[str]:
    bold: Mapping[str, Mapping[str, str | bool]] = {name: {"bold": True} for name in headings}
    rule = _GAP.join("-" * width for width in widths)
    return [_line(headings, widths, [name in right for name in headings], bold), rule]


def _line(
    cells: Sequence[str],
    widths: Sequence[int],
    to_right: Sequence[bool],
    styles: Mapping[str, Mapping[str, str | bool]],
) -> str:
    padded = []
    for place, (cell, width, is_right) in enumerate(zip(cells, widths, to_right, strict=True)):
        space = " " * (width - len(cell))
        shown = _styled(cell, styles)
        is_last = place == len(cells) - 1
        padded.append(space + shown if is_right else shown + ("" if is_last else space))
    return _GAP.join(padded)


def _block(
    headings: Sequence[str],
    row: Sequence[str],
    styles: Mapping[str, Mapping[str, str | bool]],
) -> list[str]:
    first, *others = zip(headings, row, strict=True)
    return [
        click.style(first[1], bold=True),
        *(f"{_INDENT}{name}: {_styled(cell, styles)}" for name, cell in others),
    ]


def _styled(cell: str, styles: Mapping[str, Mapping[str, str | bool]]) -> str:
    return click.style(cell, **styles[cell]) if cell in styles else cell  # type: ignore[arg-type]


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None:
        return [_INDENT + line for line in text.splitlines()]
    return [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(
            line,
            max(width, 20),
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
