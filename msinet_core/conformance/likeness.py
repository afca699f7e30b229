"""Find the known fault that fails the same rows as a device."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from msinet_core.conformance.report import Result

KNOWN_FAULTS = Path(__file__).with_name("known_faults.json")
"""The quick rows, and by number those that each wrong device fails; `tests.faults.known` writes
it."""

_ENOUGH = 0.9
"""The share of failed rows that a fault and the device must have in common to be alike."""

_MOST = 3
"""If more faults than this are equally likely, none is named."""


def likeness(rows: Sequence[Result]) -> str:
    """Name the known fault that a device seems to have; empty if none fits.

    The rows that the device failed are compared with those that each of the wrong devices fails
    with which the kit is tested.

    Args:
        rows: The results, in any order.
    """
    checked = {row.id for row in rows if row.passed is not None}
    failed = {row.id for row in rows if row.passed is False}
    raised = {row.id for row in rows if row.passed is False and row.error is not None}
    if 2 * len(raised) >= len(failed):  # then the exceptions explain more
        return ""
    known = known_faults()
    quick = checked & set().union(*known.values())
    scores = {name: _overlap(fails & quick, failed & quick) for name, fails in known.items()}
    best = max(scores.values())
    alike = [f"'{name}'" for name, score in scores.items() if score == best]
    if best < _ENOUGH or len(alike) > _MOST:
        return ""
    return (
        f"Nearly the same rows fail with this mistake: {' or '.join(alike)}. The page "
        f"'Conformance' of the documentation lists wrong devices."
    )


def known_faults() -> Mapping[str, Set[str]]:
    """Return the ids of the rows that each known fault fails."""
    table = json.loads(KNOWN_FAULTS.read_text(encoding="utf-8"))
    return {name: {table["rows"][i] for i in fails} for name, fails in table["faults"].items()}


def _overlap(one: Set[str], other: Set[str]) -> float:
    return len(one & other) / (len(one | other) or 1)
