"""Which signals stop work in order, and which do not."""

from __future__ import annotations

import os
import signal

import pytest

from msinet_core.errors import InterruptedRunError
from msinet_core.system.interrupt import SIGNALS, InterruptFlag


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_sets_the_flag_and_handlers_are_restored(number: int) -> None:
    before = signal.getsignal(number)
    with InterruptFlag() as flag:
        os.kill(os.getpid(), number)
        assert flag.is_set()
        with pytest.raises(InterruptedRunError, match="state saved"):
            flag.raise_if_set("state saved")
    assert signal.getsignal(number) is before


def test_the_second_signal_raises() -> None:
    with pytest.raises(KeyboardInterrupt), InterruptFlag():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no such signal")
def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    assert signal.SIGHUP in SIGNALS
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with InterruptFlag() as flag:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not flag.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
