"""Write the tables of docs/reference/conformance.md.

Update the page with ``python -m tests.faults.page FILE``. A table is between
``<!-- NAME -->`` and ``<!-- /NAME -->``; the text around it is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path

from msinet_core.conformance.scenario import MISSING_CAPABILITY, Scenario
from msinet_core.conformance.scenarios import ALL_SCENARIOS
from msinet_core.conformance.tolerances import TOLERANCES, Tolerances
from msinet_core.device import PRECISIONS
from msinet_core.system.files import write_text
from tests.faults import FAULTS
from tests.faults.promises import PROMISES

REASONS: Mapping[str, str] = {
    "selection": "Relative to the largest value. Selection does not round: in float32 only a "
    "device that converts to another precision differs, in 16 bits by rounding the input.",
    "op": "Relative to the largest value. A handful of roundings of 6e-8, 4e-3 or 5e-4 each, and "
    "resize coordinates computed in float32.",
    "coordinates": "Relative to the largest value. At pixel 400 a coordinate in float32 is off by "
    "2e-5 pixels, and neighboring pixels of random images differ by their whole range.",
    "convolution": "Relative to the largest value. Sums of a hundred products in another order "
    "differ by 1e-6 in float32, Winograd convolutions by ten times that; TF32 by 1e-3.",
    "wide_convolution": "Relative to the largest value. Winograd convolutions of this size are up "
    "to 2.6e-5 off in float32. With intermediate values in 16 bits they are 0.13 and 0.017 off, "
    "sums in float32 of rounded products only 3.4e-3 and 5e-4.",
    "network": "Of maps in 0..1. 23 convolutions and a normalization in a row. The project "
    "promises 1e-4 in float32.",
    "gradient": "Relative to the norm of each tensor. Sums over all pixels, some of opposite sign: "
    "five times the error of a convolution.",
    "network_gradient": "Relative to the norm of each tensor. Rounding decides which of two nearly "
    "equal maxima a pool selects, and so where a gradient goes; with 8 bits one tensor says "
    "little.",
    "full_size": "Relative to the norm of each tensor, and to the largest loss. No ReLU and no "
    "pool of this network is close to deciding otherwise, so that four frameworks stay within "
    "1e-5 in float32; with 16 bits they are up to 0.46 and 0.24 off. A gradient that is missing "
    "or of another kernel is 1 off or more.",
    "loss": "Relative to the largest loss. One sum over the pixels, with a logarithm.",
    "steps": "Relative to the largest loss. The project promises 1e-3 in float32.",
    "curve": "Relative to the largest loss. The reference in float32 stays within 1e-6 of "
    "float64 over twenty steps, since training draws nearby curves together; the tolerance is that "
    "of four steps, so that nothing may drift.",
    "update": "Relative to the tensor that moved farthest. Adam moves a weight whose gradient is "
    "only rounding as far as any other, in an arbitrary direction.",
    "rate": "Relative to the movement. Adam's first step is the learning rate in the direction of "
    "the sign of the gradient, in any precision; the rate is float32.",
    "bits": "The number of values that differ in any bit. Storing, moving and repeating do not "
    "round.",
    "seconds": "The faster of two calls. msinet-run devices calls every probe each time.",
    "memory": "Of the resident memory that would be left if every call kept its inputs; allocators "
    "keep a few pages.",
}
"""What each tolerance is relative to, and why it has its size; one for each field."""


def tables() -> Mapping[str, str]:
    """Return every table of the page by name: one for each group of rows, and four more."""
    found = {
        f"rows {group}": "\n".join(_rows(tuple(scenarios)))
        for group, scenarios in groupby(ALL_SCENARIOS, lambda scenario: scenario.group)
    }
    return found | {
        "promises": "\n".join(_promises()),
        "tolerances": "\n".join(_tolerances()),
        "capabilities": "\n".join(_capabilities()),
        "faults": "\n".join(_faults()),
    }


def fill_in(text: str) -> str:
    """Replace the tables of the page.

    Args:
        text: The page.

    Raises:
        ValueError: The page lacks the comments around a table.
    """
    for name, table in tables().items():
        pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        filled = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
        text, count = pattern.subn(lambda match, filled=filled: filled, text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the page needs one table '{name}', has {count}")
    return text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _rows(scenarios: Sequence[Scenario]) -> Iterator[str]:
    return _table(
        ("row", "what must hold", "tolerance"),
        [(f"`{row.id}`", row.description, row.measure) for row in scenarios],
    )


def _promises() -> Iterator[str]:
    return _table(
        ("of", "promise", "rows that check it", "wrong devices that break it"),
        [
            (
                f"`{promise.of}`",
                promise.text,
                ", ".join(f"`{row}`" for row in promise.rows),
                _few([fault.name for fault in promise.faults]),
            )
            for promise in PROMISES
        ],
    )


def _few(names: Sequence[str]) -> str:
    """Name up to three; count more."""
    return "; ".join(names) if len(names) <= 3 else str(len(names))


def _tolerances() -> Iterator[str]:
    return _table(
        ("tolerance", *PRECISIONS, "relative to what, and why"),
        [
            (
                field.name,
                *(f"{getattr(TOLERANCES[name], field.name):g}" for name in PRECISIONS),
                REASONS[field.name],
            )
            for field in fields(Tolerances)
        ],
    )


def _capabilities() -> Iterator[str]:
    return _table(
        ("without", "the report says", "rows"),
        [
            (
                f"`{name}`",
                reason,
                _named([scenario for scenario in ALL_SCENARIOS if name in scenario.needs]),
            )
            for name, reason in MISSING_CAPABILITY.items()
        ],
    )


def _named(scenarios: Sequence[Scenario]) -> str:
    """Name up to six rows; count more by group."""
    if len(scenarios) <= 6:
        return ", ".join(f"`{scenario.id}`" for scenario in scenarios)
    groups = groupby(scenarios, lambda scenario: scenario.group)
    return ", ".join(f"{len(list(rows))} of `{group}/`" for group, rows in groups)


def _faults() -> Iterator[str]:
    return _table(
        ("wrong device", "rows that must catch it"),
        [(fault.name, ", ".join(f"`{row}`" for row in fault.rows)) for fault in FAULTS],
    )


if __name__ == "__main__":
    document = Path(sys.argv[1])
    write_text(document, fill_in(document.read_text(encoding="utf-8")))
