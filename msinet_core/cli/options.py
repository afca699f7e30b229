"""The options that several commands share, made from the declarations of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from msinet_core.errors import did_you_mean
from msinet_core.system.kinds import FLAG, TABLE, Kind, choice, integer
from msinet_core.system.settings import Setting, declared_settings
from msinet_core.training.config import IMAGE_SIZE, TrainConfig

if TYPE_CHECKING:
    from msinet_core.device import Device, DeviceSpec
    from msinet_core.network.ops import Size
    from msinet_core.registry.plugin import Plugin

Command = TypeVar("Command", bound=Callable[..., Any])

DEVICE_KEY = "msinet.device"


class SettingType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """Read a value of one kind.

    Args:
        kind: The kind.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = kind.metavar

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.parse(value) if isinstance(value, str) else self.kind.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SizeType(SettingType):
    """Read ``HxW`` in pixels."""

    def __init__(self) -> None:
        super().__init__(IMAGE_SIZE)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        size: Size = super().convert(value, param, ctx)
        return size


class CountType(SettingType):
    """Read an integer.

    Args:
        minimum: The smallest one.
    """

    def __init__(self, minimum: int = 1) -> None:
        super().__init__(integer(minimum))


class ChoiceType(SettingType):
    """Read one of several words.

    Args:
        choices: The words.
        synonyms: Other spellings of some of them.
    """

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str] | None = None) -> None:
        super().__init__(choice(tuple(choices), synonyms))


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
        help="Device to compute on; msinet-run devices lists them. Default: the best available.",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``.

    Args:
        command: The command; it gets the argument ``as_json``.
    """
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )(command)


def weights_option(*, required: bool = True) -> Callable[[Command], Command]:
    """Return a decorator that adds ``--weights``; the command gets ``weights``, a path.

    Args:
        required: Whether the command needs it; otherwise it may get None.
    """
    return click.option(
        "--weights",
        required=required,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Checkpoint in any format that convert reads, or published:salicon (or another "
        "dataset).",
    )


def setting_option(name: str, declared: Setting) -> Callable[[Command], Command]:
    """Return a decorator that adds the option of a setting.

    Args:
        name: The setting's name, which is also the argument's.
        declared: Its declaration.
    """
    kind, option = declared.kind, f"--{name.replace('_', '-')}"
    default = kind.to_text(declared.default) if declared.default not in (None, (), {}) else None
    unset = f" [default: {declared.unset}]" if declared.unset else ""
    more: dict[str, Any] = {"type": SettingType(kind), "metavar": kind.metavar, "default": default}
    if kind is FLAG:
        option = f"{option}/--no-{name}"
        more = {"default": declared.default}
    elif kind.is_table:
        option = option.removesuffix("s")
        more = {**more, "default": None, "multiple": True, "callback": _merge_tables}
    elif kind.metavar == "DIR":
        more["type"] = click.Path(path_type=Path, file_okay=False)
    short = ["-O"] if kind is TABLE else []
    return click.option(
        option, *short, name, **more, show_default=default is not None, help=declared.help + unset
    )


def setting_options(settings: type, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of all settings of a dataclass.

    Args:
        settings: The dataclass.
        without: The settings that have no option.
    """

    def add(command: Command) -> Command:
        for name, declared in reversed(declared_settings(settings).items()):
            if name not in without:
                command = setting_option(name, declared)(command)
        return command

    return add


def _merge_tables(
    ctx: click.Context, param: click.Parameter, tables: tuple[dict[str, Any], ...]
) -> dict[str, Any]:
    return {name: value for table in tables for name, value in table.items()}


_SHARED = declared_settings(TrainConfig)
_RESIZE_UNSET = "those in the file, else asymmetric"

data_root_option = setting_option("data_root", _SHARED["data_root"])
device_options_option = setting_option("device_options", _SHARED["device_options"])
precision_option = setting_option("precision", _SHARED["precision"])
resize_option = setting_option("resize", replace(_SHARED["resize"], unset=_RESIZE_UNSET))
sigma_option = setting_option("sigma", _SHARED["sigma"])
workers_option = setting_option("workers", _SHARED["workers"])


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
                f"msinet-run bench --device {before} --device {value}"
            )


def chosen_device() -> tuple[DeviceSpec, Plugin] | None:
    """Return the device that was opened last, and its plugin; None if none was opened."""
    from msinet_core.device.spec import opened_spec
    from msinet_core.registry.registry import load_registry

    spec = opened_spec()
    return None if spec is None else (spec, load_registry().plugin_of(spec))


def open_device(precision: str, device_options: dict[str, str] | None = None) -> Device:
    """Choose the device and open it.

    Args:
        precision: The value of ``--precision``.
        device_options: The values of ``--device-option``.

    Raises:
        DeviceUnavailableError: The device is not available, or does not open.
        UsageError: No such device, or it lacks the precision or an option.
    """
    from msinet_core.registry import registry

    return registry.open_device(
        device_name(), precision, device_options, lambda text: click.echo(text, err=True)
    )
