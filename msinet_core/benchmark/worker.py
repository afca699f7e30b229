"""Measure one combination in a process of its own, and report it as a line of JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from msinet_core.benchmark.settings import BenchSettings, Case
from msinet_core.errors import MsinetError, describe_error
from msinet_core.registry.diagnosis import ran_out_of_memory
from msinet_core.registry.registry import load_registry
from msinet_core.system.allocator import keep_freed_memory

COMMAND = "from msinet_core.benchmark.worker import main; main()"


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
