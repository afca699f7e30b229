"""Measure every combination of devices, precisions and batch sizes, each in its own process."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.benchmark.results import Results, case_of
from msinet_core.benchmark.settings import BenchSettings, Case
from msinet_core.benchmark.synthetic_data import make_pictures
from msinet_core.errors import InterruptedRunError, MsinetError, command, describe_error
from msinet_core.registry.diagnosis import ran_out_of_memory
from msinet_core.registry.measured import automatic_precision
from msinet_core.registry.registry import load_registry
from msinet_core.system.allocator import keep_freed_memory
from msinet_core.system.child_process import run_python
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec

COMMAND = "from msinet_core.benchmark.suite import main; main()"

_KILLED = -9
"""How a process ends whose memory the system took back."""


def cases(specs: Sequence[DeviceSpec], settings: BenchSettings) -> list[Case]:
    """Return the combinations to measure.

    Args:
        specs: The devices.
        settings: The precisions and batch sizes.
    """
    found = []
    for spec, precision, batch_size in product(specs, settings.precision, settings.batch_size):
        if precision == "auto":
            precision, _ = automatic_precision(spec, "auto", "train")
        found.append(Case(spec.name, precision, batch_size))
    return list(dict.fromkeys(found))


def run_suite(
    todo: Sequence[Case],
    settings: BenchSettings,
    results: Results,
    path: Path | None,
    progress: Progress,
    traces: Path | None = None,
) -> None:
    """Measure combinations one after the other, and append a row for each to the results.

    Whatever fails becomes a row with the reason, and the next combination is measured.

    Args:
        todo: The combinations.
        settings: What is measured of each.
        results: Receives the rows; combinations that it has already are skipped.
        path: Where the results are written after each row; None for nowhere.
        progress: Shows the rows as they come.
        traces: The folder for profiles, one folder for each combination; None for none.

    Raises:
        InterruptedRunError: The user stopped it; the results so far are complete.
        MsinetError: The results cannot be saved.
    """
    done = {case_of(row) for row in results.results}.intersection(todo)
    with (
        tempfile.TemporaryDirectory(prefix="msinet-bench-") as folder,
        progress.task("bench", len(todo), "combinations", done=len(done)) as task,
    ):
        pictures = Path(folder) / "data"
        make_pictures(pictures, settings.images + max(settings.batch_size))
        for case in todo:
            if case in done:
                continue
            try:
                row = _measure_apart(case, settings, pictures, traces)
            except KeyboardInterrupt as error:
                hint = _how_to_continue(todo, settings, path, traces) if path else ""
                raise InterruptedRunError(
                    f"Interrupted while measuring {case}; {len(done)} of {len(todo)} "
                    f"combinations are done.{hint}"
                ) from error
            results.results.append(row)
            done.add(case)
            progress.message(summary(row))
            if path is not None:
                results.write(path)
            task.advance()


def _how_to_continue(
    todo: Sequence[Case], settings: BenchSettings, path: Path, traces: Path | None
) -> str:
    devices = dict.fromkeys(case.device for case in todo)
    words = ["bench", "--resume", "--json", path]
    for name in devices:
        words += ["--device", name]
    words += settings.options()
    if traces:
        words += ["--trace", traces]
    return f" Continue with: {command(*words)}"


def summary(row: dict[str, Any]) -> str:
    """Return one line about a row.

    Args:
        row: One of `Results.results`.
    """
    if row["status"] != "ok":
        return f"{case_of(row)}: {row['status']}: {row['reason']}"
    rates = [
        f"{work} {row[work]['whole_images_per_s']:.2f} images/s"
        for work in ("predict", "train")
        if work in row
    ]
    trace = f"; profile: {row['trace']}" if "trace" in row else ""
    return f"{case_of(row)}: {', '.join(rates)}{trace}"


def _measure_apart(
    case: Case, settings: BenchSettings, pictures: Path, traces: Path | None
) -> dict[str, Any]:
    name = f"{case.device}-{case.precision}-{case.batch_size}"
    with tempfile.TemporaryDirectory(prefix="msinet-bench-") as scratch:
        request = {
            "case": asdict(case),
            "settings": asdict(settings),
            "pictures": str(pictures),
            "scratch": scratch,
            "trace": str(traces.absolute() / name) if traces else None,
        }
        done = run_python(COMMAND, json.dumps(request), timeout=settings.timeout)
    if done.code is None:
        return failed_row(case, f"The measurement {done.how}.")
    if done.documents:
        return done.documents[0]
    reason = f"The device {done.how}: {done.last_line}"
    return failed_row(case, reason, exhausted=done.code == _KILLED)


def main() -> None:
    """Measure what the command line asks for, and print the row."""
    keep_freed_memory()  # as the commands do that are measured
    request = json.loads(sys.argv[1])
    # What frameworks print goes to stderr, so that it does not get into the JSON.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        print(json.dumps(_row(request)), file=out, flush=True)
        os._exit(0)  # the exit handlers of frameworks must not fail what was measured


def _row(request: dict[str, Any]) -> dict[str, Any]:
    # Imported here, so that a device that fails to import is reported like any other failure.
    from msinet_core.benchmark.measure import measure

    case = Case(**request["case"])
    try:
        return measure(
            load_registry().select(case.device),
            case,
            BenchSettings(**request["settings"]),
            Path(request["pictures"]),
            Path(request["scratch"]),
            Path(request["trace"]) if request["trace"] else None,
        )
    except Exception as error:
        text = str(error) if isinstance(error, MsinetError) else describe_error(error)
        return failed_row(case, text)


def failed_row(case: Case, reason: str, *, exhausted: bool = False) -> dict[str, Any]:
    """Return the row of a combination that could not be measured.

    Args:
        case: The combination.
        reason: Why, in a sentence.
        exhausted: Whether memory ran out; some reasons say so themselves.
    """
    status = "out of memory" if exhausted or ran_out_of_memory(reason) else "failed"
    return {**vars(case), "status": status, "reason": reason}
