"""The table of results: of one machine or of several, for the terminal and for the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msinet_core.benchmark.results import WORKS, Results, case_of

MEBIBYTE = 2**20
_NONE = "-"


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Args:
        headings: One for each column.
        rows: One text for each column.
        notes: Why some combinations could not be measured, and other lines below the table.
        numbers: The headings of columns that hold numbers.
    """

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]
    numbers: tuple[str, ...]


_Row = Mapping[str, Any]
_Cell = Callable[[Results, _Row, str], str]

_NAMES: Mapping[str, _Cell] = {
    "device": lambda results, row, work: row["device"],
    "precision": lambda results, row, work: row["precision"],
    "batch": lambda results, row, work: str(row["batch_size"]),
    "work": lambda results, row, work: work,
}

_NUMBERS: Mapping[str, _Cell] = {
    "bare images/s": lambda results, row, work: rate_text(row[work]["bare_images_per_s"]),
    "whole images/s": lambda results, row, work: rate_text(row[work]["whole_images_per_s"]),
    "share": lambda results, row, work: f"{row[work]['share']:.0%}",
    "TFLOP/s": lambda results, row, work: f"{row[work]['tflops']:.3g}",
    "of peak": lambda results, row, work: f"{row[work]['peak_share']:.0%}",
    "compile s": lambda results, row, work: f"{row[work]['compile_seconds']:.1f}",
    "MiB": lambda results, row, work: f"{row['memory']['process'] / MEBIBYTE:.0f}",
    "GPU MiB": lambda results, row, work: _or_none(row["memory"]["gpu"], 1 / MEBIBYTE, ".0f"),
    "J/image": lambda results, row, work: _or_none(row[work]["joules_per_image"], 1, ".3g"),
}


def make_table(machines: Sequence[Results], baseline: str | None = None) -> Table:
    """Return the rows of all machines in one table; columns that are empty are left out.

    Args:
        machines: The results of each machine.
        baseline: A device; each rate is also given as a multiple of that device's first row on
            the same machine.
    """
    names, numbers = dict(_NAMES), dict(_NUMBERS)
    if len({results.describe_machine() for results in machines}) > 1:
        names = {"machine": lambda results, row, work: machine_name(results), **_NAMES}
    if baseline is not None:
        numbers[f"x {baseline}"] = lambda results, row, work: _speed_up(
            results, row, work, baseline
        )
    rows = []
    for results, row, work in _lines(machines):
        failed = row["status"] != "ok"
        texts = [cell(results, row, row["status"] if failed else work) for cell in names.values()]
        texts += [_NONE if failed else cell(results, row, work) for cell in numbers.values()]
        rows.append(texts)
    columns = zip((*names, *numbers), *rows, strict=True)
    used = [
        (heading, *texts)
        for heading, *texts in columns
        if heading in names or any(text != _NONE for text in texts)
    ]
    headings, *texts_by_row = zip(*used, strict=True)
    return Table(headings, texts_by_row, list(_notes(machines, baseline)), tuple(numbers))


def _notes(machines: Sequence[Results], baseline: str | None) -> Iterator[str]:
    for results in machines:
        for row in results.failures():
            yield f"{case_of(row)}: {row['reason']}"
        if baseline is not None and _first_row(results, baseline) is None:
            yield f"The baseline '{baseline}' was not measured on {machine_name(results)}."


def machine_name(results: Results) -> str:
    """Return the short name of a machine: its GPUs, else its processor.

    Args:
        results: What was measured on it.
    """
    return ", ".join(results.machine["gpus"]) or str(results.machine["chip"])


def rate_text(value: float) -> str:
    """Format a rate with three digits.

    Args:
        value: Images per second.
    """
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _lines(machines: Sequence[Results]) -> Iterator[tuple[Results, _Row, str]]:
    for results in machines:
        for row in results.results:
            works: list[str] = [work for work in WORKS if work in row]
            yield from ((results, row, work) for work in works or [""])


def _speed_up(results: Results, row: _Row, work: str, baseline: str) -> str:
    first = _first_row(results, baseline)
    if first is None or work not in first:
        return _NONE
    return f"{row[work]['whole_images_per_s'] / first[work]['whole_images_per_s']:.2f}"


def _first_row(results: Results, device: str) -> _Row | None:
    return next((row for row in results.measured() if row["device"] == device), None)


def _or_none(value: float | None, factor: float, format: str) -> str:
    return _NONE if value is None else f"{value * factor:{format}}"
