"""Expected failures: a file that names rows, each with a reason and a link."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msinet_core.errors import UsageError, bullet_list, did_you_mean, os_reason

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
    """Read expected failures from TOML: a table for each row, with a reason and a link.

    Args:
        path: The file.
        rows: The ids of all rows.

    Raises:
        UsageError: The file cannot be read, names an unknown row, or lacks a reason or a link.
    """
    entries = _parse(path)
    problems = [
        problem for name, entry in entries.items() for problem in _problems(name, entry, rows)
    ]
    if problems:
        raise UsageError(f"invalid expected failures in {path}:\n{bullet_list(problems)}")
    return {name: ExpectedFailure(**entry) for name, entry in entries.items()}


def _parse(path: Path) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        entries: Mapping[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os_reason(error)}") from error
    except ValueError as error:
        unquoted = re.search(r"^\s*\[\s*([\w-]+/[\w-]+)\s*\]", text, re.MULTILINE)
        hint = f'. Quote the id: ["{unquoted[1]}"]' if unquoted else ""
        raise UsageError(f"invalid TOML in {path}: {error}{hint}") from error
    return entries


def _problems(name: str, entry: Any, rows: Collection[str]) -> list[str]:
    if name not in rows:
        group = [row for row in rows if row.partition("/")[0] == name.partition("/")[0]]
        return [f"unknown row '{name}'.{did_you_mean(name, group or rows)}"]
    if not isinstance(entry, dict):
        return [f"'{name}' must be a table: [\"{name}\"], then reason and link"]
    found = [
        f"'{name}' needs a {key}: a text that is not empty"
        for key in KEYS
        if not (isinstance(entry.get(key), str) and entry[key].strip())
    ]
    unknown = sorted(entry.keys() - set(KEYS))
    return found + [f"'{name}' has an unknown key '{key}'; use reason and link" for key in unknown]
