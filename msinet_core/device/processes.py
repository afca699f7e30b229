"""The processes that train one model together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msinet_core.errors import MsinetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DISTRIBUTIONS = ("auto", "none", "mirrored", "multiworker")
"""The values of ``--distribute``: over the devices of one machine, or over several processes."""


@contextmanager
def report_lost_processes(
    errors: tuple[type[Exception], ...], is_lost: Callable[[Exception], bool] = lambda error: True
) -> Iterator[None]:
    """Turn a framework's exception for a lost process into a `MsinetError` that says what to do.

    Args:
        errors: The framework's exception types.
        is_lost: Whether an exception of these types means a lost process; by default each does.

    Raises:
        MsinetError: Another process was lost.
    """
    try:
        yield
    except errors as error:
        if not is_lost(error):
            raise
        raise MsinetError(
            f"Lost the connection to another training process ({type(error).__name__}); its own "
            f"terminal shows why. The last checkpoint is complete: start all processes again with "
            f"--resume."
        ) from error


class Processes:
    """The processes that train one model together; this class is a single process.

    Each process trains on its own part of every global batch. All of them call `sum` and a model's
    `train_step` in the same order.

    Args:
        index: The index of this process, from 0.
        count: The number of processes.
        replicas: The number of devices in all processes.
    """

    def __init__(self, index: int = 0, count: int = 1, replicas: int = 1) -> None:
        self.index = index
        self.count = count
        self.replicas = replicas

    @property
    def chief(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.index == 0

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of an array over all processes.

        Args:
            values: float64, of the same shape in every process.
        """
        return values


def check_distribution(device: str, offered: Sequence[str], distribute: str) -> str:
    """Return how to distribute training; "auto" is "none" for a device that cannot.

    Args:
        device: The device's name.
        offered: Its ``Capabilities.distribution``.
        distribute: One of ``DISTRIBUTIONS``.

    Raises:
        UsageError: The device does not support it.
    """
    if distribute == "none" or (distribute == "auto" and not offered):
        return "none"
    if distribute not in ("auto", *offered):
        raise UsageError(
            f"Device '{device}' does not support --distribute {distribute}; "
            f"use --distribute {' or '.join(('none', *offered))}"
        )
    return distribute


def check_agreement(processes: Processes, facts: Mapping[str, object]) -> None:
    """Raise an error if the processes were not started for the same run.

    Args:
        processes: The processes; all of them call this.
        facts: What has to be the same in all of them, by a name for people.

    Raises:
        UsageError: Something differs; raised in every process.
    """
    import numpy as np

    table = np.zeros((processes.count, len(facts)))
    table[processes.index] = [_number(fact) for fact in facts.values()]
    table = processes.sum(table)
    differ = [
        name for name, column in zip(facts, table.T, strict=True) if len(set(column.tolist())) > 1
    ]
    if differ:
        raise UsageError(
            f"The processes were not started for the same run: they differ in "
            f"{', '.join(differ)}. Start all of them with the same options, and with --run in a "
            f"shared folder, so that they resume from the chief's checkpoint."
        )


def _number(fact: object) -> int:
    """Return a hash that float64 holds exactly, also after a sum with zeros."""
    return int.from_bytes(hashlib.sha256(repr(fact).encode()).digest()[:4], "big")
