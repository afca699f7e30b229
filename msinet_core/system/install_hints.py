"""Adapt ``pip install`` commands in messages to the way this msinet was installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

_REQUIREMENT = re.compile(r'"msinet\[([\w,-]+)\]"')


def installable(text: str) -> str:
    """Make ``"msinet[EXTRA]"`` in a command installable from where this msinet came from.

    The text is unchanged if msinet came from a package index. If it came from a checkout, an
    archive or a repository, the command names that, since an index may not have it.

    Args:
        text: A message with a ``pip install`` command; it begins with "On a " if the command is
            for another machine.
    """
    origin = _origin()
    if not origin:
        return text
    if text.startswith("On a "):
        changed = _REQUIREMENT.sub(r'".[\1]"', text)
        return changed if changed == text else f"{changed}, in a checkout of msinet"
    return _REQUIREMENT.sub(lambda match: _requirement(origin, match[1]), text)


def editable_folder(distribution: str) -> str | None:
    """Return the source folder of an editable distribution; None if it is not editable.

    Args:
        distribution: Its name.
    """
    origin = _origin(distribution)
    return _path(origin) if _is_editable(origin) else None


def _requirement(origin: Mapping[str, Any], extra: str) -> str:
    """Return the arguments of ``pip install``.

    Source: https://packaging.python.org/en/latest/specifications/direct-url
    """
    if "dir_info" in origin:
        return f'{"-e " * _is_editable(origin)}"{_path(origin)}[{extra}]"'
    url = str(origin["url"])
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f'"msinet[{extra}] @ {url}"'


def _is_editable(origin: Mapping[str, Any]) -> bool:
    info = origin.get("dir_info")
    return isinstance(info, dict) and bool(info.get("editable"))


def _path(origin: Mapping[str, Any]) -> str:
    return url2pathname(urlparse(str(origin["url"])).path)


@cache
def _origin(distribution: str = "msinet") -> Mapping[str, Any]:
    """Read where an installer took a distribution from; empty for a package index."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) and "url" in origin else {}
