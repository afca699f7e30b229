"""Compare ``msinet-run convert`` with reading and writing the same bytes.

    python benchmarks/convert.py
    python benchmarks/convert.py --checkpoint best.msinet.h5 --rounds 15 --folder /data/scratch

For each format, a checkpoint is converted to it and back. In each round the source's bytes are read
and written with fsync, and then the same file is converted in this process. The median of the
ratios is printed, since on a shared machine only neighboring measurements compare. A new process
then converts once and reports its peak memory. Targets are removed before each measurement; every
source has been read before, so neither side waits for the disk to read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from msinet_core import convert
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.checkpoint.catalog import find_format
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State

TARGETS = {
    "msinet": "weights.msinet.h5",
    "keras": "weights.weights.h5",
    "keras2": "weights.h5",
    "tf1": "weights.ckpt",
    "frozen": "weights.pb",
    "savedmodel": "savedmodel",
    "torch": "weights_torch.safetensors",
    "mlx": "weights_mlx.safetensors",
}
"""Formats that need no framework; another one would measure the import of its framework."""

MEMORY = """
import json, sys
from pathlib import Path
from msinet_core import convert

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would begin with the memory of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024

before = peak()
convert(*sys.argv[1:4])
print(json.dumps([before, peak()]))
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, help="default: the full network, random weights")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where files are written; default: temporary")
    parser.add_argument("--format", action="append", choices=TARGETS, help="default: all")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        source = given.checkpoint or _random_checkpoint(folder / "source.msinet.h5")
        print(f"{os.cpu_count()} cores, {_size(_files(source)) / 1e6:.0f} MB")
        print(f"{'':20}{'copy':>9}{'ratio':>8}{'quartiles':>15}   peak memory in sizes of the file")
        for to in given.format or TARGETS:
            target = folder / TARGETS[to]
            _measure(source, target, to, given.rounds, f"to {to}")
            back = folder / "back.msinet.h5"
            _measure(target, back, "msinet", given.rounds, f"{to} to msinet")


def _random_checkpoint(path: Path) -> Path:
    graph, random = msinet_graph(), np.random.default_rng(0)
    weights = {
        item.name: (random.standard_normal(item.shape) / 20).astype(np.float32)
        for item in graph.parameters
    }
    save_checkpoint(path, Checkpoint(graph, State(weights)))
    return path


def _measure(source: Path, target: Path, to: str, rounds: int, title: str) -> None:
    files, copy = _files(source), target.with_name("copy.bin")
    copies, ratios = [], []
    for _ in range(rounds):
        _remove(target)
        copy.unlink(missing_ok=True)
        copies.append(_seconds(lambda: _copy(files, copy)))
        ratios.append(_seconds(lambda: convert(source, target, to)) / copies[-1])
    low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    _remove(target)
    command = [sys.executable, "-c", MEMORY, str(source), str(target), to]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    before, peak = (used / _size(files) for used in json.loads(done.stdout.splitlines()[-1]))
    print(
        f"{title:20}{statistics.median(copies):7.3f} s{middle:8.2f}{low:9.2f} -{high:5.2f}   "
        f"{peak:.2f}, {before:.2f} of them before it begins",
        flush=True,
    )


def _copy(files: tuple[Path, ...], target: Path) -> None:
    data = [file.read_bytes() for file in files]
    with target.open("wb") as stream:
        stream.writelines(data)
        stream.flush()
        os.fsync(stream.fileno())


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _files(path: Path) -> tuple[Path, ...]:
    archive = find_format(path).open(path)
    return archive.files or (archive.path,)


def _size(files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in files)


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    for file in target.parent.glob(f"{target.name}*"):  # those of a TensorFlow checkpoint
        file.unlink()


if __name__ == "__main__":
    main()
