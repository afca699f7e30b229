"""``msinet-run plugins``: list, check and scaffold device plugins."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import CommandGroup, json_option, print_json, refuse_options
from msinet_core.cli.setting_options import FILE, FOLDER, NAME, device_options_option, kind_option
from msinet_core.errors import DEBUG_VARIABLE, DeviceUnavailableError, InterruptedRunError, command
from msinet_core.system.kinds import choice
from msinet_core.system.native_output import redirected

if TYPE_CHECKING:
    from msinet_core.conformance.report import Report
    from msinet_core.registry.plugin import LoadedPlugin
    from msinet_core.registry.registry import Registry


STYLES: Mapping[str, str] = {
    "passed": "green",
    "failed": "red",
    "passed unexpectedly": "red",
    "expected failure": "yellow",
    "not applicable": "dim",
    "skipped": "dim",
    "loaded": "green",
    "broken": "red",
    "disabled": "dim",
}


@click.group(cls=CommandGroup)
def plugins() -> None:
    """List, check and scaffold device plugins."""


@plugins.command("check")
@click.argument("device")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Precision to compute in. [default: float32 if the device supports it]",
)
@click.option(
    "--rows",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Check only these rows, for example 'train/*'; may be repeated.",
)
@kind_option("report", FILE, "Write the report to FILE.json or FILE.html.")
@kind_option(
    "expected_failures",
    FILE,
    "Rows that may fail: TOML with a table for each row id, with a reason and a link.",
)
@kind_option(
    "failed_from", FILE, "Check only the rows that failed in an earlier --report FILE.json."
)
@click.option("--quick", is_flag=True, help="Skip slow rows.")
@click.option("--soak", is_flag=True, help="Watch memory over thousands of steps as well.")
@device_options_option
@json_option
def check_device(
    device: str,
    precision: str | None,
    patterns: tuple[str, ...],
    report: Path | None,
    expected_failures: Path | None,
    failed_from: Path | None,
    quick: bool,
    soak: bool,
    device_options: dict[str, str],
    as_json: bool,
) -> None:
    """Check DEVICE against the reference, row by row.

    Exits with 0 if every row that applies passes, 1 if one fails or passes although it is expected
    to fail, 3 if the device is not available, and 130 after Ctrl-C; the rows so far are reported in
    any case. MSINET_DEBUG=1 shows tracebacks. --report FILE.html explains each row.
    """
    from msinet_core.conformance.expected import read_expected
    from msinet_core.conformance.report import failed_rows
    from msinet_core.conformance.report_page import check_report_path, write_report
    from msinet_core.conformance.runner import run
    from msinet_core.conformance.scenarios import ALL_SCENARIOS, select
    from msinet_core.registry.registry import load_registry
    from msinet_core.system.progress_bars import progress_bars

    with redirected(sys.stdout, 2):  # what frameworks print is no part of the JSON document
        spec = load_registry(in_process=True).spec(device)
    if precision is not None:
        spec.check_precision(precision)
    spec.check_options(device_options)
    if report is not None:
        check_report_path(report)
    if failed_from is not None:
        patterns += tuple(failed_rows(failed_from))
    scenarios = select(patterns) if patterns else ALL_SCENARIOS
    expected = None
    if expected_failures is not None:
        expected = read_expected(expected_failures, [row.id for row in ALL_SCENARIOS])
    with suppress(ValueError, OSError, AttributeError):  # stderr is not a file, as in tests
        faulthandler.enable()  # a traceback if native code ends the process
    with redirected(sys.stdout, 2):
        result = run(
            spec,
            progress_bars(),
            precision,
            options=device_options,
            expected=expected,
            quick=quick,
            soak=soak,
            scenarios=scenarios,
        )
    if report is not None:
        write_report(result, report)
    if as_json:
        click.echo(result.to_json())
    else:
        _print_report(result)
        others = [name for name in spec.capabilities.precisions if name != result.precision]
        if result.passed and others and precision is None:
            click.echo(f"Check its other precisions too: --precision {' or '.join(others)}")
    if os.environ.get(DEBUG_VARIABLE):
        _print_tracebacks(result)
    if not result.complete:
        raise click.exceptions.Exit(InterruptedRunError.exit_code)
    if not result.available:
        raise click.exceptions.Exit(DeviceUnavailableError.exit_code)
    if not result.passed:
        raise click.exceptions.Exit(1)


def _print_report(report: Report) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.conformance.report_page import shared_reasons, to_cells

    cells, reasons = to_cells(report)
    print_table(("row", "status", "difference"), cells, notes=reasons, styles=STYLES)
    click.echo("")
    for text in [*shared_reasons(report), report.next_step, report.likeness, report.verdict]:
        if text:
            click.echo(text)


def _print_tracebacks(report: Report) -> None:
    """Print the traceback of each row that raised, once for rows with the same reason."""
    import traceback

    by_reason = {row.reason: row for row in reversed(report.rows) if row.error is not None}
    for row in reversed(by_reason.values()):
        click.echo(f"\n{row.id}:", err=True)
        click.echo("".join(traceback.format_exception(row.error)), err=True)


@plugins.command("list")
@click.option("--traceback", is_flag=True, help="Show the traceback of broken plugins and probes.")
@json_option
def list_plugins(traceback: bool, as_json: bool) -> None:
    """List every plugin with its distribution, devices, status and load time.

    MSINET_PLUGINS=a,b loads modules as plugins besides the installed ones;
    MSINET_DISABLE_PLUGINS=a,b disables plugins by module, entry point or distribution.

    Exits with 0 even if a plugin is broken, since the others work; --json has the status of each.
    """
    from msinet_core.cli.tables import print_table
    from msinet_core.registry.registry import conflict_message, load_registry

    registry = load_registry()
    rows = [_row(loaded) for loaded in registry.plugins]
    messages = [conflict_message(name, claims) for name, claims in registry.conflicts.items()]
    if as_json:
        conflicts = {
            name: [str(claim.plugin) for claim in claims]
            for name, claims in registry.conflicts.items()
        }
        print_json({"plugins": rows, "conflicts": conflicts, "messages": messages})
        return
    headings = ("entry point", "distribution", "status", "load time", "devices")
    print_table(headings, [_cells(row) for row in rows], right=("load time",), styles=STYLES)
    print_problems(registry, traceback or bool(os.environ.get(DEBUG_VARIABLE)))


def _row(loaded: LoadedPlugin) -> Mapping[str, Any]:
    from msinet_core.registry.diagnosis import plugin_fix

    status = "broken" if loaded.problem else "disabled" if loaded.disabled else "loaded"
    return {
        "plugin": loaded.plugin.module,
        "entry_point": loaded.plugin.name,
        "distribution": loaded.plugin.distribution,
        "version": loaded.plugin.version,
        "devices": [spec.name for spec in loaded.specs],
        "status": status,
        "problem": loaded.problem,
        "fix": plugin_fix(loaded),
        "seconds": round(loaded.seconds, 4),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["entry_point"],
        f"{row['distribution']} {row['version']}" if row["distribution"] else "-",
        row["status"],
        f"{1000 * row['seconds']:.0f} ms" if row["status"] != "disabled" else "-",
        ", ".join(row["devices"]) or "-",
    )


def print_problems(registry: Registry, traceback: bool = False) -> None:
    """Print on stderr what is wrong with plugins.

    Args:
        registry: All plugins.
        traceback: Whether to print tracebacks.
    """
    from msinet_core.registry.diagnosis import plugin_fix
    from msinet_core.registry.probe_runner import call_probe
    from msinet_core.registry.registry import conflict_message

    for loaded in registry.problems:
        click.echo(f"\n{loaded.plugin} is not used: {loaded.problem}", err=True)
        click.echo(f"-> {plugin_fix(loaded)}", err=True)
        if traceback and loaded.trace:
            click.echo(loaded.trace, err=True)
    for conflict in registry.conflicts.items():
        click.echo(f"\n{conflict_message(*conflict)}", err=True)
    for registration in registry.registrations if traceback else ():
        result = call_probe(registration.spec)
        if result.trace:
            name = registration.spec.name
            click.echo(f"\nDevice '{name}', {registration.plugin}: {result.probe.reason}", err=True)
            click.echo(result.trace, err=True)


@plugins.command("new")
@click.argument("name")
@kind_option("data_format", choice(("NHWC", "NCHW")), "Order of image axes on the device.", "NHWC")
@kind_option(
    "kernel_layout", choice(("HWIO", "OIHW", "OHWI")), "Order of kernel axes on the device.", "HWIO"
)
@kind_option(
    "framework", NAME, 'The framework as pip installs it, for example "torch>=2.6".', "numpy"
)
@click.option(
    "--example",
    type=click.Choice(["jax"]),
    help="Write the complete plugin for JAX instead, to read or to change.",
)
@kind_option("into", FOLDER, "Folder to write the package into.", unset="the current folder")
def new_plugin(
    name: str,
    data_format: str,
    kernel_layout: str,
    framework: str,
    example: str | None,
    into: Path | None,
) -> None:
    """Write a plugin package for the device NAME, with the framework's part to be filled in.

    It can be installed at once, and msinet-run devices lists it. Its README.md says what to fill
    in, and which rows of msinet-run plugins check pass after each step.

    \b
    msinet-run plugins new npu --data-format NCHW --kernel-layout OIHW --framework "torch>=2.6"
    msinet-run plugins new my-jax --example jax
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.scaffold.example import write_example
    from msinet_core.scaffold.writer import write_plugin

    folder = (into or Path()) / f"msinet-device-{name}"
    if example is None:
        write_plugin(folder, name, data_format, kernel_layout, framework)
    else:
        refuse_options(("data_format", "kernel_layout", "framework"), "on an example")
        write_example(folder, name)
    click.echo(f"Wrote {folder}. Next:")
    click.echo(f"  pip install -e {quote(str(folder))}")
    click.echo("  msinet-run devices")
    click.echo(f"  {command('plugins', 'check', name)}")
    what = "What to fill in" if example is None else "What is where"
    click.echo(f"{what}: {folder / 'README.md'}")
