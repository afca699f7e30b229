"""Run Python in a child process without searching the current folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ChildResult:
    """What a child process wrote and how it ended.

    Args:
        output: Its standard output.
        errors: Its standard error.
        code: Its return code, negative for a signal; None if it was stopped after the timeout.
        how: How it ended, for example "ended the process with SIGSEGV".
    """

    output: str
    errors: str
    code: int | None
    how: str

    @property
    def last_line(self) -> str:
        """The last line of the standard error, or else of the standard output."""
        lines = self.errors.strip().splitlines() or self.output.strip().splitlines()
        return lines[-1] if lines else "no message"

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON objects on lines of the standard output, where other code may print too, and
        which may end in the middle of one.
        """
        found = []
        for line in self.output.splitlines():
            with suppress(ValueError):
                found += [json.loads(line)] if line.startswith('{"') else []
        return found


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


def run_python(
    code: str,
    *arguments: str,
    timeout: float,
    env: Mapping[str, str] | None = None,
    text: str = "",
) -> ChildResult:
    """Run code in a new interpreter with the import path of this one, until it ends or is stopped.

    Args:
        code: Statements on one line.
        arguments: What the code finds in ``sys.argv[1:]``.
        timeout: The most seconds it may run.
        env: Its environment variables; None: those of this process.
        text: What it reads from its standard input.

    Raises:
        OSError: No process can be started.
    """
    try:
        done = subprocess.run(
            python_command(code, *arguments),
            input=text.encode(),
            capture_output=True,
            timeout=timeout,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        how = f"did not finish within {timeout:g} s"
        return ChildResult(_decoded(error.stdout), _decoded(error.stderr), None, how)
    how = describe_exit(done.returncode)
    return ChildResult(_decoded(done.stdout), _decoded(done.stderr), done.returncode, how)


def describe_exit(code: int) -> str:
    """Say how a process ended, for example "ended the process with SIGSEGV".

    Args:
        code: Its return code; negative for a signal, as in `subprocess`.
    """
    if code >= 0:
        return f"ended the process with exit code {code}"
    names = {item.value: item.name for item in signal.Signals}
    return f"ended the process with {names.get(-code, -code)}"


def _decoded(output: bytes | None) -> str:
    return (output or b"").decode(errors="backslashreplace")
