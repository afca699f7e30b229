"""Writes the tables of docs/reference/conformance.md; ``python -m`` and FILE bring them up to date.

A table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; what is around it is written by
hand. The table of a row's faults is what the kit's own tests run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import groupby
from pathlib import Path

from msinet_core.conformance.faults import FAULTS
from msinet_core.conformance.runner import ALL_SCENARIOS
from msinet_core.conformance.scenario import MISSING_CAPABILITY, Scenario
from msinet_core.conformance.tolerances import REASONS, TOLERANCES, Tolerances
from msinet_core.device import PRECISIONS
from msinet_core.system.files import write_text


def tables() -> Mapping[str, str]:
    """Make every table of the document, by name: one for each group of rows, and three more."""
    found = {
        f"rows {group}": "\n".join(_rows(tuple(scenarios)))
        for group, scenarios in groupby(ALL_SCENARIOS, lambda scenario: scenario.group)
    }
    return found | {
        "tolerances": "\n".join(_tolerances()),
        "capabilities": "\n".join(_capabilities()),
        "faults": "\n".join(_faults()),
    }


def fill_in(text: str) -> str:
    """Put the tables in their places.

    Args:
        text: The document.

    Raises:
        ValueError: It has no place for a table.
    """
    for name, table in tables().items():
        place = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        filled = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
        text, count = place.subn(lambda match, filled=filled: filled, text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"The document needs one place for the table '{name}', has {count}.")
    return text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _rows(scenarios: Sequence[Scenario]) -> Iterator[str]:
    caught = _caught()
    return _table(
        ("row", "what must hold", "held to", "wrong devices that it catches"),
        [
            (f"`{row.id}`", row.description, row.measure, "; ".join(caught[row.id]))
            for row in scenarios
        ],
    )


@cache
def _caught() -> Mapping[str, Sequence[str]]:
    names: dict[str, list[str]] = {}
    for fault in FAULTS:
        for scenario in fault.scenarios:
            names.setdefault(scenario.id, []).append(fault.name)
    return names


def _tolerances() -> Iterator[str]:
    return _table(
        ("held to", *PRECISIONS, "relative to what, and why"),
        [
            (
                field.name,
                *(f"{getattr(TOLERANCES[name], field.name):g}" for name in PRECISIONS),
                REASONS[field.name],
            )
            for field in fields(Tolerances)
        ],
    )


def _capabilities() -> Iterator[str]:
    return _table(
        ("without", "the report says", "rows"),
        [
            (
                f"`{name}`",
                reason,
                _named([scenario for scenario in ALL_SCENARIOS if name in scenario.needs]),
            )
            for name, reason in MISSING_CAPABILITY.items()
        ],
    )


def _named(scenarios: Sequence[Scenario]) -> str:
    """Name few rows, and count many by group."""
    if len(scenarios) <= 6:
        return ", ".join(f"`{scenario.id}`" for scenario in scenarios)
    groups = groupby(scenarios, lambda scenario: scenario.group)
    return ", ".join(f"{len(list(rows))} of `{group}/`" for group, rows in groups)


def _faults() -> Iterator[str]:
    return _table(
        ("wrong device", "rows that must catch it"),
        [(fault.name, ", ".join(f"`{row}`" for row in fault.rows)) for fault in FAULTS],
    )


if __name__ == "__main__":
    document = Path(sys.argv[1])
    write_text(document, fill_in(document.read_text(encoding="utf-8")))
