"""Record how busy the machine is while a run trains: a row per epoch in ``system.csv``."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from msinet_core.hardware.nvidia import read_gpus
from msinet_core.system.files import write_text
from msinet_core.training.csv_table import csv_text, rows_until

INTERVAL = 1.0
"""Seconds between samples, the longest period over which NVIDIA's GPUs report how busy they are."""

MEBIBYTE = 2**20

FIELDS = ("epoch", "step", "cpu_percent", "process_mib", "gpu_percent", "gpu_mib")


class SystemLog:
    """Sample the processor, the GPUs and the memory, and write their means after each epoch.

    Args:
        path: The CSV file; rows after `step`, which are repeated, are dropped.
        step: Steps taken before; 0 for a new run.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        write_text(path, csv_text(FIELDS, rows_until(path, step)))
        self._path = path
        self._process = psutil.Process()
        self._samples: list[tuple[float | None, ...]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        psutil.cpu_percent()  # the first value has no period
        self._thread.start()

    def step(self, row: Mapping[str, Any]) -> None:
        """Ignore an optimizer step."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Write the means since the last epoch.

        Args:
            row: Of ``history.csv``.
        """
        samples, self._samples = self._samples or [self._sample()], []
        values = [
            "" if None in column else f"{fmean(column):.1f}"
            for column in zip(*samples, strict=True)
        ]
        means = dict(zip(FIELDS, [row["epoch"], row["step"], *values], strict=True))
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            stream.write(csv_text(FIELDS, [means], header=False))

    def close(self) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._samples.append(self._sample())

    def _sample(self) -> tuple[float | None, ...]:
        """Return the values of `FIELDS` after the step; None if unknown."""
        gpus = read_gpus()
        busy = [gpu.busy for gpu in gpus if gpu.busy is not None]
        used = [gpu.memory_used for gpu in gpus if gpu.memory_used is not None]
        return (
            psutil.cpu_percent(),
            self._process.memory_info().rss / MEBIBYTE,
            100 * fmean(busy) if busy else None,
            sum(used) / MEBIBYTE if used else None,
        )
