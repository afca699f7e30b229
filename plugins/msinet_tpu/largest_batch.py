"""Find the largest batch that fits with few trials, because each takes minutes."""

from __future__ import annotations

from collections.abc import Mapping

STEP = 8
"""Larger batches are multiples of this, because a TPU computes in rows of eight.

Source: https://cloud.google.com/tpu/docs/performance-guide, "Tiling".
"""

Trials = Mapping[int, tuple[bool, int | None]]
"""For each batch size, whether it fits, and the bytes that it needs; None if unknown."""


def next_batch(trials: Trials, memory: int | None) -> int | None:
    """Return the batch size to try next; None if the largest is known.

    It is where a straight line through two trials, or through one and the origin, reaches the
    available memory.

    Args:
        trials: At least one trial.
        memory: The available bytes; None if unknown.
    """
    low = max((batch for batch, (fits, _) in trials.items() if fits), default=0)
    high = min((batch for batch, (fits, _) in trials.items() if not fits), default=None)
    if high is not None and _next(low) >= high:
        return None
    smallest, largest = _next(low), None if high is None else _previous(high)
    guess = _extrapolated(trials, memory) if memory else None
    if high is None:  # at least double: the compiler saves memory when it gets scarce
        guess = max(guess or 0, 2 * low)
    elif guess is None:
        guess = (low + high) / 2
    batch = max(smallest, _rounded(int(guess)))
    return batch if largest is None else min(batch, largest)


def _extrapolated(trials: Trials, memory: int) -> float | None:
    """Return the batch size where the line through the two closest trials reaches the memory."""
    known = [(batch, needed) for batch, (_, needed) in trials.items() if needed]
    known = sorted(known, key=lambda trial: abs(trial[1] - memory))[:2]
    (batch, needed), (other, other_needed) = (*known, (0, 0), (0, 0))[:2]
    if needed == other_needed:
        return None
    return batch + (memory - needed) * (batch - other) / (needed - other_needed)


def _rounded(batch: int) -> int:
    return batch if batch < STEP else batch // STEP * STEP


def _next(batch: int) -> int:
    return batch + 1 if batch < STEP else (batch // STEP + 1) * STEP


def _previous(batch: int) -> int:
    return batch - 1 if batch <= STEP else (batch - 1) // STEP * STEP
