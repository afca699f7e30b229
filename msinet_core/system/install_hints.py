"""Say how to install more of msinet in the way in which this msinet was installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote, urlparse

_OWN = re.compile(r'"msinet\[([\w,-]+)\]"')
_ELSEWHERE = "On a "
"""How cures begin that are about another machine."""


def installable(text: str) -> str:
    """Let a command that installs an extra of msinet, ``"msinet[cpu]"``, work for this msinet.

    It stays as it is where msinet came from a package index. Where it came from a checkout, an
    archive or a repository, an index may not have it, and the command names that place.

    Args:
        text: A command, or words with a command in them.
    """
    origin = _origin()
    if not origin:
        return text
    if text.startswith(_ELSEWHERE):
        changed = _OWN.sub(r'".[\1]"', text)
        return changed if changed == text else f"{changed}, in a checkout of msinet"
    return _OWN.sub(lambda match: _requirement(origin, match[1]), text)


def editable_folder(distribution: str) -> str | None:
    """Give the folder that an editable distribution is worked on in; None if it is not editable.

    Args:
        distribution: Its name.
    """
    origin = _origin(distribution)
    info = origin.get("dir_info")
    editable = isinstance(info, dict) and info.get("editable")
    return unquote(urlparse(str(origin["url"])).path) if editable else None


def _requirement(origin: Mapping[str, Any], extra: str) -> str:
    """Write what follows ``pip install``.

    Source: https://packaging.python.org/en/latest/specifications/direct-url
    """
    url = str(origin["url"])
    if "dir_info" in origin:
        place = f'"{unquote(urlparse(url).path)}[{extra}]"'
        return f"-e {place}" if origin["dir_info"].get("editable") else place
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f'"msinet[{extra}] @ {url}"'


@cache
def _origin(distribution: str = "msinet") -> Mapping[str, Any]:
    """Read where pip or another installer took a distribution from; empty for a package index."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) and "url" in origin else {}
