"""Draw the distribution of a metric as an inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.evaluation.baselines import CENTER_BIAS, HALF, MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, HEIGHT = 260, 120
_LEFT, _RIGHT, _TOP, _BASE = 6, 254, 8, 98
_TICKS = 5
_MOST_BINS = 80

COLORS = {MODEL: "var(--accent)", CENTER_BIAS: "var(--bias)", HALF: "var(--limit)"}
"""The means that charts mark, and their colors."""


def histogram(values: NDArray[np.float64], means: Mapping[str, float]) -> str:
    """Return a histogram with a line for each mean.

    Args:
        values: The model's scores of the images, finite.
        means: The means to mark, by the keys of `SOURCES`.
    """
    low, high = (float(limit([*values, *means.values()])) for limit in (np.min, np.max))
    margin = 0.04 * (high - low) or 0.5
    low, high = low - margin, high + margin
    bins = np.clip(np.sqrt(len(values)) * 2, 8, 40)  # over the scores; the axis may be longer
    step = max(np.ptp(values) / bins, (high - low) / _MOST_BINS)
    counts, edges = np.histogram(values, int(np.ceil((high - low) / step)), (low, high))

    def across(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="histogram">']
    tallest = counts.max()
    for count, begin, end in zip(counts, edges, edges[1:], strict=False):
        height = (_BASE - _TOP) * count / tallest
        parts.append(
            f'<rect x="{across(begin) + 0.5:.1f}" y="{_BASE - height:.1f}" '
            f'width="{across(end) - across(begin) - 1:.1f}" height="{height:.1f}" fill="#f0c9b6"/>'
        )
    parts += [
        f'<line x1="{across(mean):.1f}" x2="{across(mean):.1f}" y1="{_TOP}" y2="{_BASE}" '
        f'stroke="{COLORS[source]}" stroke-width="2"/>'
        for source, mean in means.items()
    ]
    parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{_BASE}" y2="{_BASE}" stroke="#c4cad2"/>')
    parts += [
        f'<text x="{across(tick):.1f}" y="{_BASE + 15}" font-size="10.5" fill="#5d6776" '
        f'text-anchor="middle">{tick:g}</text>'
        for tick in _ticks(low, high)
    ]
    return "".join([*parts, "</svg>"])


def _ticks(low: float, high: float) -> Iterator[float]:
    """Yield round numbers, at most `_TICKS` of them."""
    step = 10.0 ** np.floor(np.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS)
    first = np.ceil((low + 0.05 * (high - low)) / step)
    while first * step <= high - 0.05 * (high - low):
        yield float(np.round(first * step, 10)) + 0.0
        first += 1
