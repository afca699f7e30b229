"""Options made from the declarations of settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from msinet_core.cli.options import Command, PathType
from msinet_core.system.kinds import FLAG, TABLE, Kind, text
from msinet_core.system.settings import Setting, declared_settings
from msinet_core.training.config import TrainConfig


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


def kind_option(
    name: str, kind: Kind, help: str, default: Any = None, unset: str = ""
) -> Callable[[Command], Command]:
    """Return a decorator that adds an option of a command's own.

    Args:
        name: The argument's name, from which the option's is made.
        kind: The values it accepts.
        help: What it does.
        default: Its default value.
        unset: What happens without it.
    """
    return setting_option(name, Setting(kind, help, default, unset))


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
    elif kind.metavar in ("DIR", "FILE"):
        file = kind.metavar == "FILE"
        more["type"] = PathType(file_okay=file, dir_okay=not file)
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


FILE, FOLDER, NAME = text("FILE"), text("DIR"), text("NAME")
SHARED = declared_settings(TrainConfig)
_RESIZE_UNSET = "those in the file, else asymmetric"

data_root_option = setting_option("data_root", SHARED["data_root"])
device_options_option = setting_option("device_options", SHARED["device_options"])
precision_option = setting_option("precision", SHARED["precision"])
resize_option = setting_option("resize", replace(SHARED["resize"], unset=_RESIZE_UNSET))
sigma_option = setting_option("sigma", SHARED["sigma"])
workers_option = setting_option("workers", SHARED["workers"])
