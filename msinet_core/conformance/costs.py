"""How long rows take, relative to each other, for the progress of a check.

Seconds on two cores, rounded: ``plugins check reference --json`` and the same of `torch-cpu` and
`cpu`. Most of them are those of the reference itself, which computes every row too.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

COSTS: Mapping[str, float] = {
    "network/full-size": 3.0,
    "train/full-size": 10.0,
    "network/*": 1.0,
    "calls/long": 20.0,
    "calls/*": 4.0,
    "train/twenty-losses": 11.0,
    "train/*": 1.5,
    "memory/*": 3.0,
    "description/*imports": 8.0,
    "use/many-steps": 4.0,
    "use/*": 0.7,
    "*-512": 4.0,
    "*-large": 2.0,
    "*/many-values": 2.0,
    "gradient/*": 0.2,
    "*": 0.1,
}
"""Seconds of a row by patterns of ids; the first that matches counts."""


def cost(id: str) -> float:
    """Return about how many seconds a row takes.

    Args:
        id: ``group/name``.
    """
    return next(seconds for pattern, seconds in COSTS.items() if fnmatchcase(id, pattern))
