"""Load third-party plugins, and run their probes, in child processes that may fail in any way."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from msinet_core.device import DeviceSpec, Probe
from msinet_core.errors import os_reason
from msinet_core.registry.plugin import LoadedPlugin, Plugin, load_plugin
from msinet_core.registry.probe_runner import (
    ProbeResult,
    RecordedProbe,
    call_probe,
    failed_probe,
    probe_module,
)
from msinet_core.registry.typed_json import from_json, to_json
from msinet_core.system.child_process import ChildResult, run_python

DEADLINE = 5.0
"""Seconds in which all third-party plugins, side by side, are imported and probed."""

_timed_out: dict[Plugin, LoadedPlugin] = {}
"""Plugins that were stopped; this process does not wait for them a second time."""

_CHILD = "from msinet_core.registry.isolation import report_plugin; report_plugin()"


def load_isolated(plugins: Sequence[Plugin]) -> list[LoadedPlugin]:
    """Load each plugin in a process of its own; the probes of its devices are run there as well.

    Args:
        plugins: At least one; none is built in.

    Returns:
        For each plugin its devices, whose probes are `RecordedProbe`, or its problem.
    """
    with ThreadPoolExecutor(len(plugins)) as pool:
        return list(pool.map(_load, plugins))


def _load(plugin: Plugin) -> LoadedPlugin:
    if plugin in _timed_out:
        return _timed_out[plugin]
    # The process itself reports what hangs, while there is time to read it.
    request = json.dumps({"plugin": asdict(plugin), "end": time.time() + 0.85 * DEADLINE})
    try:
        done = run_python(_CHILD, request, timeout=DEADLINE)
    except OSError as error:
        return LoadedPlugin(plugin, problem=f"Cannot start a process for it: {os_reason(error)}")
    loaded = _read(plugin, done)
    if done.code is None:
        _timed_out[plugin] = loaded
    return loaded


def _read(plugin: Plugin, done: ChildResult) -> LoadedPlugin:
    """Read what a process reported; how it ended explains what is missing."""
    loaded = LoadedPlugin(plugin)
    lines = done.documents
    if not lines:
        loaded.problem, loaded.trace = f"Its import {done.how}", done.errors
        return loaded
    specs = lines[0].pop("specs")
    vars(loaded).update(lines[0])
    results = lines[1:] + [None] * (len(specs) - len(lines[1:]))
    loaded.specs = [
        _spec(values, result, done.how, done.errors)
        for values, result in zip(specs, results, strict=True)
    ]
    return loaded


def _spec(
    values: dict[str, Any], result: Mapping[str, Any] | None, how: str, trace: str
) -> DeviceSpec:
    """Restore a device; without a result, the process ended before its probe did."""
    module = values.pop("probe_module")
    if result is None:
        recorded = failed_probe(module, how, trace)
    else:
        recorded = ProbeResult(from_json(Probe, result["probe"]), result["trace"])
    return from_json(DeviceSpec, values, probe=RecordedProbe(recorded, module))


def report_plugin() -> None:
    """Load the plugin that the command line names; print what it has as lines of JSON."""
    request = json.loads(sys.argv[1])
    end = max(request["end"] - time.time(), 0.1) + time.monotonic()
    faulthandler.enable()
    faulthandler.dump_traceback_later(end - time.monotonic())
    # What the plugin prints goes to stderr, so that it does not get into the JSON.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        loaded = load_plugin(Plugin(**request["plugin"]))
        specs = [{**to_json(spec), "probe_module": probe_module(spec)} for spec in loaded.specs]
        line = vars(loaded) | {"specs": specs}
        del line["plugin"]
        print(json.dumps(line), file=out, flush=True)
        for number, spec in enumerate(loaded.specs):
            share = max(end - time.monotonic(), 0.1) / (len(loaded.specs) - number)
            result = call_probe(spec, share)
            line = {"probe": to_json(result.probe), "trace": result.trace}
            print(json.dumps(line), file=out, flush=True)
    os._exit(0)  # threads and exit handlers of the plugin must not delay the answer
