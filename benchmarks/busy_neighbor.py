"""Measure how much one busy process slows training down, for several policies of waiting threads.

A network's threads wait for each other many times in each step. Threads that spin while they wait
take the time of the thread that they wait for, when another program uses a core.

Each contender is a device with environment variables, in a process of its own: they must be set
before the framework is imported. In each round every contender trains some steps alone, and some
beside a process that only computes. The results are medians over the rounds of

* ``slower``: seconds with the neighbor / seconds alone of the same round,
* ``alone``: seconds alone / seconds alone of the first contender.

    python benchmarks/busy_neighbor.py
    python benchmarks/busy_neighbor.py --width 0.25 --steps 8
    python benchmarks/busy_neighbor.py --precision bfloat16 --json neighbor.json
    python benchmarks/busy_neighbor.py torch-cpu torch-cpu:OMP_WAIT_POLICY=passive cpu

On a machine with more than two cores, begin with ``taskset -c 0,1``. The numbers mean something
only on a machine that does nothing else: the load before the start is part of the result.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from contenders import ContenderProcess
from keras_training import training_loop

from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_SIZE

PYTORCH_SPINS = 300_000
"""libgomp's number of spins before a thread sleeps, where nothing is set."""

CONTENDERS = (
    f"torch-cpu:GOMP_SPINCOUNT={PYTORCH_SPINS}",
    "torch-cpu:GOMP_SPINCOUNT=30000",
    "torch-cpu:GOMP_SPINCOUNT=10000",
    "torch-cpu:GOMP_SPINCOUNT=3000",
    "torch-cpu:GOMP_SPINCOUNT=1000",
    "torch-cpu:OMP_WAIT_POLICY=passive",
    "torch-cpu",
    "cpu",
)
CONTEXT = multiprocessing.get_context("spawn")


def open_contender(name: str, settings: argparse.Namespace) -> ContenderProcess:
    """Start a device in a process of its own.

    Args:
        name: ``DEVICE`` or ``DEVICE:VARIABLE=VALUE,VARIABLE=VALUE``.
        settings: The command line.
    """
    device, _, variables = name.partition(":")
    pairs = (item.partition("=") for item in variables.split(",") if item)
    loop = partial(training_loop, device, settings)
    return ContenderProcess(loop, {variable: value for variable, _, value in pairs})


def beside_neighbors(contender: ContenderProcess, count: int) -> float:
    """Return the seconds of a contender's steps while other processes compute.

    Args:
        contender: Trains.
        count: The number of the other processes.
    """
    running = CONTEXT.Barrier(count + 1)
    neighbors = [
        CONTEXT.Process(target=_compute, args=(running,), daemon=True) for _ in range(count)
    ]
    for neighbor in neighbors:
        neighbor.start()
    running.wait()
    try:
        return contender.measure().clock
    finally:
        for neighbor in neighbors:
            neighbor.kill()
            neighbor.join()


def _compute(running: Any) -> None:
    running.wait()
    while True:
        pass


def summary(times: dict[str, list[tuple[float, float]]], steps: int) -> dict[str, Any]:
    """Return the medians of each contender, and the ratios of every round.

    Args:
        times: The seconds alone and beside neighbors, in each round.
        steps: The number of steps in these seconds.
    """
    first = next(iter(times.values()))
    results = {}
    for name, rounds in times.items():
        slower = [beside / alone for alone, beside in rounds]
        alone = [one / other for (one, _), (other, _) in zip(rounds, first, strict=True)]
        results[name] = {
            "milliseconds": round(1000 * statistics.median(one for one, _ in rounds) / steps, 1),
            "slower": round(statistics.median(slower), 2),
            "alone": round(statistics.median(alone), 3),
            "rounds": [
                [round(value, 2) for value in pair] for pair in zip(slower, alone, strict=True)
            ],
        }
    return results


def main() -> None:
    """Print a table, and write the results as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("contenders", nargs="*", default=CONTENDERS, metavar="DEVICE[:VAR=VALUE]")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image-size", type=IMAGE_SIZE.parse, default=DEFAULT_IMAGE_SIZE)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--neighbors", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of each measurement")
    parser.add_argument("--json", type=Path, help="file for the results")
    settings = parser.parse_args()
    settings.images = settings.steps * settings.batch_size
    load = os.getloadavg()[0]
    print(f"load before the start: {load:.2f} on {os.cpu_count()} cores")
    contenders = {name: open_contender(name, settings) for name in settings.contenders}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(settings.rounds):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            contender = contenders[name]
            alone = contender.measure().clock
            times[name].append((alone, beside_neighbors(contender, settings.neighbors)))
    results = summary(times, settings.steps)
    print(f"{'contender':<40}{'ms alone':>10}{'alone':>8}{'slower':>8}")
    for name, row in results.items():
        print(f"{name:<40}{row['milliseconds']:>10}{row['alone']:>8}{row['slower']:>8}")
    if settings.json:
        arguments = {key: str(value) for key, value in vars(settings).items()}
        document = {**arguments, "load": load, "results": results}
        settings.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
