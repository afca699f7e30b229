"""Watch the memory of this process and of NVIDIA's GPUs while something runs."""

from __future__ import annotations

import threading

import psutil

from msinet_core.hardware.nvidia import read_gpus

INTERVAL = 0.02
"""Seconds between two samples of the process; GPUs are sampled less often, which costs more."""

GPU_EVERY = 10


class MemoryMeter:
    """Record the largest memory in use within a block.

    Attributes:
        process: The largest resident memory of this process, in bytes.
        gpu: The largest growth of the GPUs' used memory, in bytes; None without such a GPU.
    """

    def __init__(self) -> None:
        self._resident = psutil.Process().memory_info
        self._gpu_before = _gpu_memory()
        self.process: int = self._resident().rss
        self.gpu: int | None = None if self._gpu_before is None else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        number = 0
        while not self._stop.wait(INTERVAL):
            self.process = max(self.process, self._resident().rss)
            if self._gpu_before is not None and number % GPU_EVERY == 0:
                used = _gpu_memory()
                self.gpu = max(self.gpu or 0, (used or 0) - self._gpu_before)
            number += 1


def _gpu_memory() -> int | None:
    """Return the used memory of all GPUs; None if none reports it."""
    used = [gpu.memory_used for gpu in read_gpus() if gpu.memory_used is not None]
    return sum(used) if used else None
