"""What torch-cuda does on an NVIDIA GPU: conformance, then images/s by batch size and precision.

Every figure is the rate of whole steps: images come from the host's memory each time, and the last
result is read before the clock stops. The share of the chip's peak counts two operations for each
multiply-add of a convolution, three times as many in training as in prediction, against the peak of
dense matrices that is given, or that NVIDIA names for the chip.

    python benchmarks/torch_cuda.py --output torch-cuda.json
    python benchmarks/torch_cuda.py --batch-sizes 1,8,64 --option cuda-graphs=on --option compile=on
    python benchmarks/torch_cuda.py --device torch-cpu --width 0.1 --image-size 48x64 --steps 2
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msinet_core.conformance import run
from msinet_core.device import Device
from msinet_core.errors import MsinetError
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import Batch
from msinet_core.registry.registry import load_registry
from msinet_core.system.files import atomic_path
from msinet_core.training.initial_weights import random_state

RATE = 1e-6
TRAINING_FACTOR = 3
"""A step computes each convolution, its gradient by the input and its gradient by the kernel."""

PEAKS = {
    "H200": {"float32": 67e12, "tf32": 494.7e12, "bfloat16": 989.4e12, "float16": 989.4e12},
    "H100": {"float32": 67e12, "tf32": 494.7e12, "bfloat16": 989.4e12, "float16": 989.4e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12, "float16": 312e12},
    "L4": {"float32": 30.3e12, "tf32": 60e12, "bfloat16": 121e12, "float16": 121e12},
    "T4": {"float32": 8.1e12, "float16": 65e12},
}
"""Operations in a second on dense matrices, of the SXM form where there are several.

Source: NVIDIA's data sheets of each chip; figures with sparsity are halved.
"""

Step = Callable[[], Any]


def peak(device: Device, given: float | None) -> float | None:
    """Return the chip's peak in operations per second; None if it is unknown.

    Args:
        device: The open device.
        given: What the user says, in TFLOP/s.
    """
    if given is not None:
        return given * 1e12
    if device.spec.name != "torch-cuda":
        return None
    name = torch.cuda.get_device_name()
    kind = "tf32" if device.options["tf32"] == "on" else "float32"
    kind = kind if device.precision == "float32" else device.precision
    return next((peaks.get(kind) for chip, peaks in PEAKS.items() if chip in name.split()), None)


def steps_of(device: Device, settings: argparse.Namespace, batch_size: int) -> Iterator[Any]:
    """Yield the name of each step, a function that makes it, and its operations per image."""
    graph, (height, width) = msinet_graph(settings.width), settings.size
    state = random_state(graph, seed=0)
    random = np.random.default_rng(0)
    shape = (batch_size, height, width)
    images = random.uniform(0, 255, (*shape, 3)).astype(np.float32)
    maps = random.uniform(0, 1, (*shape, 1)).astype(np.float32)
    flops = graph.flops(settings.size)
    model = device.compile(graph, state)
    yield "predict", lambda: model.predict(images), flops
    model = device.compile(graph, state, loss=KLDivergence(), optimizer=Adam())
    batch = Batch(images, maps)
    yield "train", lambda: model.train_step([batch], RATE), TRAINING_FACTOR * flops


def seconds_per_step(step: Step, steps: int, warm_ups: int) -> float:
    """Time steps in a row; each result but the last two is read while the next is computed."""
    for _ in range(warm_ups):
        np.asarray(step())
    waiting = None
    start = time.perf_counter()
    for _ in range(steps):
        result = step()
        if waiting is not None:
            np.asarray(waiting)
        waiting = result
    np.asarray(waiting)
    return (time.perf_counter() - start) / steps


def measure(settings: argparse.Namespace, precision: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch size and step; one that does not fit in memory says so."""
    options = dict(option.split("=", 1) for option in settings.option)
    spec = load_registry().spec(settings.device)
    for batch_size in settings.batch_sizes:
        device = spec.open(precision, options)
        try:
            for name, step, flops in steps_of(device, settings, batch_size):
                seconds = seconds_per_step(step, settings.steps, settings.warm_ups)
                rate, most = batch_size / seconds, peak(device, settings.peak)
                yield {
                    "step": name,
                    "precision": precision,
                    "batch_size": batch_size,
                    "images_per_s": round(rate, 2),
                    "tflop_per_s": round(rate * flops / 1e12, 2),
                    "share_of_peak": round(rate * flops / most, 4) if most else None,
                }
        except torch.OutOfMemoryError as error:
            told = str(error).partition("\n")[0]
            yield {"precision": precision, "batch_size": batch_size, "failed": told}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def prove(settings: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Run the conformance kit."""
    report = run(load_registry().spec(settings.device), precision=precision)
    failed = {row.id: row.reason for row in report.rows if row in report.failed}
    return {"precision": precision, "rows": len(report.rows), "failed": failed}


def numbers(text: str) -> list[int]:
    """Read whole numbers with commas between."""
    return [int(part) for part in text.split(",")]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="torch-cuda")
    parser.add_argument("--precisions", help="default: all that the device offers")
    parser.add_argument("--batch-sizes", type=numbers, default=[1, 8, 32, 128])
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image-size", default="240x320")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-ups", type=int, default=5)
    parser.add_argument("--peak", type=float, help="the chip's, in TFLOP/s")
    parser.add_argument("--skip-conformance", action="store_true")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    settings = parser.parse_args()
    height, width = settings.image_size.split("x")
    settings.size = int(height), int(width)
    return settings


def main() -> None:
    """Measure, and print one JSON document; progress goes to stderr."""
    settings = arguments()
    try:
        spec = load_registry().select(settings.device)
    except MsinetError as error:
        sys.exit(str(error))
    offered = spec.capabilities.precisions
    precisions = settings.precisions.split(",") if settings.precisions else offered
    document: dict[str, Any] = {
        "device": spec.name,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "options": settings.option,
        "width": settings.width,
        "image_size": settings.image_size,
        "conformance": [],
        "rates": [],
    }
    for precision in precisions:
        if not settings.skip_conformance:
            document["conformance"].append(prove(settings, precision))
            print(document["conformance"][-1], file=sys.stderr)
        for row in measure(settings, precision):
            document["rates"].append(row)
            print(row, file=sys.stderr)
    text = json.dumps(document, indent=2)
    print(text)
    if settings.output:
        with atomic_path(settings.output) as path:
            path.write_text(text + "\n")


if __name__ == "__main__":
    main()
