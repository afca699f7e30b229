"""Failures that a plugin's author knows of: a file that says which, why, and where to read on."""

from __future__ import annotations

import difflib
import re
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
        hint = _unquoted(path.read_text(encoding="utf-8", errors="replace"))
        raise UsageError(f"{path} is no TOML: {error}. {hint or 'Mend it there.'}") from error
    return entries


def _unquoted(text: str) -> str:
    """Show how a row's id without quotes is written; empty where that is not what is wrong."""
    found = re.search(r"^\s*\[\s*([\w-]+/[\w-]+)\s*\]", text, re.MULTILINE)
    return f'Put the id in quotes: ["{found[1]}"]' if found else ""


def _meant(name: str, rows: Collection[str]) -> str:
    """Find the row that was meant: one that goes on as the name does, else the most alike."""
    longer = [row for row in rows if row.startswith(name)]
    group = [row for row in rows if row.partition("/")[0] == name.partition("/")[0]]
    close = longer[:1] or difflib.get_close_matches(name, group or rows, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _problems(name: str, entry: Any, rows: Collection[str]) -> list[str]:
    if name not in rows:
        return [f"There is no row '{name}'.{_meant(name, rows)}"]
    if not isinstance(entry, dict):
        return [f"'{name}' must be a table: [\"{name}\"], then reason and link."]
    found = [
        f"'{name}' needs a {key}, a text that is not empty."
        for key in KEYS
        if not (isinstance(entry.get(key), str) and entry[key].strip())
    ]
    unknown = sorted(entry.keys() - set(KEYS))
    return found + [f"'{name}' says '{key}'; it takes {' and '.join(KEYS)}." for key in unknown]
