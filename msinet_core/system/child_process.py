"""Start Python in a child process without searching the current folder."""

from __future__ import annotations

import signal
import sys


def python_command(code: str, *arguments: str) -> list[str]:
    """Return the command that runs code in a new interpreter with the import path of this one.

    ``python -m`` and ``python -c`` search the current folder first, so that a file named
    ``numpy.py`` there would be executed. The option ``-P`` prevents it from Python 3.11 on only.

    Args:
        code: Statements on one line.
        arguments: What the code finds in ``sys.argv[1:]``.
    """
    path = [entry for entry in sys.path if entry]
    return [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {code}", *arguments]


def describe_exit(code: int) -> str:
    """Say how a process ended, for example "ended the process with SIGSEGV".

    Args:
        code: Its return code; negative for a signal, as in `subprocess`.
    """
    if code >= 0:
        return f"ended the process with exit code {code}"
    names = {item.value: item.name for item in signal.Signals}
    return f"ended the process with {names.get(-code, -code)}"
