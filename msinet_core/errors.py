"""What the program says when it cannot go on: the value, the reason and the next step.

One rule gives the exit code of every command. 2, wrong usage: what an argument or option says
cannot be used as it stands, which includes naming a file, folder, data set, device or format that
is not there. 1: what it names is there, and fails. 3: the device is known, but not on this machine.
130: interrupted, with the state saved.
"""

from __future__ import annotations

import os

from msinet_core.wording import DEBUG_VARIABLE

__all__ = [
    "CheckpointError",
    "DataError",
    "DeviceUnavailableError",
    "DivergenceError",
    "GraphError",
    "InterruptedRunError",
    "MsinetError",
    "PluginError",
    "UsageError",
    "bullet_list",
]


class MsinetError(Exception):
    """Report a failure that its user can act on.

    The command line prints the message as it is and exits with `exit_code`; a traceback is shown
    only when the environment variable ``MSINET_DEBUG`` is set.

    Args:
        message: What failed with its value, why, and what to do next, in whole sentences.
    """

    exit_code = 1


class UsageError(MsinetError):
    """Report an option or argument that cannot be used as given."""

    exit_code = 2


class DeviceUnavailableError(MsinetError):
    """Report that the device asked for cannot be used on this machine; no other takes its place."""

    exit_code = 3


class InterruptedRunError(MsinetError):
    """Report that a run was interrupted after its state was saved."""

    exit_code = 130


class GraphError(MsinetError, ValueError):
    """Report a graph, or an op in it, that cannot be."""


class DataError(MsinetError):
    """Report images, maps or fixations that cannot be used."""


class CheckpointError(MsinetError):
    """Report a checkpoint that cannot be read or does not fit the network."""


class PluginError(MsinetError):
    """Report a plugin that breaks the contract of the hooks."""


class DivergenceError(MsinetError):
    """Report a training run whose loss is no longer a number."""


def bullet_list(lines: list[str], limit: int = 20) -> str:
    """Join lines under one another, at most `limit` of them, and say how many were left out.

    With ``MSINET_DEBUG`` none is left out.

    Args:
        lines: What to list.
        limit: The most lines to show.
    """
    if os.environ.get(DEBUG_VARIABLE):
        limit = len(lines)
    shown = [f"  - {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  - ... and {len(lines) - limit} more; {DEBUG_VARIABLE}=1 lists all")
    return "\n".join(shown)
