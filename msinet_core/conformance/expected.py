"""Failures that a plugin's author knows of: a file that says which, why, and where to read on."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msinet_core.errors import UsageError, bullet_list

KEYS = ("reason", "link")


@dataclass(frozen=True)
class ExpectedFailure:
    """Why a row may fail.

    Args:
        reason: A sentence.
        link: Where it is reported or documented.
    """

    reason: str
    link: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.link})"


def read_expected(path: Path, rows: Collection[str]) -> Mapping[str, ExpectedFailure]:
    """Read a file of expected failures: TOML, a table for each row, with a reason and a link.

    Args:
        path: The file.
        rows: The ids of all rows.

    Raises:
        UsageError: It cannot be read, names a row that is not there, or gives no reason or link.
    """
    entries = _parse(path)
    problems = [
        problem for name, entry in entries.items() for problem in _problems(name, entry, rows)
    ]
    if problems:
        raise UsageError(f"{path} cannot be used:\n{bullet_list(problems)}")
    return {name: ExpectedFailure(**entry) for name, entry in entries.items()}


def _parse(path: Path) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        entries: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Name another file.") from error
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}. Mend it there.") from error
    return entries


def _problems(name: str, entry: Any, rows: Collection[str]) -> list[str]:
    if name not in rows:
        close = difflib.get_close_matches(name, rows, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return [f"There is no row '{name}'.{hint}"]
    if not isinstance(entry, dict):
        return [f"'{name}' must be a table: [\"{name}\"], then reason and link."]
    found = [
        f"'{name}' needs a {key}, a text that is not empty."
        for key in KEYS
        if not (isinstance(entry.get(key), str) and entry[key].strip())
    ]
    unknown = sorted(entry.keys() - set(KEYS))
    return found + [f"'{name}' says '{key}'; it takes {' and '.join(KEYS)}." for key in unknown]
