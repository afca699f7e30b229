"""The processes and devices that train one model together, as far as the core knows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msinet_core.errors import MsinetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "DISTRIBUTIONS",
    "Processes",
    "check_agreement",
    "check_distribution",
    "report_lost_processes",
]

DISTRIBUTIONS = ("auto", "none", "mirrored", "multiworker")
"""What follows ``--distribute``: over the devices of one machine, or over several processes."""


@contextmanager
def report_lost_processes(
    errors: tuple[type[Exception], ...], is_lost: Callable[[Exception], bool] = lambda error: True
) -> Iterator[None]:
    """Turn what a framework raises when another process is gone into a message.

    Args:
        errors: The framework's exceptions.
        is_lost: Tells those that mean a lost process from others of the same type.

    Raises:
        MsinetError: Another process is gone.
    """
    try:
        yield
    except errors as error:
        if not is_lost(error):
            raise
        raise MsinetError(
            f"Lost the connection to another training process ({type(error).__name__}): it has "
            f"ended or cannot be reached; see its own terminal. The last checkpoint is complete. "
            f"Start all processes again with --resume."
        ) from error


class Processes:
    """The processes that train one model together; this is a process that trains alone.

    Each is given its own part of every global batch. Calls of `sum` and of a model's `train_step`
    are made by all of them, in the same order.

    Args:
        index: This process's place, from 0.
        count: How many there are.
        replicas: On how many devices they compute, all together.
    """

    def __init__(self, index: int = 0, count: int = 1, replicas: int = 1) -> None:
        self.index = index
        self.count = count
        self.replicas = replicas

    @property
    def chief(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.index == 0

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up an array over all workers and give each of them the sum.

        Args:
            values: Of the same shape everywhere.
        """
        return values


def check_distribution(device: str, offered: Sequence[str], distribute: str) -> str:
    """Return how to distribute training, resolving "auto" where there is nothing to choose.

    Args:
        device: The device's name.
        offered: Its ``Capabilities.distribution``.
        distribute: One of ``DISTRIBUTIONS``.

    Raises:
        UsageError: The device does not train in that way.
    """
    if distribute == "none" or (distribute == "auto" and not offered):
        return "none"
    if distribute not in ("auto", *offered):
        raise UsageError(
            f"Device '{device}' does not train with --distribute {distribute}. "
            f"Use --distribute {' or '.join(('none', *offered))}."
        )
    return distribute


def check_agreement(processes: Processes, facts: Mapping[str, object]) -> None:
    """Refuse to train when the workers were not started for the same run.

    Args:
        processes: All of them call this.
        facts: What has to be the same everywhere, by what people call it.

    Raises:
        UsageError: Something differs; raised by every worker.
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
            f"The workers were not started for the same run: they differ in {', '.join(differ)}. "
            "Start all of them with the same options, and with --run in a folder that all of them "
            "see, so that they resume from the chief's checkpoint."
        )


def _number(fact: object) -> int:
    """Stand for a fact by a number that float64 holds exactly, whatever it is added to."""
    return int.from_bytes(hashlib.sha256(repr(fact).encode()).digest()[:4], "big")
