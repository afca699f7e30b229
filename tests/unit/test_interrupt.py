"""Signals end work in an orderly way, or at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from msinet_core.errors import InterruptedRunError
from msinet_core.system.interrupt import SIGNALS, InterruptFlag


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_sets_the_flag_and_the_handlers_are_restored(number: int) -> None:
    before = signal.getsignal(number)
    with InterruptFlag() as flag:
        os.kill(os.getpid(), number)
        assert flag.is_set()
        with pytest.raises(InterruptedRunError, match="the message"):
            flag.raise_if_set("the message")
    assert signal.getsignal(number) is before


def test_the_second_signal_raises() -> None:
    with pytest.raises(KeyboardInterrupt), InterruptFlag():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)


STUCK = """
import time
from msinet_core.system.interrupt import InterruptFlag
InterruptFlag.forces_exit = True
with InterruptFlag():
    try:
        print("started", flush=True)
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        time.sleep(60)
"""


def test_the_second_signal_ends_a_program_that_is_stuck() -> None:
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning up\n"
        assert process.wait(timeout=30) == InterruptedRunError.exit_code
    assert time.monotonic() - start < 5  # 0.8 s, and what a busy machine adds


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
def test_a_closed_terminal_sets_the_flag_except_under_nohup() -> None:
    assert signal.SIGHUP in SIGNALS
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with InterruptFlag() as flag:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not flag.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
