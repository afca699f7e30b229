"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from msinet_core.errors import did_you_mean

if TYPE_CHECKING:
    from msinet_core.device import Device, DeviceSpec
    from msinet_core.network.ops import Size
    from msinet_core.registry.loader import Plugin

Command = TypeVar("Command", bound=Callable[..., Any])

DEVICE_KEY = "msinet.device"
CHOSEN_KEY = "msinet.chosen"


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """Reads ``HxW`` in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", str(value))
        if match is None:
            self.fail(f"'{value}' is not a size; write height x width, for example 240x320.")
        size = int(match[1]), int(match[2])
        if 0 in size:
            self.fail(f"'{value}' has no pixels; write height x width, for example 240x320.")
        return size


class CountType(click.ParamType):  # type: ignore[type-arg]  # as SizeType
    """Reads a whole number that is not too small.

    Args:
        least: The smallest that is taken.
    """

    name = "integer"

    def __init__(self, least: int = 1) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self._least - 1
        if number < self._least:
            self.fail(
                f"'{value}' is not a whole number of at least {self._least}; "
                f"give one, or leave the option out."
            )
        return number


class WidthType(click.ParamType):  # type: ignore[type-arg]  # as SizeType
    """Reads the factor on the numbers of channels."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            width = float(value)
        except ValueError:
            width = 0.0
        if not 0 < width < float("inf"):
            self.fail(
                f"'{value}' is not a number above 0; 1 is the published network, and 0.25 one with "
                f"a quarter of its channels."
            )
        return width


class ChoiceType(click.Choice):  # type: ignore[type-arg]  # as SizeType
    """One of several words; suggests the nearest to what was typed.

    Args:
        choices: The words.
        synonyms: Other words for some of them.
    """

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str] | None = None) -> None:
        super().__init__(choices)
        self._synonyms = synonyms or {}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        word = self._synonyms.get(value, value)
        if word not in self.choices:
            hint = did_you_mean(str(value), self.choices)
            self.fail(f"'{value}' is not one of {', '.join(self.choices)}.{hint}", param, ctx)
        return str(word)


class CommandGroup(click.Group):
    """A group that suggests the command that was meant."""

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
                f"There is no command '{args[0]}'.{did_you_mean(args[0], names)} "
                f"Commands: {', '.join(names)}.",
                ctx,
            ) from error


def device_option(command: Command) -> Command:
    """Add ``--device``, which may also stand before the command's name.

    Args:
        command: The command; it reads the name with `device_name`.
    """
    return click.option(
        "--device",
        "-d",
        metavar="NAME",
        multiple=True,  # click would take the last one without a word
        expose_value=False,
        callback=_remember_device,
        help="Device to compute on; msinet-run devices lists them. Default: chosen by priority.",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``.

    Args:
        command: The command; it gets the argument ``as_json``.
    """
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(command)


def precision_option(command: Command) -> Command:
    """Add ``--precision``.

    Args:
        command: The command; it gets the argument ``precision``.
    """
    return click.option(
        "--precision",
        type=ChoiceType(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Arithmetic of the network; weights stay float32. auto: the device's own choice.",
    )(command)


def weights_option(command: Command) -> Command:
    """Add ``--weights``.

    Args:
        command: The command; it gets the argument ``weights``, a path.
    """
    return click.option(
        "--weights",
        required=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Checkpoint in any format that convert reads, or published:salicon (or another "
        "set's).",
    )(command)


def data_root_option(command: Command) -> Command:
    """Add ``--data-root``.

    Args:
        command: The command; it gets the argument ``data_root``, a path or None.
    """
    return click.option(
        "--data-root",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder that named data sets are in. [default: data]",
    )(command)


def workers_option(command: Command) -> Command:
    """Add ``--workers``.

    Args:
        command: The command; it gets the argument ``workers``.
    """
    return click.option(
        "--workers",
        type=CountType(),
        metavar="N",
        help="Threads that work on images beside the device. [default: by the number of cores]",
    )(command)


def device_options_option(command: Command) -> Command:
    """Add ``--device-option``.

    Args:
        command: The command; it gets the argument ``device_options``, a dict.
    """
    return click.option(
        "--device-option",
        "-O",
        "device_options",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_read_device_options,
        help="Choice that one device offers; msinet-run doctor lists them. Can be repeated.",
    )(command)


def device_name() -> str | None:
    """Return what ``--device`` says, before or after the command; None if it is not there."""
    name: str | None = click.get_current_context().meta.get(DEVICE_KEY)
    return name


def _remember_device(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    for value in values:
        before = ctx.meta.setdefault(DEVICE_KEY, value)
        if before != value:
            raise click.UsageError(
                f"Two devices are named, '{before}' and '{value}'. Name one; bench measures "
                f"several: msinet-run bench --device {before} --device {value}"
            )


def select_device(default: str | None = None, *, training: bool = False) -> DeviceSpec:
    """Choose the device by ``--device``, else ``MSINET_DEVICE``, else `default`, else priority.

    Args:
        default: The device that a resumed run was on.
        training: Whether it must train.

    Raises:
        DeviceUnavailableError: The device is not here, or none is.
        UsageError: There is no such device, or it does not train and should.
    """
    from msinet_core.registry.registry import DEVICE_VARIABLE, load_registry

    name = device_name() or (None if os.environ.get(DEVICE_VARIABLE) else default)
    registry = load_registry()
    spec = registry.select(name, training=training, message=lambda text: click.echo(text, err=True))
    click.get_current_context().meta[CHOSEN_KEY] = spec, registry.plugin_of(spec)
    return spec


def chosen_device(ctx: click.Context) -> tuple[DeviceSpec, Plugin] | None:
    """Return the device that a command chose, and who brought it; None before it chose.

    Args:
        ctx: The context of the command, or of a group that it is in.
    """
    chosen: tuple[DeviceSpec, Plugin] | None = ctx.meta.get(CHOSEN_KEY)
    return chosen


def naming(spec: DeviceSpec) -> str:
    """Write ``--device NAME``, with a space before it, unless a command would choose it itself.

    Args:
        spec: The device.
    """
    from msinet_core.errors import MsinetError
    from msinet_core.registry.registry import load_registry

    try:
        if load_registry().select().name == spec.name:
            return ""
    except MsinetError:  # none would be chosen
        pass
    return f" --device {spec.name}"


def open_device(precision: str, device_options: dict[str, str] | None = None) -> Device:
    """Choose the device and open it.

    Args:
        precision: What ``--precision`` says.
        device_options: What ``--device-option`` says.

    Raises:
        DeviceUnavailableError: The device is not here, or does not open.
        UsageError: There is no such device, or it lacks the precision or an option.
    """
    return select_device().open(precision, device_options)


def _read_device_options(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"'{value}' is not of the form NAME=VALUE.", ctx, param)
    return dict(value.split("=", 1) for value in values)
