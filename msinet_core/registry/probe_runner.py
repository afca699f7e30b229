"""Run a device's probe; one that raises, hangs or returns nonsense makes its device unavailable."""

from __future__ import annotations

import os
import reprlib
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.errors import DEBUG_VARIABLE, error_text
from msinet_core.registry.typed_json import field_problems
from msinet_core.system.install_hints import installable

PROBE_TIMEOUT = 5.0
"""Seconds that a probe may take. Most take hundredths; on a network disk or a busy machine it can
be seconds, and waiting is better than passing over a device that works."""

TRACEBACK_HINT = "Run: msinet-run plugins list --traceback, and report it to the plugin's author."


@dataclass(frozen=True)
class ProbeResult:
    """The outcome of running a probe.

    Args:
        probe: What it returned; `NOT_HERE` if it failed.
        trace: The traceback of a probe that raised or hangs; otherwise empty.
    """

    probe: Probe
    trace: str = ""


class RecordedProbe:
    """Stand in for a probe that ran in another process.

    Args:
        result: What came of it.
        module: The module that defines the probe.
    """

    def __init__(self, result: ProbeResult, module: str) -> None:
        self.result = result
        self.__module__ = module

    def __call__(self) -> Probe:
        return self.result.probe


class _Call(threading.Thread):
    """Runs a probe in a thread that does not keep the program from ending."""

    def __init__(self, probe: Callable[[], object]) -> None:
        super().__init__(name="msinet-probe", daemon=True)
        self._probe = probe
        self.returned: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.returned = self._probe()
        except BaseException as error:  # including SystemExit
            self.error = error


_hanging: dict[int, _Call] = {}
"""Probes that timed out, by `id`; they are not run, nor waited for, a second time."""


def call_probe(spec: DeviceSpec, limit: float | None = None) -> ProbeResult:
    """Run a device's probe, for a limited time.

    Args:
        spec: The device.
        limit: Seconds until it counts as hanging; None for `PROBE_TIMEOUT`.
    """
    if isinstance(spec.probe, RecordedProbe):
        return spec.probe.result
    limit = PROBE_TIMEOUT if limit is None else limit
    call = _hanging.get(id(spec.probe))
    if call is None:
        call = _Call(spec.probe)
        call.start()
        call.join(limit)
    if call.is_alive():
        _hanging[id(spec.probe)] = call
        return failed_probe(probe_module(spec), f"took longer than {limit:.3g} s", _stack(call))
    _hanging.pop(id(spec.probe), None)
    return _result(probe_module(spec), call)


def run_probe(spec: DeviceSpec) -> Probe:
    """Return what a device's probe finds; a probe that fails makes the device unavailable.

    With ``MSINET_DEBUG`` the traceback of a probe that fails goes to stderr.

    Args:
        spec: The device.
    """
    result = call_probe(spec)
    if result.trace and os.environ.get(DEBUG_VARIABLE):
        print(f"The probe of device '{spec.name}':\n{result.trace}", file=sys.stderr)
    return result.probe


def failed_probe(module: str, what: str, trace: str = "") -> ProbeResult:
    """Return the result of a probe that did not return a valid `Probe`.

    Args:
        module: The module that defines the probe.
        what: What it did, after "its probe".
        trace: A traceback.
    """
    reason = f"Its probe, in {module}, {what}: a bug in the plugin."
    hint = TRACEBACK_HINT if trace else ""
    return ProbeResult(Probe(Availability.NOT_HERE, reason, hint), trace)


def probe_module(spec: DeviceSpec) -> str:
    """Return the name of the module that defines a device's probe, or else of its factory.

    Args:
        spec: The device.
    """
    return getattr(spec.probe, "__module__", None) or spec.factory.partition(":")[0]


def _result(module: str, call: _Call) -> ProbeResult:
    if call.error is not None:
        trace = "".join(traceback.format_exception(call.error))
        text = error_text(call.error)
        what = f"raised {type(call.error).__name__}{f': {text}' if text else ''}"
        return failed_probe(module, what, trace)
    probe = call.returned
    if not isinstance(probe, Probe):
        return failed_probe(module, f"returned {reprlib.repr(probe)} instead of a Probe")
    problems = field_problems(probe)
    if problems:
        return failed_probe(module, f"returned an invalid Probe ({'; '.join(problems)})")
    return ProbeResult(replace(probe, fix=installable(probe.fix)))


def _stack(call: _Call) -> str:
    frame = sys._current_frames().get(call.ident or 0)
    return "It hangs here:\n" + "".join(traceback.format_stack(frame)) if frame else ""
