"""The energy counters of processors and GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from msinet_core.hardware import energy
from msinet_core.hardware.nvidia import GpuReading


def set_counter(folder: Path, zone: str, microjoules: int) -> None:
    (folder / zone).mkdir(exist_ok=True)
    (folder / zone / "energy_uj").write_text(f"{microjoules}\n")
    (folder / zone / "max_energy_range_uj").write_text("10000000\n")


def test_the_energy_of_packages_and_gpus_is_added_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_joules = 100.0
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "read_gpus", lambda: (GpuReading(None, None, gpu_joules),))
    set_counter(tmp_path, "intel-rapl:0", 9_000_000)
    set_counter(tmp_path, "intel-rapl:0:0", 5_000_000)  # a part of the package
    meter = energy.EnergyMeter()
    assert meter.joules() == 0
    set_counter(tmp_path, "intel-rapl:0", 500_000)  # starts over at 10 J
    set_counter(tmp_path, "intel-rapl:0:0", 9_000_000)
    gpu_joules = 103.0
    assert meter.joules() == pytest.approx(1.5 + 3)
    set_counter(tmp_path, "intel-rapl:0", 700_000)
    assert meter.joules() == pytest.approx(1.7 + 3)


def test_without_readable_counters_there_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path / "missing")
    monkeypatch.setattr(energy, "read_gpus", tuple)
    assert energy.EnergyMeter().joules() is None
