"""``msinet-run doctor``: examine a device before training on it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import (
    CountType,
    SizeType,
    device_name,
    device_option,
    device_options_option,
    json_option,
    precision_option,
)

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec
    from msinet_core.network.ops import Size
    from msinet_core.registry.doctor import Finding
    from msinet_core.registry.registry import Registry

COLORS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command()
@click.option(
    "--topology",
    metavar="NAME",
    help="Compile ahead of time for hardware that is not here; for tpu, for example v5e:1x1.",
)
@click.option(
    "--batch-size",
    type=CountType(),
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
    from msinet_core.errors import UsageError
    from msinet_core.registry.doctor import examine
    from msinet_core.registry.registry import DEVICE_VARIABLE, load_registry

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
    if topology is None and (batch_size or image_size):
        raise UsageError(
            "--batch-size and --image-size say what --topology compiles. Add --topology, or leave "
            "them out."
        )
    _refuse_unknown(spec, [name for name, value in asked.items() if value], registry)
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


def _refuse_unknown(spec: DeviceSpec, asked: list[str], registry: Registry) -> None:
    """Refuse what the device's examination would ignore."""
    from msinet_core.errors import UsageError

    for name in asked:
        if name == "precision" or name in spec.doctor_arguments:
            continue
        devices = [item.spec for item in registry.registrations]
        knowing = [other.name for other in devices if name in other.doctor_arguments]
        who = f"Known to: {', '.join(knowing)}." if knowing else "No device knows it."
        raise UsageError(
            f"Device '{spec.name}' knows no --{name}: its examination does not depend on one. "
            f"{who} Leave it out, or name another device with --device."
        )


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _print(finding: Finding) -> None:
    from msinet_core.cli.tables import print_indented

    mark = click.style(finding.status, fg=COLORS[finding.status])
    click.echo(f"{mark} {click.style(finding.title, bold=True)}")
    print_indented(finding.detail)
    print_indented(f"-> {finding.fix}" if finding.fix else "")
