"""Run the rows on a device and report what they found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.costs import cost
from msinet_core.conformance.expected import ExpectedFailure
from msinet_core.conformance.likeness import likeness
from msinet_core.conformance.report import FAILURES, Report, Result
from msinet_core.conformance.scenario import Scenario, Subject, open_subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS, OPENING
from msinet_core.conformance.scenarios.opening import OPENS
from msinet_core.device import DeviceSpec
from msinet_core.registry.probe_runner import run_probe
from msinet_core.registry.registry import load_registry
from msinet_core.system.progress import Progress


def run(
    spec: DeviceSpec,
    progress: Progress | None = None,
    precision: str | None = None,
    *,
    options: Mapping[str, str] | None = None,
    expected: Mapping[str, ExpectedFailure] | None = None,
    quick: bool = False,
    soak: bool = False,
    scenarios: Sequence[Scenario] = ALL_SCENARIOS,
) -> Report:
    """Open a device and check it against the reference.

    Args:
        spec: The device.
        progress: Shows each row.
        precision: As `open_subject` takes it.
        options: The device options.
        expected: The rows that may fail, from `read_expected`.
        quick: Whether to skip slow rows.
        soak: Whether to run the rows that watch memory for minutes.
        scenarios: The rows.

    Returns:
        A report. If the device does not open, it has the rows that need no open device, and in any
        case the one with the reason. After Ctrl-C it has the rows so far and is not `complete`.
    """
    started = time.monotonic()
    subject = open_subject(spec, precision, options)
    if subject.opened is None:
        chosen = {*(scenario.id for scenario in scenarios), OPENS}
        scenarios = [scenario for scenario in OPENING if scenario.id in chosen]
    checker = Checker(subject, expected, quick, soak)
    report = check_rows(checker, progress, scenarios, precision or "auto")
    report = replace(report, seconds=time.monotonic() - started)
    if report.complete and report.failed:
        with suppress(KeyboardInterrupt):  # the report is complete without it
            report = replace(report, likeness=likeness(report.rows))
    return report


def check_rows(
    checker: Checker, progress: Progress | None, scenarios: Sequence[Scenario], precision: str
) -> Report:
    """Run rows on a device that is open or not.

    Args:
        checker: Runs each row.
        progress: Shows each row.
        scenarios: The rows.
        precision: What to report if the device did not open.

    Returns:
        A report. After Ctrl-C it has the rows so far and is not `complete`.
    """
    started = time.monotonic()
    subject, rows, complete = checker.subject, list[Result](), False
    name, shown = subject.spec.name, progress or Progress()
    costs = [cost(scenario.id) if checker.runs(scenario) else 0.0 for scenario in scenarios]
    try:
        with shown.task(f"checking {name}", len(scenarios), "rows") as task:
            for scenario in scenarios:
                row = checker.result(scenario)
                if row.status in FAILURES and row.reason not in {other.reason for other in rows}:
                    shown.message(f"{row.id} {row.status}")
                rows.append(row)
                share = sum(costs[: len(rows)]) / max(sum(costs), 1e-9)
                task.advance(row=row.id, share=share)
        complete = True
    except KeyboardInterrupt:  # the rows so far took minutes, and may answer the question
        shown.message(f"Interrupted after {len(rows)} of {len(scenarios)} rows.")
    opened = subject.opened
    return Report(
        name,
        opened.precision if opened else precision,
        time.monotonic() - started,
        tuple(rows),
        opened.versions() if opened else {},
        subject.options,
        available=opened is not None,
        complete=complete,
        facts=_facts(subject),
    )


def _facts(subject: Subject) -> Mapping[str, str]:
    """Return the date, the plugin with its version, and the hardware that the probe found."""
    facts = {"date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"}
    for registration in load_registry().registrations:
        if registration.spec.name == subject.spec.name:
            plugin = registration.plugin
            version = f"{plugin.distribution} {plugin.version}" if plugin.distribution else ""
            facts["plugin"] = version or plugin.module
            # Here the probes of third parties ran in processes of their own, which they may end.
            hardware = [item.name for item in run_probe(registration.spec).hardware]
            facts |= {"hardware": ", ".join(hardware)} if hardware else {}
    return facts
