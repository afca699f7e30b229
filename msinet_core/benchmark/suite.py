"""Measure every combination of devices, precisions and batch sizes, each in its own process."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.benchmark.pictures import make_pictures
from msinet_core.benchmark.results import Results, case_of
from msinet_core.benchmark.settings import BenchSettings, Case
from msinet_core.benchmark.worker import COMMAND, failed_row
from msinet_core.errors import InterruptedRunError
from msinet_core.system.child_process import run_python
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec

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
            precision = spec.check_precision("auto")
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
                hint = f" Continue with: --resume --json {path}" if path else ""
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
    row = next(_objects(done.output), None)
    if row is not None:
        return row
    reason = f"The device {done.how}: {done.last_line}"
    return failed_row(case, reason, exhausted=done.code == _KILLED)


def _objects(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith('{"'):
            yield json.loads(line)
