"""Reads files in a child process, and prints what came of it: a JSON line before and after each.

``python reader.py CASES.json``, a list of objects: ``path``, and ``digest`` of the right weights
or null.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
import time
from pathlib import Path

from msinet_core import MsinetError, inspect
from msinet_core.checkpoint import read_weights
from msinet_core.checkpoint.read import read_network
from msinet_core.network.msinet import msinet_graph

MIB = 2**20
_GRAPH = msinet_graph(0.01)
_STATUS = Path("/proc/self/status")
_MAX_ADDRESSES = 8 * 2**30


def digest_of(path: Path) -> str:
    """Return a digest of the weights in a file."""
    weights = read_weights(path, _GRAPH).state.weights
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].tobytes())
    return digest.hexdigest()


def read(path: Path, digest: str | None) -> str:
    """Read a file in every way, and return what came of it in a word."""
    outcomes = set()
    for attempt in (inspect, read_network, digest_of):
        try:
            found = attempt(path)
            is_wrong = digest is not None and isinstance(found, str) and found != digest
            outcomes.add("wrong weights" if is_wrong else "read")
        except MsinetError as error:
            if not str(error).replace("\n", "").isprintable():
                return f"unprintable message: {error!r}"
            outcomes.add("refused")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return max(outcomes, key=("read", "refused", "wrong weights").index)


def memory(field: str) -> int:
    """Return this process's memory in bytes: ``VmRSS`` now, or ``VmHWM`` at its largest."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def main() -> None:
    """Read the files in the list that the command line names."""
    if _STATUS.exists():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESSES, _MAX_ADDRESSES))
    for number, case in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        print(json.dumps({"begin": number}), flush=True)
        if _STATUS.exists():
            ctypes.CDLL(None).malloc_trim(0)  # so that what was freed is not used again unnoticed
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again
        before = memory("VmRSS") if _STATUS.exists() else 0
        begin = time.process_time()
        outcome = read(Path(case["path"]), case["digest"])
        grown = max(0, memory("VmHWM") - before) if _STATUS.exists() else 0
        seconds = time.process_time() - begin
        result = {"end": number, "outcome": outcome, "seconds": seconds, "bytes": grown}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
