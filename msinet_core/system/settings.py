"""Settings, declared once for Python, TOML and the command line.

A dataclass declares its fields with `setting` and calls `check_settings`; the command line makes
its options from the same declarations.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from msinet_core.errors import UsageError
from msinet_core.system.kinds import Kind

SPLIT_SEED = 42
"""The default seed of the split of a folder without ``train/`` and ``val/``. Here, since
help texts show it without importing NumPy."""


@dataclass(frozen=True)
class Setting:
    """Describe a setting.

    Args:
        kind: The values it accepts.
        help: What it does, in sentences.
        default: Its default value; None for none.
        unset: What happens if it is None, as the help text's default.
    """

    kind: Kind
    help: str
    default: Any = None
    unset: str = ""


def setting(kind: Kind, help: str, default: Any = MISSING, unset: str = "") -> Any:
    """Declare a setting as a field of a dataclass.

    Args:
        kind: The values it accepts; None too if that is its default.
        help: What it does, in sentences.
        default: Its default value; a required setting has none.
        unset: What happens if it is None, as the help text's default.
    """
    declared = Setting(kind, help, None if default is MISSING else default, unset)
    metadata = {"setting": declared}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def declared_settings(owner: Any) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name.

    Args:
        owner: The dataclass, or an instance.
    """
    return {item.name: item.metadata["setting"] for item in fields(owner)}


def check_settings(owner: Any) -> None:
    """Check all settings of a frozen dataclass, and bring each to its standard form.

    Args:
        owner: The instance; call this in its ``__post_init__``.

    Raises:
        UsageError: Lists every setting whose value is not accepted.
    """
    problems = []
    for item in fields(owner):
        value = getattr(owner, item.name)
        if value is None and item.default is None:
            continue
        try:
            checked = item.metadata["setting"].kind.check(value)
        except ValueError as error:
            problems.append(f"Invalid {item.name}: {error}")
        else:
            object.__setattr__(owner, item.name, checked)
    if problems:
        raise UsageError("\n".join(problems))


def check_argument(name: str, kind: Kind, value: Any) -> Any:
    """Return an argument in its standard form.

    Args:
        name: Its name.
        kind: The values it accepts.
        value: Its value.

    Raises:
        UsageError: The value is not accepted.
    """
    try:
        return kind.check(value)
    except ValueError as error:
        raise UsageError(f"Invalid {name}: {error}") from None


def check_optional(name: str, kind: Kind, value: Any) -> Any:
    """Return an argument in its standard form, or None if it is None.

    Args:
        name: Its name.
        kind: The values it accepts besides.
        value: Its value.

    Raises:
        UsageError: The value is not accepted.
    """
    return None if value is None else check_argument(name, kind, value)
