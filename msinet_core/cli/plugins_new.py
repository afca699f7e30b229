"""``msinet-run plugins new``: write a device plugin to start from."""

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
    help="Order of image axes on the device.",
)
@click.option(
    "--kernel-layout",
    type=click.Choice(["HWIO", "OIHW", "OHWI"]),
    default="HWIO",
    show_default=True,
    help="Order of kernel axes on the device.",
)
@click.option(
    "--framework",
    metavar="NAME",
    default="numpy",
    show_default=True,
    help='The framework as pip installs it, for example "torch>=2.6".',
)
@click.option(
    "--example",
    type=click.Choice(["jax"]),
    help="Write the complete plugin for JAX instead, to read or to change.",
)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder to write the package into. [default: the current folder]",
)
def new_plugin(
    name: str,
    data_format: str,
    kernel_layout: str,
    framework: str,
    example: str | None,
    into: Path,
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

    folder = into / f"msinet-device-{name}"
    if example is None:
        write_plugin(folder, name, data_format, kernel_layout, framework)
    else:
        _refuse_other_options()
        write_example(folder, name, example)
    click.echo(f"Wrote {folder}. Next:")
    click.echo(f"  pip install -e {folder}")
    click.echo("  msinet-run devices")
    click.echo(f"  msinet-run plugins check {name}")
    what = "What to fill in" if example is None else "What is where"
    click.echo(f"{what}: {folder / 'README.md'}")


def _refuse_other_options() -> None:
    """Refuse what the example decides."""
    context = click.get_current_context()
    for name in ("data_format", "kernel_layout", "framework"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} has no effect on an example; leave it out.")
