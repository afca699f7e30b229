"""``msinet-run doctor``: examine a device before training on it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import (
    SizeType,
    device_name,
    device_option,
    device_options_option,
    json_option,
    precision_option,
)

if TYPE_CHECKING:
    from msinet_core.doctor import Finding
    from msinet_core.ops import Size

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[red]problem[/]"}


@click.command()
@click.option(
    "--topology",
    metavar="NAME",
    help="Compile ahead of time for hardware that is not here; for tpu, for example v5e:1x1.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    help="With --topology: compile for this batch size only. [default: look for the largest]",
)
@click.option(
    "--image-size",
    type=SizeType(),
    metavar="HxW",
    help="With --topology: height and width of the images. [default: 240x320]",
)
@precision_option
@device_options_option
@json_option
@device_option
def doctor(
    topology: str | None,
    batch_size: int | None,
    image_size: Size | None,
    precision: str,
    device_options: dict[str, str],
    as_json: bool,
) -> None:
    """Examine a device: packages, hardware, choices, and what its plugin can prove here.

    Works on any machine: what can be shown without the hardware is shown. Exits with 1 when there
    is a problem.

    \b
    msinet-run --device metal doctor
    msinet-run --device tpu doctor --topology v5e:1x1 --batch-size 8
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.doctor import examine
    from msinet_core.registry import DEVICE_VARIABLE, load_registry

    registry = load_registry()
    name = device_name() or os.environ.get(DEVICE_VARIABLE)
    spec = registry.spec(name) if name else registry.select(message=_tell)
    spec.check_precision(precision)
    spec.check_options(device_options)
    asked = {
        "topology": topology,
        "batch-size": str(batch_size) if batch_size else None,
        "image-size": "{}x{}".format(*image_size) if image_size else None,
        "precision": precision,
    }
    arguments = {name: value for name, value in asked.items() if value is not None}
    arguments = {**device_options, **arguments}
    findings: list[Finding] = []
    for finding in examine(spec, arguments):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        document = {"device": spec.name, "findings": [finding.to_dict() for finding in findings]}
        click.echo(json.dumps(document, indent=2))
    if any(finding.status == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _print(finding: Finding) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console(highlight=False)
    console.print(f"{MARKS[finding.status]} [bold]{escape(finding.title)}[/]")
    for text in (finding.detail, f"-> {finding.cure}" if finding.cure else ""):
        if text:
            console.print(Padding(escape(text), (0, 0, 0, 4)))
