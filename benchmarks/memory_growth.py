"""Resident memory of a training run: after 1,000 steps, and every 1,000 steps to the last one.

``python benchmarks/memory_growth.py --device cpu`` trains a narrow MSI-Net on demo images, one
image at a time, with everything that a run does between steps: reading images, logging, validation,
checkpoints and curves. The measure does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

import msinet_core as msinet
from msinet_core.data.demo import make_demo
from msinet_core.system.allocator import keep_freed_memory
from msinet_core.system.progress import Progress, Task

INTERVAL = 1000


def resident_mebibytes() -> float:
    """Return the resident memory of this process."""
    return float(psutil.Process().memory_info().rss / 2**20)


class Watch(Progress, Task):
    """Counts the images of training epochs and measures memory in between."""

    def __init__(self) -> None:
        self.steps, self.measured = 0, list[float]()
        self._is_training = False

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        self._is_training = description.startswith("epoch")
        yield self
        self._is_training = False

    def advance(self, count: int = 1, share: float | None = None, **fields: str) -> None:
        if not self._is_training:
            return
        self.steps += count
        if self.steps % INTERVAL == 0:
            self.measured.append(resident_mebibytes())
            print(f"{self.steps} steps: {self.measured[-1]:.0f} MiB", flush=True)


def main() -> None:
    """Train and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--images", type=int, default=500, help="training images in an epoch")
    options = parser.parse_args()
    keep_freed_memory()  # as `msinet-run train` does
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        make_demo(data, train=options.images, valid=20, size=(32, 40))
        msinet.train(
            data,
            device=options.device,
            run=Path(folder) / "run",
            init="random",
            width=0.04,
            image_size=(32, 40),
            batch_size=1,
            epochs=-(-options.steps // options.images),
            progress=watch,
        )
    first, last = watch.measured[0], watch.measured[-1]
    print(f"{options.device}: {first:.0f} -> {last:.0f} MiB, {last / first - 1:+.1%}")


if __name__ == "__main__":
    main()
