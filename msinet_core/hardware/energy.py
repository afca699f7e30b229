"""The energy that the processor and NVIDIA GPUs have used, from the counters that may be read."""

from __future__ import annotations

from pathlib import Path

from msinet_core.hardware.nvidia import read_gpus
from msinet_core.system.resources import file_text

_POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Add up the energy used since the meter was made, over the whole machine.

    The processor's counters are Intel's RAPL (also AMD's, under the same name), which most Linux
    systems let only root read; NVIDIA's GPUs count since Volta. macOS has no counter.

    Source: https://docs.kernel.org/power/powercap/powercap.html; NVIDIA, NVML API Reference Guide,
    ``nvmlDeviceGetTotalEnergyConsumption``.
    """

    def __init__(self) -> None:
        self._before = _counters()
        self._used = 0.0

    def joules(self) -> float | None:
        """Return the energy used so far; None if no counter may be read."""
        now = _counters()
        for name, (value, size) in now.items():
            before = self._before.get(name, (value, size))[0]
            self._used += value - before + (size if value < before else 0.0)
        self._before = now
        return self._used if now else None


def _counters() -> dict[str, tuple[float, float]]:
    """Return each counter's joules, and the joules at which it starts over."""
    found = {}
    for zone in sorted(_POWERCAP.glob("intel-rapl:*")):
        value = file_text(zone / "energy_uj").strip()
        if zone.name.count(":") == 1 and value.isdigit():  # subzones are parts of their zone
            size = file_text(zone / "max_energy_range_uj").strip()
            found[zone.name] = (int(value) / 1e6, int(size or 0) / 1e6)
    for number, gpu in enumerate(read_gpus()):
        if gpu.joules is not None:
            found[f"gpu {number}"] = (gpu.joules, 0.0)
    return found
