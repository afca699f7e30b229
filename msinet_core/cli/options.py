"""The options that several commands share, and which device they name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from msinet_core.errors import command, did_you_mean
from msinet_core.system.finite import finite

Command = TypeVar("Command", bound=Callable[..., Any])

DEVICE_KEY = "msinet.device"


class CommandGroup(click.Group):
    """A group that suggests the closest command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            names = self.list_commands(ctx)
            if args[0] in names or args[0].startswith("-"):
                raise
            raise click.UsageError(
                f"No such command '{args[0]}'.{did_you_mean(args[0], names)} "
                f"Commands: {', '.join(names)}.",
                ctx,
            ) from error


def device_option(command: Command) -> Command:
    """Add ``--device``, which may also be given before the command's name.

    Args:
        command: The command; it reads the name with `device_name`.
    """
    return click.option(
        "--device",
        "-d",
        metavar="NAME",
        multiple=True,  # click would silently take the last one
        expose_value=False,
        callback=_remember_device,
        help="Device to compute on; msinet-run devices lists them. [default: the best available]",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``.

    Args:
        command: The command; it gets the argument ``as_json``.
    """
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(command)


class PathType(click.Path):
    """A path. An empty one, such as an unset variable of a shell, is not the current folder.

    Args:
        limits: As for `click.Path`.
    """

    def __init__(self, **limits: bool) -> None:
        super().__init__(path_type=Path, **limits)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty; name a file or folder", param, ctx)
        return super().convert(value, param, ctx)


def weights_option(*, required: bool = True) -> Callable[[Command], Command]:
    """Return a decorator that adds ``--weights``; the command gets ``weights``, a path.

    Args:
        required: Whether the command needs it; otherwise it may get None.
    """
    return click.option(
        "--weights",
        required=required,
        metavar="FILE",
        type=PathType(),
        help="Checkpoint in any format that convert reads, or published:salicon (or another "
        "dataset).",
    )


def device_name() -> str | None:
    """Return the value of ``--device``, before or after the command; None if it is not given."""
    name: str | None = click.get_current_context().meta.get(DEVICE_KEY)
    return name


def _remember_device(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    for value in values:
        before = ctx.meta.setdefault(DEVICE_KEY, value)
        if before != value:
            raise click.UsageError(
                f"Two devices given, '{before}' and '{value}'; use one. To measure several: "
                f"{command('bench', '--device', before, '--device', value)}"
            )


def refuse_options(names: Iterable[str], where: str, before: str = "") -> None:
    """Refuse options that would be ignored, if the command line gives them.

    Args:
        names: The names of the command's parameters.
        where: What they have no effect on, for example "with --from".
        before: An option that was given, maybe before the command.

    Raises:
        click.UsageError: Lists those that are given.
    """
    context = click.get_current_context()
    options = {param.name: max(param.opts, key=len) for param in context.command.params}
    given = [
        options[name]
        for name in names
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    given += [before] if before and before not in given else []
    if given:
        have, them = ("has", "it") if len(given) == 1 else ("have", "them")
        raise click.UsageError(f"{', '.join(given)} {have} no effect {where}; leave {them} out.")


def print_json(document: Any) -> None:
    """Print one JSON document on stdout.

    Args:
        document: What `json.dumps` takes.
    """
    click.echo(json.dumps(finite(document), indent=2))
