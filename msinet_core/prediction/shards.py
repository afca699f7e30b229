"""Read which part of the work this process does, of several that predict together."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msinet_core.errors import UsageError

LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # unlike SLURM_NTASKS, not set by sbatch
}
"""The variables with the number of a process, from 0, and the number of processes."""


def parse_shard(text: str) -> tuple[int, int]:
    """Parse ``I/N``: process I of N, counted from 0.

    Args:
        text: For example ``"0/4"``.

    Raises:
        UsageError: It is not of that form, or I is not below N.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise UsageError(
            f"'{text}' is not a shard; use I/N with I from 0 to N-1, for example 0/4 to 3/4"
        )
    return int(found[1]), int(found[2])


def launched_shard(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the shard of a process that torchrun or srun started; None for any other.

    Args:
        environment: Environment variables.

    Raises:
        UsageError: The variables are invalid.
    """
    for index, count in LAUNCHERS.values():
        if index in environment and environment.get(count, "1") != "1":
            try:
                return parse_shard(f"{environment[index]}/{environment[count]}")
            except UsageError as error:
                raise UsageError(f"{index} and {count}: {error}") from error
    return None
