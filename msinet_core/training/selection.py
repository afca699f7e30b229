"""Which epoch of a run is the best, and whether it is time to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOSS = "loss"
"""The validation loss, as a value of ``--best-by``."""

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "nss": True,
    "cc": True,
    "sim": True,
    "kld": False,
    "auc_judd": True,
}
"""The metrics that validation can compute, and their direction, as in the table of `metrics`, which
needs NumPy: the command line reads this one."""


@dataclass(frozen=True)
class Selection:
    """How the epochs of a run are compared.

    Args:
        by: `LOSS`, or a metric of `HIGHER_IS_BETTER`.
    """

    by: str = LOSS

    @property
    def column(self) -> str:
        """The column of ``history.csv`` that is compared."""
        return "valid_loss" if self.by == LOSS else self.by

    def best(self, history: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the index of the best epoch, the first of equal ones; None before the first.

        An epoch whose score is NaN, as CC of constant maps is, is worse than any other.

        Args:
            history: A row for each finished epoch.
        """
        sign = -1 if HIGHER_IS_BETTER.get(self.by) else 1
        scores = [sign * float(row[self.column]) for row in history]
        ranks = [math.inf if math.isnan(score) else score for score in scores]
        return ranks.index(min(ranks)) if ranks else None

    def improves(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the last epoch is the best so far.

        Args:
            history: A row for each finished epoch.
        """
        return bool(history) and self.best(history) == len(history) - 1

    def waited(self, history: Sequence[Mapping[str, Any]]) -> int:
        """Return how many epochs have passed since the best one.

        Args:
            history: A row for each finished epoch.
        """
        best = self.best(history)
        return 0 if best is None else len(history) - best - 1

    def stops(self, history: Sequence[Mapping[str, Any]], patience: int | None) -> bool:
        """Return whether the best epoch is at least `patience` epochs ago.

        Args:
            history: A row for each finished epoch.
            patience: The number of epochs; None never to stop.
        """
        return patience is not None and self.waited(history) >= patience
