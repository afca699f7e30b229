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

    In a pipe or a file each row is one line, however long. On a terminal that is too narrow, cells
    are wrapped; where that is not enough, each row becomes a block of lines, one for each heading.

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
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if terminal is not None:
        widths = _narrowed(widths, columns, terminal - len(_GAP) * (len(widths) - 1))
    to_right = [name in right for name in headings]
    lines = _head(headings, widths, to_right) if widths else []
    for place, row in enumerate(rows):
        if widths:
            lines += _lines(row, widths, to_right, styles or {})
        else:
            lines += _block(headings, row, styles or {})
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


def _narrowed(widths: Sequence[int], columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Take from the widest columns what is too much; none where words would have to be cut."""
    narrow = list(widths)
    least = [
        max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns
    ]
    while sum(narrow) > room:
        spare = [width if width > low else 0 for width, low in zip(narrow, least, strict=True)]
        if not any(spare):
            return []
        narrow[spare.index(max(spare))] -= 1
    return narrow


def _head(headings: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> list[str]:
    bold: Mapping[str, Mapping[str, str | bool]] = {name: {"bold": True} for name in headings}
    rule = _GAP.join("-" * width for width in widths)
    return [*_lines(headings, widths, to_right, bold), rule]


def _lines(
    cells: Sequence[str],
    widths: Sequence[int],
    to_right: Sequence[bool],
    styles: Mapping[str, Mapping[str, str | bool]],
) -> list[str]:
    columns = []
    for place, (cell, width, is_right) in enumerate(zip(cells, widths, to_right, strict=True)):
        is_last = place == len(cells) - 1
        column = []
        for part in _parts(cell, width):
            space = " " * (width - len(part))
            shown = click.style(part, **styles[cell]) if cell in styles else part  # type: ignore[arg-type]
            column.append(space + shown if is_right else shown + ("" if is_last else space))
        columns.append(column)
    blanks = [" " * width for width in widths[:-1]] + [""]
    height = max(map(len, columns))
    return [
        _GAP.join(
            column[line] if line < len(column) else blank
            for column, blank in zip(columns, blanks, strict=True)
        ).rstrip()
        for line in range(height)
    ]


def _parts(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)


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
