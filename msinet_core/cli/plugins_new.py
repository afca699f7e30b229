"""``msinet-run plugins new``: a package to begin a device of one's own with."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new")
@click.argument("name")
@click.option(
    "--data-format",
    type=click.Choice(["NHWC", "NCHW"]),
    default="NHWC",
    show_default=True,
    help="Order of the axes of images on the device.",
)
@click.option(
    "--kernel-layout",
    type=click.Choice(["HWIO", "OIHW", "OHWI"]),
    default="HWIO",
    show_default=True,
    help="Order of the axes of kernels on the device.",
)
@click.option(
    "--framework",
    metavar="NAME",
    default="numpy",
    show_default=True,
    help='What it computes with, as pip installs it, for example "torch>=2.6".',
)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder to write the package into. [default: this one]",
)
def new_plugin(name: str, data_format: str, kernel_layout: str, framework: str, into: Path) -> None:
    """Write a package that brings the device NAME, with its framework's part to be filled in.

    It installs at once and appears in msinet-run devices; its README.md lists what to fill in, and
    which rows of msinet-run plugins check pass after each step.

    \b
    msinet-run plugins new npu --data-format NCHW --kernel-layout OIHW --framework "torch>=2.6"
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.errors import UsageError
    from msinet_core.registry.registry import load_registry
    from msinet_core.scaffold import write_plugin

    for registration in load_registry().registrations:
        if name in (registration.spec.name, *registration.spec.aliases):
            raise UsageError(
                f"There is a device '{name}' already, of {registration.plugin}; two of one name "
                f"cannot be used. Choose another name."
            )
    folder = into / f"msinet-device-{name}"
    write_plugin(folder, name, data_format, kernel_layout, framework)
    click.echo(f"{folder}: written. Next:")
    click.echo(f"  pip install -e {folder}")
    click.echo("  msinet-run devices")
    click.echo(f"  msinet-run plugins check {name}")
    click.echo(f"{folder / 'README.md'} says what to fill in, and in which order.")
