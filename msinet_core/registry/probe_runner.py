"""Ask a device's probe so that whatever is wrong with it, even that it hangs, stays with it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.system.install_hints import installable

PROBE_TIMEOUT = 5.0
"""Seconds that a probe may take. Probes answer in hundredths; a network disk or a busy machine may
need seconds, and a device that is passed over for that would be worse than the wait."""

_CURE = "msinet-run plugins list --traceback shows where; its author needs that."


@dataclass(frozen=True)
class Answer:
    """What came of asking a probe.

    Args:
        probe: What it answered; `NOT_HERE` if it broke its promise.
        trace: Where it raised, or where it hangs; empty when it answered.
    """

    probe: Probe
    trace: str = ""


class _Call(threading.Thread):
    """Runs a probe in a thread that does not keep the program from ending."""

    def __init__(self, probe: Callable[[], object]) -> None:
        super().__init__(name="msinet-probe", daemon=True)
        self._probe = probe
        self.answer: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.answer = self._probe()
        except BaseException as error:  # a probe that calls sys.exit() is a probe that fails
            self.error = error


_hanging: dict[Callable[[], object], _Call] = {}
"""What was given up; it is not asked, and not waited for, a second time."""


def call_probe(spec: DeviceSpec, limit: float | None = None) -> Answer:
    """Ask a device's probe, for a limited time.

    Args:
        spec: The device.
        limit: Seconds until it counts as hanging; None for `PROBE_TIMEOUT`.
    """
    limit = PROBE_TIMEOUT if limit is None else limit
    call = _hanging.get(spec.probe)
    if call is None:
        call = _Call(spec.probe)
        call.start()
        call.join(limit)
    if call.is_alive():
        _hanging[spec.probe] = call
        return _failed(spec, f"took longer than {limit:g} s", _stack(call))
    _hanging.pop(spec.probe, None)
    return _judge(spec, call)


def _judge(spec: DeviceSpec, call: _Call) -> Answer:
    if call.error is not None:
        trace = "".join(traceback.format_exception(call.error))
        return _failed(spec, f"raised {type(call.error).__name__}: {call.error}", trace)
    if not isinstance(call.answer, Probe):
        return _failed(spec, f"returned {call.answer!r} and no Probe", "")
    return Answer(replace(call.answer, fix=installable(call.answer.fix)))


def _failed(spec: DeviceSpec, what: str, trace: str) -> Answer:
    module = getattr(spec.probe, "__module__", None) or spec.factory.partition(":")[0]
    reason = f"Its probe, in {module}, {what}, a fault of its plugin."
    return Answer(Probe(Availability.NOT_HERE, reason, _CURE if trace else ""), trace)


def _stack(call: _Call) -> str:
    frame = sys._current_frames().get(call.ident or 0)
    return "It hangs here:\n" + "".join(traceback.format_stack(frame)) if frame else ""
