"""The results of a benchmark: a versioned JSON file that records where and how it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from msinet_core.benchmark.settings import BenchSettings, Case
from msinet_core.errors import MsinetError, UsageError, os_reason
from msinet_core.hardware.host import command_output
from msinet_core.hardware.machine import describe_machine, this_machine
from msinet_core.registry.measured import Measured, Work
from msinet_core.system.files import write_text
from msinet_core.system.version import __version__

FORMAT = 1
"""The version of the file; a reader refuses any other."""

WORKS: tuple[Work, ...] = ("predict", "train")

_RATES = ("bare_images_per_s", "whole_images_per_s", "share", "tflops", "peak_share")


@dataclass
class Results:
    """What was measured on one machine.

    Args:
        machine: The hardware and the system, as checkpoints record them.
        settings: The settings that all rows share.
        msinet: The version of msinet.
        commit: The commit of its source; empty for an installed package.
        date: When the measurement began, in ISO format.
        results: A row for each combination of device, precision and batch size, as
            `msinet_core.bench` describes it.
    """

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    msinet: str = __version__
    commit: str = ""
    date: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def new(cls, settings: BenchSettings) -> Results:
        """Return results without rows for this machine and now.

        Args:
            settings: What is measured.
        """
        source = str(Path(__file__).parents[1])
        return cls(
            this_machine(),
            settings.shared(),
            commit=command_output("git", "-C", source, "log", "-1", "--format=%h", "--", "."),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a file that `write` wrote.

        Args:
            path: The file.

        Raises:
            UsageError: The file does not exist.
            MsinetError: It cannot be read, or another version of msinet wrote it.
        """
        found = read_results(path)
        if len(found) != 1:
            raise MsinetError(
                f"{path} has the results of {len(found)} measurements, so none can be continued. "
                f"Choose another file."
            )
        return found[0]

    def write(self, path: Path) -> None:
        """Write the results atomically.

        Args:
            path: The file to create or replace.

        Raises:
            MsinetError: The file cannot be written.
        """
        write_text(path, self.to_json() + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Return the results as a JSON document."""
        return {"msinet_bench": FORMAT, **asdict(self)}

    def to_json(self) -> str:
        """Return the results as the text of a JSON document."""
        return json.dumps(self.to_dict(), indent=2)

    def describe_machine(self) -> str:
        """Return the machine in one line."""
        return describe_machine(self.machine)

    def measured(self) -> list[dict[str, Any]]:
        """Return the rows that were measured, without failures."""
        return [row for row in self.results if row["status"] == "ok"]

    def failures(self) -> list[dict[str, Any]]:
        """Return the rows that could not be measured."""
        return [row for row in self.results if row["status"] != "ok"]

    def fastest(self, work: str) -> dict[str, Any] | None:
        """Return the row that does a work fastest as a command; None if no row does it.

        Args:
            work: ``"predict"`` or ``"train"``.
        """
        rows = [row for row in self.measured() if work in row]
        return max(rows, key=lambda row: float(row[work]["whole_images_per_s"]), default=None)

    def fastest_sentence(self) -> str:
        """Say which device, precision and batch size are fastest; empty without measurements."""
        found = [(work, self.fastest(work)) for work in WORKS]
        parts = [f"{work} {case_of(row).options()}" for work, row in found if row is not None]
        return f"Fastest here: {'; '.join(parts)}" if parts else ""

    def difference(self, other: Results) -> str:
        """Say what keeps rows of two results from standing side by side; empty if nothing does.

        Args:
            other: Results of now, for this machine.
        """
        settings = {
            f"{name}={self.settings.get(name)}": f"{name}={value}"
            for name, value in other.settings.items()
            if value != self.settings.get(name)
        }
        for name, before, now in (
            ("on another machine", self.describe_machine(), other.describe_machine()),
            ("with another version of msinet", self.msinet, other.msinet),
            ("with other settings", ", ".join(settings), ", ".join(settings.values())),
        ):
            if before != now:
                return f"{name} ({before}; now {now})"
        return ""


def read_results(path: Path) -> list[Results]:
    """Read a file that `Results.write` wrote, or one in which ``bench --from`` joined several.

    Args:
        path: The file.

    Raises:
        UsageError: The file does not exist.
        MsinetError: It cannot be read, or another version of msinet wrote it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        documents = content if isinstance(content, list) else [content]
        if not documents:
            raise ValueError("it is empty")
        return [_results(document, path) for document in documents]
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except OSError as error:
        raise MsinetError(f"Could not read {path}: {os_reason(error)}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise MsinetError(
            f"{path} does not contain benchmark results: {reason}. Results are written by: "
            f"msinet-run bench --json FILE"
        ) from error


def _results(document: Any, path: Path) -> Results:
    if not isinstance(document, dict):
        raise TypeError("it is not an object")
    version = document.pop("msinet_bench")
    if version != FORMAT:
        raise MsinetError(
            f"{path} has version {version} of the benchmark format, and this msinet reads "
            f"version {FORMAT}. Measure again, or use the msinet that wrote it "
            f"({document.get('msinet', 'unknown version')})."
        )
    results = Results(**document)
    for row in results.results:
        _check_row(row)
    results.describe_machine()
    return results


def case_of(row: Mapping[str, Any]) -> Case:
    """Return the combination that a row measured.

    Args:
        row: One of `Results.results`.
    """
    return Case(row["device"], row["precision"], row["batch_size"])


def rows_to_remember(results: Results, settings: BenchSettings) -> list[Measured]:
    """Return what automatic choices may use: the published network at batch size 1.

    Args:
        results: What was measured.
        settings: With which settings.
    """
    published = replace(BenchSettings(), images=settings.images, rounds=settings.rounds)
    if settings.shared() != published.shared():
        return []
    return [
        Measured(
            row["device"],
            row["precision"],
            work,
            row[work]["whole_images_per_s"],
            row["versions"],
            results.date,
            results.describe_machine(),
        )
        for row in results.measured()
        for work in WORKS
        if work in row and row["batch_size"] == 1
    ]


def _check_row(row: Mapping[str, Any]) -> None:
    case_of(row)
    if row["status"] != "ok":
        row["reason"]
        return
    memory, works = row["memory"], [row[work] for work in WORKS[: 1 + ("train" in row)]]
    positive = [memory["process"], *(rates[name] for rates in works for name in _RATES)]
    others = [memory["gpu"] or 0, *(rates["joules_per_image"] or 0 for rates in works)]
    others += [rates["compile_seconds"] for rates in works]
    if not all(value > 0 for value in positive):
        raise ValueError(f"a rate of {case_of(row)} is not above 0")
    if not all(value >= 0 for value in others):
        raise ValueError(f"a time, an energy or the memory of {case_of(row)} is below 0")
