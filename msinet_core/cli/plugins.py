"""``msinet-run plugins``: who brings the devices, what is wrong with whom, and who is right."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import device_options_option, json_option
from msinet_core.cli.plugins_new import new_plugin
from msinet_core.errors import DEBUG_VARIABLE, DeviceUnavailableError, InterruptedRunError

if TYPE_CHECKING:
    from msinet_core.conformance import Report
    from msinet_core.registry.plugin import LoadedPlugin
    from msinet_core.registry.registry import Registry


STYLES: Mapping[str, str] = {
    "passed": "green",
    "failed": "red",
    "passed unexpectedly": "red",
    "expected failure": "yellow",
    "not applicable": "dim",
    "left out": "dim",
    "loaded": "green",
    "broken": "red",
    "disabled": "dim",
}


@click.group()
def plugins() -> None:
    """Look at the plugins that bring devices, write one, and prove what they bring."""


plugins.add_command(new_plugin)


@plugins.command("check")
@click.argument("device")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="What to compute in. [default: float32 where the device offers it]",
)
@click.option(
    "--report",
    "report_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write what was found to FILE.json or FILE.html.",
)
@click.option(
    "--expected-failures",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Rows that may fail: TOML, a table for each row's id with its reason and a link.",
)
@click.option("--quick", is_flag=True, help="Leave out the slow row, the network at full size.")
@device_options_option
@json_option
def check_device(
    device: str,
    precision: str | None,
    report_path: Path | None,
    expected_failures: Path | None,
    quick: bool,
    device_options: dict[str, str],
    as_json: bool,
) -> None:
    """Prove DEVICE against the reference, row by row.

    Exits with 0 when every row that applies passes, 1 when one fails or one that should fail
    passes, 3 when the device is not available, 130 when Ctrl-C ends it; what was found until then
    is reported. MSINET_DEBUG=1 shows tracebacks. docs/reference/conformance.md explains the rows.
    """
    from msinet_core.conformance import ALL_SCENARIOS, read_expected, run
    from msinet_core.conformance.show import check_report_name, write_report
    from msinet_core.registry.registry import load_registry
    from msinet_core.system.progress_bars import progress_bars

    spec = load_registry(in_process=True).spec(device)
    if precision is not None:
        spec.check_precision(precision)
    spec.check_options(device_options)
    if report_path is not None:
        check_report_name(report_path)
    expected = None
    if expected_failures is not None:
        expected = read_expected(expected_failures, [row.id for row in ALL_SCENARIOS])
    with _stdout_to_stderr(), _crashes_told():
        report = run(
            spec,
            progress_bars(),
            precision,
            options=device_options,
            expected=expected,
            quick=quick,
        )
    if report_path is not None:
        write_report(report, report_path)
    if as_json:
        click.echo(report.to_json())
    else:
        _print_report(report)
    _show_tracebacks(report)
    if not report.complete:
        raise click.exceptions.Exit(InterruptedRunError.exit_code)
    if not report.available:
        raise click.exceptions.Exit(DeviceUnavailableError.exit_code)
    if not report.passed:
        raise click.exceptions.Exit(1)


def _print_report(report: Report) -> None:
    from msinet_core.cli.tables import print_table
    from msinet_core.conformance.show import shared_reasons, to_cells

    cells, reasons = to_cells(report)
    print_table(("row", "status", "difference"), cells, notes=reasons, styles=STYLES)
    click.echo("")
    for told in [*shared_reasons(report), report.likeness, report.verdict]:
        if told:
            click.echo(told)


def _show_tracebacks(report: Report) -> None:
    """Show where each failed row raised, once for rows with the same reason."""
    if not os.environ.get(DEBUG_VARIABLE):
        return
    import traceback

    shown = set()
    for row in report.rows:
        if row.error is not None and row.reason not in shown:
            shown.add(row.reason)
            click.echo(f"\n{row.id}:", err=True)
            click.echo("".join(traceback.format_exception(row.error)), err=True)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep what frameworks print, from C++ too, out of the document on stdout."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed by who started us; then nothing can get into it
        yield
        return
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _crashes_told() -> Iterator[None]:
    """Show where it was when native code takes the process down."""
    if faulthandler.is_enabled():
        yield
        return
    with suppress(ValueError, OSError, AttributeError):  # stderr is no file: in tests
        faulthandler.enable()
    try:
        yield
    finally:
        faulthandler.disable()


@plugins.command("list")
@click.option("--traceback", is_flag=True, help="Show where a broken plugin, or a probe, failed.")
@json_option
def list_plugins(traceback: bool, as_json: bool) -> None:
    """List every plugin with its distribution, devices, status and load time.

    MSINET_PLUGINS=a,b loads modules as plugins beside the installed ones;
    MSINET_DISABLE_PLUGINS=a,b leaves plugins out, by module, entry point or distribution.

    Exits with 0 also when a plugin is broken, since the others work; --json tells the status of
    each.
    """
    from msinet_core.cli.tables import print_table
    from msinet_core.registry.registry import load_registry

    registry = load_registry()
    if as_json:
        click.echo(json.dumps(_document(registry), indent=2))
        return
    headings = ("entry point", "distribution", "status", "load time", "devices")
    print_table(
        headings,
        [_cells(loaded) for loaded in registry.plugins],
        right=("load time",),
        styles=STYLES,
    )
    _explain(registry, traceback or bool(os.environ.get(DEBUG_VARIABLE)))


def _document(registry: Registry) -> Mapping[str, Any]:
    from msinet_core.registry.registry import conflict_message

    return {
        "plugins": [_row(loaded) for loaded in registry.plugins],
        "conflicts": {
            name: [str(claim.plugin) for claim in claims]
            for name, claims in registry.conflicts.items()
        },
        "messages": [conflict_message(name, claims) for name, claims in registry.conflicts.items()],
    }


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


def _cells(loaded: LoadedPlugin) -> tuple[str, ...]:
    row = _row(loaded)
    return (
        row["entry_point"],
        f"{row['distribution']} {row['version']}" if row["distribution"] else "-",
        row["status"],
        f"{1000 * row['seconds']:.0f} ms" if row["status"] != "disabled" else "-",
        ", ".join(row["devices"]) or "-",
    )


def _explain(registry: Registry, traceback: bool) -> None:
    from msinet_core.registry.diagnosis import plugin_fix
    from msinet_core.registry.probe_runner import call_probe
    from msinet_core.registry.registry import conflict_message

    for loaded in registry.problems:
        click.echo(f"\n{loaded.plugin} is not used: {loaded.problem}", err=True)
        click.echo(f"-> {plugin_fix(loaded)}", err=True)
        if traceback and loaded.trace:
            click.echo(loaded.trace, err=True)
    for name, claims in registry.conflicts.items():
        click.echo(f"\n{conflict_message(name, claims)}", err=True)
    for registration in registry.registrations if traceback else ():
        answer = call_probe(registration.spec)
        if answer.trace:
            name = registration.spec.name
            click.echo(f"\nDevice '{name}', {registration.plugin}: {answer.probe.reason}", err=True)
            click.echo(answer.trace, err=True)
