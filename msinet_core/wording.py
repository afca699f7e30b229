"""Parts of messages: the name that was meant, and why the system refused."""

from __future__ import annotations

import errno
from collections.abc import Iterable

DEBUG_VARIABLE = "MSINET_DEBUG"
"""Show tracebacks with the messages, and lists in full."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Write a sentence that suggests the nearest known name, with a space before it.

    Args:
        word: What was typed.
        known: What would have been understood.

    Returns:
        An empty string where nothing is near.
    """
    import difflib

    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" Did you mean '{names[close[0]]}'?" if close else ""


_REASONS: dict[int, str] = {
    errno.ENOENT: "it is not there",
    errno.EACCES: "the permission is missing",
    errno.EPERM: "the permission is missing",
    errno.EISDIR: "it is a folder and no file",
    errno.ENOTDIR: "a part of the path is a file and no folder",
    errno.EEXIST: "something of that name is there already",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "the disk is mounted read-only",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EFBIG: "the file would be larger than the system allows",
    errno.EIO: "the disk or the connection to it fails",
    errno.EMFILE: "too many files are open",
    errno.ELOOP: "links lead in a circle",
} | {
    getattr(errno, name): reason  # not on every system
    for name, reason in (
        ("EDQUOT", "the disk quota is used up"),
        ("ESTALE", "the connection to its network folder was lost"),
    )
    if hasattr(errno, name)
}


def os_reason(error: OSError) -> str:
    """Say in words why the system refused; its own words where they are not known here.

    Args:
        error: What it raised.
    """
    return _REASONS.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
