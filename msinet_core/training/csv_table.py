"""The CSV files of a run folder, whose rows belong to steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def csv_text(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], *, header: bool = True
) -> str:
    """Return rows as the text of a CSV file.

    Args:
        names: The columns; other keys of the rows are left out.
        rows: The values by column.
        header: Whether to begin with the names.
    """
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Return the rows of a table that a resumed run keeps; the later ones are repeated.

    Args:
        path: A CSV file with the column ``step``; it may be missing.
        step: The step that the run continues after; 0 for a new run.
    """
    if not step or not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return [row for row in csv.DictReader(stream) if _is_step(row, step)]


def _is_step(row: Mapping[str, str | None], last: int) -> bool:
    step = row.get("step") or ""
    complete = None not in row.values()  # a kill may have cut the last row short
    return complete and step.isdigit() and int(step) <= last
