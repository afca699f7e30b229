"""``python -m msinet_core.conformance DEVICE``: prove one device in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from msinet_core.cli.options import json_option
from msinet_core.cli.progress import make_progress
from msinet_core.conformance.report import Report
from msinet_core.conformance.runner import run
from msinet_core.errors import MsinetError
from msinet_core.registry import load_registry


@click.command()
@click.argument("device")
@click.option("--precision", metavar="NAME", help="Default: float32 where the device offers it.")
@json_option
def main(device: str, precision: str | None, as_json: bool) -> None:
    """Prove DEVICE against the reference; exit 0 when it agrees, 1 when it does not."""
    try:
        with _stdout_to_stderr():
            report = run(load_registry().spec(device), make_progress(), precision)
    except MsinetError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    click.echo(report.to_json() if as_json else _table(report))
    sys.exit(0 if report.passed else 1)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep what frameworks print, from C++ too, out of the document on stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _table(report: Report) -> str:
    words = {True: "ok", False: "FAILED", None: "-"}
    lines = []
    for row in report.rows:
        numbers = "" if row.difference is None else f"{row.difference:.1e} of {row.tolerance:.1e}"
        lines.append(f"{words[row.passed]:7}{row.id:40}{numbers:20}{row.reason}".rstrip())
    verdict = "agrees with" if report.passed else "does NOT agree with"
    lines.append(
        f"Device '{report.device}' ({report.precision}) {verdict} the reference: "
        f"{len(report.failed)} of {len(report.rows)} rows failed, {report.seconds:.1f} s."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
