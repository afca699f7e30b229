"""Every exception, and the phrases that messages share.

One rule gives the exit code of every command:

* 2, wrong usage: an argument or option cannot be used as given, which includes naming a file,
  folder, dataset, device or format that does not exist.
* 1: what it names exists, and fails.
* 3: the device is known, but not available on this machine.
* 130: interrupted, with the state saved.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import Any

DEBUG_VARIABLE = "MSINET_DEBUG"
"""Show tracebacks with messages, and lists in full."""

_MAX_MESSAGE = 100_000
"""Characters."""


class MsinetError(Exception):
    """Report a failure that the user can act on.

    The command line prints the message and exits with `exit_code`; it shows a traceback only when
    the environment variable ``MSINET_DEBUG`` is set.

    Args:
        message: What failed with its value, why, and what to do next, in whole sentences. Control
            characters other than line feeds are escaped: messages may quote files.
    """

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message), keep="\n", limit=_MAX_MESSAGE))


class UsageError(MsinetError):
    """Report an option or argument that cannot be used as given."""

    exit_code = 2


class DeviceUnavailableError(MsinetError):
    """Report that the requested device cannot be used on this machine; no other replaces it."""

    exit_code = 3


class InterruptedRunError(MsinetError):
    """Report that the user interrupted long work; what training had done is saved."""

    exit_code = 130


class GraphError(MsinetError, ValueError):
    """Report an invalid graph or op."""


class DataError(MsinetError):
    """Report images, maps or fixations that cannot be used."""


class EvaluationError(MsinetError):
    """Report that no image could be scored, or that the report could not be written.

    Args:
        cause: Why.
        evaluation: The `Evaluation`: the scores, and why images could not be used.
    """

    def __init__(self, cause: str, evaluation: Any) -> None:
        super().__init__(
            f"{cause} The attribute 'evaluation' of this error lists scores and failures."
        )
        self.cause, self.evaluation = cause, evaluation


class CheckpointError(MsinetError):
    """Report a checkpoint that cannot be read or does not fit the network."""


class PluginError(MsinetError):
    """Report a plugin that breaks the contract of the hooks."""


class DivergenceError(MsinetError):
    """Report a training run whose loss or weights are no longer finite."""


def command(*words: object, **options: object) -> str:
    """Return a ``msinet-run`` command that can be pasted into a shell.

    Args:
        words: Its arguments, one each; those that a shell would split are quoted.
        options: Options with a value; those whose value is None are left out.
    """
    line = ["msinet-run", *map(str, words)]
    for name, value in options.items():
        if value is not None:
            line += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(line)


def printable(text: str, keep: str = "", limit: int = 1_000) -> str:
    """Shorten a text, and escape what a terminal or a reader could mistake.

    That is all that `str.isprintable` excludes: control characters, line separators, marks that
    change the direction of writing, invisible characters, and halves of characters (surrogates).

    Args:
        text: For example a name in a file.
        keep: Characters that are not escaped.
        limit: How many characters are shown.
    """
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text):,} characters)"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with what it counts, for example "1 image" or "2 images".

    Args:
        number: How many.
        one: What there is one of.
        many: The words for any other number; empty: `one` with an "s".
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def bullet_list(lines: list[str], limit: int = 20) -> str:
    """Format lines as a bulleted list of at most `limit` entries, and say how many are left out.

    With ``MSINET_DEBUG`` the list is complete.

    Args:
        lines: The entries.
        limit: The maximum number of entries to show.
    """
    if os.environ.get(DEBUG_VARIABLE):
        limit = len(lines)
    shown = [f"  - {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  - ... and {len(lines) - limit} more ({DEBUG_VARIABLE}=1 lists all)")
    return "\n".join(shown)


def describe_error(error: BaseException) -> str:
    """Format an exception as a sentence, with its type unless it is one of ours.

    Args:
        error: The exception.
    """
    text = error_text(error)
    if not isinstance(error, MsinetError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if text.endswith(".") else f"{text}."


def error_text(error: BaseException) -> str:
    """Return an exception's text, even if its ``__str__`` raises.

    Args:
        error: The exception.
    """
    try:
        return str(error)
    except Exception as fault:
        return f"(its __str__ raised {type(fault).__name__})"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name.

    Args:
        word: What was typed.
        known: The valid names.

    Returns:
        An empty string if no name is close.
    """
    import difflib

    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" Did you mean '{names[close[0]]}'?" if close else ""


def os_reason(error: BaseException) -> str:
    """Return the operating system's own text for an error, for example "Permission denied".

    Args:
        error: The exception; of other exceptions their text, or the type if they have none.
    """
    own = error.strerror if isinstance(error, OSError) else None
    return own or error_text(error) or type(error).__name__
