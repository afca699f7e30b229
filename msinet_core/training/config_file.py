"""The file of a run's settings, ``config.toml``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from msinet_core.errors import MsinetError, UsageError, bullet_list, did_you_mean, os_reason
from msinet_core.registry.registry import AUTO
from msinet_core.system.files import write_text
from msinet_core.system.version import __version__
from msinet_core.training.config import TrainConfig


def write_config(config: TrainConfig, path: Path) -> None:
    """Write the settings of a run as TOML.

    Args:
        config: The settings.
        path: The file to create or replace.

    Raises:
        MsinetError: The file cannot be written.
    """
    import tomli_w

    write_text(path, tomli_w.dumps({"msinet": __version__, "train": config.to_dict()}))


def read_config(path: Path) -> TrainConfig:
    """Read the settings of a run; those that only a later version has are ignored.

    Args:
        path: Its ``config.toml``.

    Raises:
        UsageError: The file does not exist.
        MsinetError: The file cannot be read, or holds no valid settings.
    """
    if not path.exists():
        raise UsageError(
            f"{path.parent} is not a run folder: {path} does not exist. Name the folder of a "
            f"run with --run, or start a new run without --resume."
        )
    values = _read_settings(path)
    known = {item.name for item in fields(TrainConfig)} & values.keys()
    return _make_config(path, {name: values[name] for name in known})


def read_config_to_repeat(path: Path, changes: Mapping[str, Any]) -> TrainConfig:
    """Read the settings of a new run.

    Args:
        path: The ``config.toml`` of another run, its folder, or a file written by hand.
        changes: Settings that override the file's.

    Raises:
        UsageError: The file does not exist, cannot be read, or holds invalid settings; or a change
            is not accepted.
    """
    path = path / "config.toml" if path.is_dir() else path
    names = [item.name for item in fields(TrainConfig)]
    try:
        values: dict[str, Any] = {"device": AUTO}
        values |= {name.replace("-", "_"): value for name, value in _read_settings(path).items()}
        for name in values:
            if name not in names:
                raise UsageError(f"Unknown setting {name!r} in {path}.{did_you_mean(name, names)}")
        if "data" not in {**values, **changes}:
            raise UsageError(f"{path} names no dataset. Add data, or use --data.")
        return replace(_make_config(path, {"data": "", **values}), **changes)
    except MsinetError as error:  # the file is an argument here, not a run's own
        raise UsageError(str(error)) from error


def _read_settings(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with _naming(path):
        settings = tomllib.loads(path.read_text(encoding="utf-8")).get("train")
        if not isinstance(settings, dict):
            raise ValueError("The table [train] with the settings is missing.")
        return settings


def _make_config(path: Path, values: Mapping[str, Any]) -> TrainConfig:
    with _naming(path):
        missing = [name for name in ("data", "device") if name not in values]
        if missing:
            raise ValueError("\n".join(f"The setting {name} is missing." for name in missing))
        return TrainConfig(**values)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except (OSError, ValueError, UsageError) as error:
        raise MsinetError(
            f"Invalid training settings in {path}:\n{bullet_list(os_reason(error).splitlines())}\n"
            f"Fix the file, or do without it."
        ) from error
