"""``msinet-run doctor``: examine a device before training on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import device_name, device_option, json_option, print_json
from msinet_core.cli.setting_options import device_options_option, kind_option, precision_option
from msinet_core.network.msinet import IMAGE_SIZE
from msinet_core.system.kinds import integer

if TYPE_CHECKING:
    from msinet_core.network.ops import Size
    from msinet_core.registry.doctor import Finding

COLORS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command()
@click.option(
    "--topology",
    metavar="NAME",
    help="Compile ahead of time for hardware this machine lacks; for tpu, for example v5e:1x1.",
)
@kind_option(
    "batch_size",
    integer(),
    "With --topology: compile for this batch size only.",
    unset="find the largest",
)
@kind_option(
    "image_size",
    IMAGE_SIZE,
    "With --topology: height and width of the images.",
    unset="240x320",
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
    """Examine a device: its packages, hardware, options, and its plugin's own checks.

    Works on any machine; what needs the hardware is left out without it. Exits with 1 if there is
    a problem.

    \b
    msinet-run --device metal doctor
    msinet-run --device tpu doctor --topology v5e:1x1 --batch-size 8
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.errors import UsageError
    from msinet_core.registry.doctor import examine
    from msinet_core.registry.registry import AUTO, load_registry

    registry = load_registry()
    message = partial(click.echo, err=True)
    spec = registry.requested(device_name()) or registry.select(AUTO, message=message)
    spec.check_precision(precision)
    spec.check_options(device_options)
    if topology is None and (batch_size or image_size):
        raise UsageError("--batch-size and --image-size require --topology")
    given = {
        "topology": topology,
        "batch-size": batch_size and str(batch_size),
        "image-size": image_size and "{}x{}".format(*image_size),
    }
    arguments = {name: value for name, value in given.items() if value}
    for option in arguments:
        if option in spec.doctor_arguments:
            continue
        others = [item.spec for item in registry.registrations]
        supporting = [other.name for other in others if option in other.doctor_arguments]
        raise UsageError(
            f"Device '{spec.name}' does not support --{option}; devices that do: "
            f"{', '.join(supporting) or 'none'}"
        )
    arguments = {**device_options, **arguments, "precision": precision}
    findings: list[Finding] = []
    for finding in examine(spec, arguments):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        document = {"device": spec.name, "findings": [finding.to_dict() for finding in findings]}
        print_json(document)
    if any(finding.status == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


def _print(finding: Finding) -> None:
    from msinet_core.cli.tables import print_indented

    mark = click.style(finding.status, fg=COLORS[finding.status])
    click.echo(f"{mark} {click.style(finding.title, bold=True)}")
    print_indented(finding.detail)
    print_indented(f"-> {finding.fix}" if finding.fix else "")
