"""Examine a light module and its probe in a process where nothing is imported yet.

Reads a request as JSON from stdin, and prints what each stage found as a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import FrameType
from typing import TYPE_CHECKING, Any

from msinet_core.device import Probe
from msinet_core.registry.diagnosis import describe_failure

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec


class Importers:
    """An import hook that records which module imports each package first."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Record the importer of a package, and leave the import to the other hooks.

        Args:
            name: The full name of the module.
            path: Unused.
            target: Unused.
        """
        if "." in name or name in self.found:
            return None
        frame: FrameType | None = sys._getframe(1)
        while frame and frame.f_code.co_filename.startswith("<frozen importlib"):
            frame = frame.f_back
        if frame is not None:
            importer = str(frame.f_globals.get("__name__", ""))
            self.found[name] = {
                "package": importer.partition(".")[0],
                "location": f"{importer}, line {frame.f_lineno}",
            }
        return None


STAGES = {
    "imported": "importing the light module",
    "problems": "the probe",
    "without_framework": "opening the device without its framework",
}
"""What is examined, by a key of what it finds."""


def examine(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Import the light modules, call the probe, and open the device without its framework.

    Args:
        request: ``path`` for imports, ``modules`` to import, ``spec`` pickled (hexadecimal, or
            None), ``hidden`` packages.

    Yields:
        What each of `STAGES` found; without a spec the first only.
    """
    sys.path[:] = request["path"]
    before = set(sys.modules)
    importers = Importers()
    sys.meta_path.insert(0, importers)
    for module in request["modules"]:
        importlib.import_module(module)
    yield {"imported": _new_packages(before), "importers": importers.found}
    if request["spec"] is None:
        return
    spec: DeviceSpec = pickle.loads(bytes.fromhex(request["spec"]))
    problems, times = [], []
    for path in (os.environ.get("PATH", ""), ""):  # without PATH, commands like nvidia-smi are gone
        os.environ["PATH"] = path
        start = time.perf_counter()
        problems.append(_probe_problem(spec))
        times.append(time.perf_counter() - start)
    probed = {"probed": _new_packages(before), "importers": importers.found}
    yield {"problems": problems, "seconds": min(times), **probed}
    if request["hidden"]:
        sys.modules.update(dict.fromkeys(request["hidden"]))  # None: they cannot be imported
        yield {"without_framework": _opening_error(spec)}


def _new_packages(before: set[str]) -> list[str]:
    return sorted({name.split(".")[0] for name in set(sys.modules) - before})


def _probe_problem(spec: DeviceSpec) -> str:
    try:
        probe = spec.probe()
    except Exception as error:
        return f"it raised: {describe_failure(error, spec)}"
    if not isinstance(probe, Probe):
        return f"it returned {probe!r}, not a Probe"
    if not probe.ready and not (probe.reason and probe.fix):
        return f"it is unavailable with reason {probe.reason!r} and fix {probe.fix!r}"
    return ""


def _opening_error(spec: DeviceSpec) -> str:
    try:
        spec.open()
    except Exception as error:
        return type(error).__name__
    return ""


def main() -> None:
    """Read a request from stdin and print what each stage found as a line of JSON on stdout."""
    # What the plugin prints goes to stderr, so that it does not get into the JSON.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for found in examine(json.load(sys.stdin)):
            print(json.dumps(found), file=out, flush=True)
    os._exit(0)  # threads and exit handlers of the plugin must not change the answer
