"""A piece of hardware, as a probe describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hardware:
    """One piece of hardware that a probe found.

    Args:
        name: The manufacturer's name for it.
        cores: The number of cores that the framework uses; None if unknown.
        memory: Usable memory in bytes; None if unknown.
        bfloat16: Whether it is known to compute bfloat16 faster than float32.
    """

    name: str
    cores: int | None = None
    memory: int | None = None
    bfloat16: bool = False

    def describe(self) -> str:
        """Return its name, and its cores and memory if they are known."""
        cores = f", {self.cores} cores" if self.cores else ""
        memory = f", {self.memory / 2**30:.0f} GiB" if self.memory else ""
        return f"{self.name}{cores}{memory}"
