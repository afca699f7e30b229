"""The cores and the memory that this process may use, of those that the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Return the number of cores that this process may use; 1 if unknown.

    Schedulers and containers give a process fewer cores than the machine has.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # unsupported on some systems
        cores = os.cpu_count() or 1
    return min([cores, *(max(1, -(-quota // period)) for quota, period in _cpu_quotas())])


def _cpu_quotas() -> Iterator[tuple[int, int]]:
    for group in _control_groups():
        values = file_text(group / "cpu.max").split()
        if len(values) == 2 and values[0].isdigit() and values[1].isdigit():
            yield int(values[0]), max(1, int(values[1]))
    quota = file_text(_CGROUPS / "cpu" / "cpu.cfs_quota_us").strip()
    period = file_text(_CGROUPS / "cpu" / "cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():  # -1 means no limit
        yield int(quota), max(1, int(period))


def available_memory() -> int | None:
    """Return the bytes of memory that this process may use; None if unknown."""
    limits = []
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    files = [group / "memory.max" for group in _control_groups()]
    files.append(_CGROUPS / "memory" / "memory.limit_in_bytes")
    for file in files:
        value = file_text(file).strip()
        if value.isdigit():  # "max" means no limit
            limits.append(int(value))
    return min((limit for limit in limits if limit > 0), default=None)


def _control_groups() -> Iterator[Path]:
    """Yield this process's control group (version 2) and its parents, innermost first."""
    for line in file_text(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::/"):
            group = _CGROUPS / line.removeprefix("0::/")
            yield group
            yield from (parent for parent in group.parents if _CGROUPS in (parent, *parent.parents))


def file_text(path: str | Path) -> str:
    """Return a text file's content; empty if it cannot be read.

    Args:
        path: The file.
    """
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
