"""Whose failure an exception is, and what to try."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msinet_core.errors import MsinetError
from msinet_core.place import place
from msinet_core.wording import DEBUG_VARIABLE

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec
    from msinet_core.discovery import Plugin

OWN_DISTRIBUTION = "msinet"

_MEMORY = re.compile(
    r"out of memory|(not enough|insufficient) memory|resource_?exhausted|\ballocat|\bOOM\b",
    re.IGNORECASE,
)


def error_words(error: BaseException) -> str:
    """Write an exception as a sentence: with its type, unless it is one of ours.

    Args:
        error: What was raised.
    """
    text = str(error) if isinstance(error, MsinetError) else f"{type(error).__name__}: {error}"
    return text if text.endswith(".") else f"{text}."


def advice(error: BaseException, device: str) -> str:
    """Say what to try when a device failed.

    Args:
        error: What was raised; frameworks have their own types for too little memory.
        device: The device's name.
    """
    if isinstance(error, MemoryError) or _MEMORY.search(f"{type(error).__name__}: {error}"):
        return "If its memory was too small, use a smaller --batch-size or --image-size."
    return f"msinet-run plugins check {device} finds out what is wrong."


def failure_message(error: BaseException, spec: DeviceSpec, plugin: Plugin) -> str:
    """Word an exception that nobody foresaw while a device was in use.

    Args:
        error: What was raised.
        spec: The device.
        plugin: Who brought it.
    """
    where = place(error, spec, outside=False)
    report = f"with what {DEBUG_VARIABLE}=1 shows."
    if not where:
        return (
            f"{error_words(error)} This was not foreseen; please report it {report} The device was "
            f"'{spec.name}', of {plugin}."
        )
    what = f"Device '{spec.name}' failed: {error_words(error)} It happened in {where}."
    if plugin.distribution == OWN_DISTRIBUTION:
        return f"{what} {advice(error, spec.name)} If that does not help, please report it {report}"
    return (
        f"{what} {advice(error, spec.name)} The device comes from {plugin}; report it to its "
        f"author {report}"
    )
