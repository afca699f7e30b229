"""Refuse to compute in a process that was forked after a framework had started its threads."""

from __future__ import annotations

import os

from msinet_core.errors import MsinetError

_opened_in: int | None = None
"""The process that opened the first device; a forked one inherits the number."""


def device_opened() -> None:
    """Remember that this process has opened a device."""
    global _opened_in
    _opened_in = _opened_in or os.getpid()


def check_not_forked() -> None:
    """Raise an error if this process is a fork of one that had opened a device.

    The threads of a framework do not exist in a forked process, so that it would wait for them
    forever.

    Raises:
        MsinetError: It is.
    """
    if _opened_in not in (None, os.getpid()):
        raise MsinetError(
            f"Process {os.getpid()} was forked from process {_opened_in}, which had opened a "
            f"device; frameworks would hang. Start processes with "
            f"multiprocessing.get_context('spawn'), and load the model in each of them."
        )
