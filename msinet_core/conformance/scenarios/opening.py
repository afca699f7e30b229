"""Rows about opening the device: with and without its framework, and in each precision."""

from __future__ import annotations

import numpy as np

from msinet_core.conformance.cases import narrow_network
from msinet_core.conformance.comparison import Outcome, compare
from msinet_core.conformance.scenario import Check, NotApplicable, Rows, Subject
from msinet_core.conformance.scenarios.description import (
    finding,
    imported_frameworks,
    required_packages,
)
from msinet_core.conformance.scenarios.gradients import same_gradients
from msinet_core.conformance.tolerances import TOLERANCES
from msinet_core.device import PRECISIONS, Device
from msinet_core.errors import DeviceUnavailableError, MsinetError, PluginError

ROWS = Rows()

OPENS = "device/opens"
"""The row that fails with the reason if the device does not open."""


@ROWS.row(OPENS, "bits")
def _opens(subject: Subject) -> Outcome:
    """The device opens with its framework and its hardware."""
    assert subject.device is not None  # raises the reason
    return Outcome(0.0, 0.0)


@ROWS.row("device/unavailable", "bits")
def _unavailable(subject: Subject) -> Outcome:
    """A device whose probe says that it is unavailable does not open."""
    if not _probe_works(subject):
        raise NotApplicable("the probe fails; see description/probe-result")
    if subject.probe.ready:
        raise NotApplicable("the device is available")
    if subject.opened is not None:
        return Outcome(1.0, 0.0, f"It opened, although its probe says: {subject.probe.reason}")
    return _refused(type(subject.failure).__name__)


def _probe_works(subject: Subject) -> bool:
    """Ask the fresh process, since the probe may end this one or block it."""
    try:
        problem = str(finding(subject, "problems")[0])
    except PluginError:
        return False
    return not problem.startswith(("it raised", "it returned"))


@ROWS.row("device/no-fallback", "bits")
def _needs_its_framework(subject: Subject) -> Outcome:
    """Without its framework the device does not open; nothing else replaces it."""
    required = required_packages(subject.spec)
    if not required:
        raise NotApplicable("the device requires no framework")
    early = set(imported_frameworks(subject, "probed")) & required
    if early:
        raise NotApplicable(
            f"{', '.join(sorted(early))} cannot be hidden, since it is imported before the device "
            "opens; see description/imports and description/probe-imports"
        )
    raised = str(finding(subject, "without_framework"))
    if not raised:
        return Outcome(1.0, 0.0, "It opened although every package that it requires was hidden.")
    return _refused(raised)


def _refused(error: str) -> Outcome:
    expected = DeviceUnavailableError.__name__
    return Outcome(float(error != expected), 0.0, f"Opening raised {error}, not {expected}.")


def _open_device(subject: Subject) -> Device:
    if subject.opened is None:
        raise NotApplicable("the device did not open")
    return subject.opened


def _computes_in(precision: str) -> Check:
    def check(subject: Subject) -> Outcome:
        device = _open_device(subject)
        if device.precision != precision:
            try:
                device = subject.spec.open(precision, subject.options)
            except MsinetError as error:  # supported, but not by this machine's hardware
                raise NotApplicable(str(error)) from error
        if device.precision != precision:
            reason = f"Opened in {precision}, its precision is {device.precision}."
            return Outcome(1.0, 0.0, reason)
        case = narrow_network()
        actual = device.compile(case.graph, case.state).predict(case.images)
        expected = np.asarray(subject.oracle.compile(case.graph, case.state).predict(case.images))
        outcome = compare(actual, expected, TOLERANCES[precision].network)
        if precision == "float32" or not outcome.difference <= TOLERANCES["float32"].network:
            return outcome
        reason = (
            f"Opened in {precision}, the map is only {outcome.difference:.1e} from the exact one, "
            f"as in float32; rounding to {precision} alone gives more. The device computes in "
            "float32 in every precision."
        )
        return Outcome(np.inf, TOLERANCES[precision].network, reason)

    return check


for _precision in PRECISIONS:
    ROWS.row(
        f"device/{_precision}",
        "network",
        _precision,
        description=f"Opened in {_precision}, the device computes a narrow MSI-Net in "
        f"{_precision}.",
    )(_computes_in(_precision))


@ROWS.row("device/distribute", "network_gradient", "training", "distribution", "dilated_gradient")
def _distributes(subject: Subject) -> Outcome:
    """Opened with distribute='auto', the device has the reference's gradients."""
    precision = _open_device(subject).precision
    device = subject.spec.open(precision, subject.options, distribute="auto")
    distributed = Subject(subject.spec, device)
    case = narrow_network()
    tolerance = distributed.tolerances.network_gradient
    return same_gradients(distributed, case, [case.batch], tolerance)
