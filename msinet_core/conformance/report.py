"""The result of a check, as data and as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msinet_core.errors import UsageError, os_reason

Status = Literal[
    "passed", "failed", "passed unexpectedly", "expected failure", "not applicable", "skipped"
]

FAILURES: tuple[Status, ...] = ("failed", "passed unexpectedly")

FROM_SMALL_TO_LARGE = (
    *("description", "device/opens", "device/unavailable", "state", "forward", "loss", "gradient"),
    *("adam", "numerics", "network", "device", "train", "calls", "use", "memory"),
)
"""Groups, and rows that come before their groups, by how much of a device they use."""

_OF_LONG_SUMS = ("train/four-updates", "train/resumed", "train/resumed-from-file", "numerics/")
"""Rows that fail alone if sums over many values lose digits."""


@dataclass(frozen=True)
class Result:
    """The result of one row.

    Args:
        id: The row's id.
        description: What must hold; one sentence.
        status: The outcome.
        difference: How far the device is from the reference; None if nothing was compared.
        tolerance: The largest difference that passes.
        reason: Why it failed, does not apply, was skipped or may fail; empty if it passed.
        seconds: How long it took.
        error: The device's exception, if it raised; not in JSON.
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
    def group(self) -> str:
        """The part of the id before the slash."""
        return self.id.split("/")[0]

    @property
    def passed(self) -> bool | None:
        """Whether it passed; None if it does not count."""
        if self.status in FAILURES:
            return False
        return True if self.status == "passed" else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON, with null for a difference that is not finite."""
        row = {name: value for name, value in vars(self).items() if name != "error"}
        row |= {"passed": self.passed, "seconds": round(self.seconds, 4)}
        if self.difference is not None and not math.isfinite(self.difference):
            row["difference"] = None
        return row


@dataclass(frozen=True)
class Report:
    """The result of checking one device.

    Args:
        device: Its name.
        precision: The precision that it computed in.
        seconds: How long the check took.
        rows: In the order of the list of rows.
        versions: The versions of what the device computes with, by distribution.
        options: The device options.
        available: Whether the device opened.
        complete: Whether every row was checked; False after Ctrl-C.
        likeness: Which known fault the failures look like; empty if none.
        facts: Date, hardware and plugin.
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
        """Whether every row was checked, at least one passed, and none failed."""
        results = {row.passed for row in self.rows}
        return self.complete and True in results and False not in results

    @property
    def failed(self) -> tuple[Result, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.passed is False)

    @property
    def next_step(self) -> str:
        """Where to look first: the failed row that uses least of the device; empty if none."""
        if not self.failed:
            return ""
        order = {name: index for index, name in enumerate(FROM_SMALL_TO_LARGE)}
        first = min(
            self.failed, key=lambda row: order.get(row.id, order.get(row.group, len(order)))
        )
        more = ", which uses least of the device" if self.failed[1:] else ""
        text = f"Start with {first.id}{more}."
        if all(row.id.startswith(_OF_LONG_SUMS) for row in self.failed):
            text += (
                " Only long sums are off: gradients of biases, means or losses are probably summed "
                "one after another, or in 16 bits."
            )
        return text

    @property
    def counts(self) -> Mapping[Status, int]:
        """The number of rows by status."""
        return Counter(row.status for row in self.rows)

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        if not self.complete:
            result = "was not fully checked"
        elif not self.available:
            result = "did not open"
        else:
            result = f"{'agrees' if self.passed else 'does NOT agree'} with the reference"
        return f"Device '{self.device}' ({self.precision}) {result}: {counts}; {self.seconds:.1f} s"

    def to_json(self) -> str:
        """Return the report as one JSON document."""
        document = {name: value for name, value in vars(self).items() if name != "rows"}
        document |= {
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
            "counts": self.counts,
            "rows": [row.to_dict() for row in self.rows],
        }
        return json.dumps(document, indent=2)


def failed_rows(path: Path) -> list[str]:
    """Return the ids of the rows that failed in a report.

    Args:
        path: A JSON report.

    Raises:
        UsageError: The file cannot be read, is not a report, or no row failed.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        failed = [str(row["id"]) for row in rows if row["passed"] is False]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os_reason(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a JSON report of plugins check") from error
    if not failed:
        raise UsageError(f"no row failed in {path}")
    return failed
