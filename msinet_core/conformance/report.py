"""What a check of a device found, row by row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal[
    "passed",
    "failed",
    "passed unexpectedly",
    "expected failure",
    "not applicable",
    "left out",
]
"""What became of a row; the second and the third are failures."""

FAILURES: tuple[Status, ...] = ("failed", "passed unexpectedly")


@dataclass(frozen=True)
class Result:
    """What one scenario found.

    Args:
        id: The scenario's id.
        description: What it checks; a sentence.
        status: What became of it.
        difference: How far the device is from the reference, in the scenario's own measure; None
            when nothing could be compared.
        tolerance: The largest difference that passes.
        reason: Why it failed, does not apply or may fail; empty when it passed.
        seconds: How long it took.
        error: What the device raised, if it raised; not in JSON.
    """

    id: str
    description: str
    status: Status
    difference: float | None = None
    tolerance: float | None = None
    reason: str = ""
    seconds: float = 0.0
    error: BaseException | None = field(default=None, compare=False, repr=False)

    @property
    def passed(self) -> bool | None:
        """Whether it passed; None when it did not count."""
        if self.status in FAILURES:
            return False
        return True if self.status == "passed" else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it, with null for a difference that is no number."""
        row = {name: value for name, value in vars(self).items() if name != "error"}
        row |= {"passed": self.passed, "seconds": round(self.seconds, 4)}
        if self.difference is not None and not math.isfinite(self.difference):
            row["difference"] = None
        return row


@dataclass(frozen=True)
class Report:
    """What every scenario found about one device.

    Args:
        device: Its name.
        precision: What it computed in.
        seconds: How long the check took.
        rows: In the order of the scenario list.
        versions: Of what the device computes with, by distribution.
        options: What the device was opened with.
        available: Whether the device opened.
        complete: Whether every row was checked; not when somebody interrupted.
        likeness: What the failures look like, in a sentence; empty when nothing is known.
        facts: What a page tells beside: date, hardware, plugin.
    """

    device: str
    precision: str
    seconds: float
    rows: tuple[Result, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    available: bool = True
    complete: bool = True
    likeness: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether everything was checked, something applied, and nothing failed."""
        verdicts = [row.passed for row in self.rows]
        return self.complete and True in verdicts and False not in verdicts

    @property
    def failed(self) -> tuple[Result, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.passed is False)

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many rows there are of each status that occurs."""
        return Counter(row.status for row in self.rows)

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        told = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        if not self.complete:
            said = "was not checked to the end"
        elif not self.available:
            said = "did not open"
        else:
            said = f"{'agrees' if self.passed else 'does NOT agree'} with the reference"
        return f"Device '{self.device}' ({self.precision}) {said}: {told}; {self.seconds:.1f} s."

    def to_json(self) -> str:
        """Write the report as one JSON document."""
        document = {
            "device": self.device,
            "precision": self.precision,
            "options": dict(self.options),
            "available": self.available,
            "complete": self.complete,
            "passed": self.passed,
            "counts": dict(self.counts),
            "likeness": self.likeness,
            "seconds": round(self.seconds, 3),
            "rows": [row.to_dict() for row in self.rows],
            "versions": dict(self.versions),
            "facts": dict(self.facts),
        }
        return json.dumps(document, indent=2)
