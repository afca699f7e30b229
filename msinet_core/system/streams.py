"""Standard streams that are closed, as in a daemon, or cannot be written to."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Open the standard streams that are closed, so that what is printed there is dropped.

    Otherwise the next file that is opened, such as a checkpoint, gets the number of the stream, and
    what native code prints goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            stream = open(number, "r" if name == "stdin" else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def discard_stdout() -> None:
    """Drop what was printed and is not written yet, which Python would try again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
