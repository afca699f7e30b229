"""The rows of the kit, one module for each group or two.

`description` and `opening` need no open device. The others compare an open device with the
reference: `forward` and `gradients` go through every op in the settings of `layers` and
`unusual_layers`, `numerics` checks long sums and large values, `losses`, `adam` and `training` what
a step computes, `state` what goes onto the device and comes back, `full_size` the network with all
its weights, `calls` any order of calls, `inputs` and `circumstances` with what and when a device is
called, and `memory` what stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from msinet_core.conformance.scenario import Scenario
from msinet_core.conformance.scenarios import (
    adam,
    calls,
    circumstances,
    description,
    forward,
    full_size,
    gradients,
    inputs,
    losses,
    memory,
    numerics,
    opening,
    state,
    training,
)
from msinet_core.errors import UsageError

OPENING: tuple[Scenario, ...] = (*description.ROWS, *opening.ROWS)
"""The rows that check the description, the probe and opening."""

_ROWS = [
    row
    for module in (
        *(forward, gradients, numerics, losses, adam, training, state),
        *(full_size, calls, inputs, circumstances, memory),
    )
    for row in module.ROWS
]
_GROUPS = list(dict.fromkeys(row.group for row in _ROWS))

SCENARIOS: tuple[Scenario, ...] = tuple(sorted(_ROWS, key=lambda row: _GROUPS.index(row.group)))
"""The rows that check an open device, in the order of reports."""

ALL_SCENARIOS: tuple[Scenario, ...] = (*OPENING, *SCENARIOS)
"""Every row, in the order of reports."""


def select(patterns: Sequence[str]) -> tuple[Scenario, ...]:
    """Return the rows that match a pattern.

    Args:
        patterns: Ids; ``*`` stands for any text.

    Raises:
        UsageError: A pattern matches no row.
    """
    for pattern in patterns:
        if not any(fnmatchcase(scenario.id, pattern) for scenario in ALL_SCENARIOS):
            groups = dict.fromkeys(f"{scenario.group}/*" for scenario in ALL_SCENARIOS)
            raise UsageError(f"No row matches '{pattern}'. Groups: {', '.join(groups)}")
    return tuple(
        scenario
        for scenario in ALL_SCENARIOS
        if any(fnmatchcase(scenario.id, pattern) for pattern in patterns)
    )
