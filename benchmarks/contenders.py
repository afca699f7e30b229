"""Loops of different programs that take turns, so that other load on the machine affects all."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

Loop = Callable[[], float]
"""Trains the steps of one measurement, and returns a loss."""


class Seconds(NamedTuple):
    """How long a measurement took, by the clock and in processor time."""

    clock: float
    processor: float


class Contender:
    """A loop in this process.

    Args:
        build: Returns the loop, which runs once before it is measured.
    """

    def __init__(self, build: Callable[[], Loop]) -> None:
        self._loop = build()
        self.first_loss = self._loop()

    def measure(self) -> Seconds:
        """Run the loop and return the time it took."""
        start, spent = time.perf_counter(), time.process_time()
        self._loop()
        return Seconds(time.perf_counter() - start, time.process_time() - spent)

    def close(self) -> None:
        """Release what the contender holds."""


class ContenderProcess(Contender):
    """A loop in its own process, which waits while others are measured.

    Args:
        build: As for `Contender`, but it is called in the process, so it must be picklable.
        variables: Environment variables of the process, which frameworks read at their import.
    """

    def __init__(
        self, build: Callable[[], Loop], variables: Mapping[str, str] | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        before = dict(os.environ)
        os.environ.update(variables or {})
        self._process = context.Process(target=_serve, args=(build, other), daemon=True)
        self._process.start()
        os.environ.clear()
        os.environ.update(before)
        other.close()
        self.first_loss = self._pipe.recv()

    def measure(self) -> Seconds:
        self._pipe.send(None)
        seconds: Seconds = self._pipe.recv()
        return seconds

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(build: Callable[[], Loop], pipe: Any) -> None:
    contender = Contender(build)
    pipe.send(contender.first_loss)
    with suppress(EOFError):  # the main process has ended
        while True:
            pipe.recv()
            pipe.send(contender.measure())


def take_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[Seconds]]:
    """Measure contenders in turn and close them; return the times of each, round by round."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders) if number % 2 else reversed(list(contenders)):
            seconds[name].append(contenders[name].measure())
    for contender in contenders.values():
        contender.close()
    return seconds
