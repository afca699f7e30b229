"""What a check of a device found, row by row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """What one scenario found.

    Args:
        id: The scenario's id.
        description: What it checks; a sentence.
        passed: None when the scenario does not apply to the device.
        difference: How far the device is from the reference, in the scenario's own measure; None
            when nothing could be compared.
        tolerance: The largest difference that passes.
        reason: Why it failed or does not apply; empty when it passed.
    """

    id: str
    description: str
    passed: bool | None
    difference: float | None = None
    tolerance: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it, with null for a difference that is no number."""
        row = asdict(self)
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
    """

    device: str
    precision: str
    seconds: float
    rows: tuple[Result, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        verdicts = [row.passed for row in self.rows]
        return True in verdicts and False not in verdicts

    @property
    def failed(self) -> tuple[Result, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.passed is False)

    def to_json(self) -> str:
        """Write the report as one JSON document."""
        document = {
            "device": self.device,
            "precision": self.precision,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "rows": [row.to_dict() for row in self.rows],
            "versions": dict(self.versions),
        }
        return json.dumps(document, indent=2)
