"""Read which part of the work this process does, of several that predict together."""

from __future__ import annotations

from collections.abc import Mapping

from msinet_core.errors import UsageError
from msinet_core.system.kinds import Kind

LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # unlike SLURM_NTASKS, not set by sbatch
}
"""The variables with the number of a process, from 0, and the number of processes."""


def _shard(text: str) -> tuple[int, int]:
    index, count = map(int, text.split("/"))
    if not 0 <= index < count:
        raise ValueError
    return index, count


SHARD = Kind("a shard I/N with I from 0 to N-1, for example 0/4 to 3/4", "I/N", _shard)
"""Process I of N, counted from 0."""


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
                shard: tuple[int, int] = SHARD.parse(f"{environment[index]}/{environment[count]}")
            except ValueError as error:
                raise UsageError(f"{index} and {count}: {error}") from error
            return shard
    return None
