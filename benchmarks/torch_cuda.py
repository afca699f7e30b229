"""Check torch-cuda on an NVIDIA GPU, then measure images/s by batch size and precision.

Every figure is the rate of whole steps: images come from host memory each time, and the last result
is read before the clock stops. The share of the chip's peak counts two operations per multiply-add
of a convolution, three times as many in training as in prediction, relative to --peak or to the
dense peak in NVIDIA's data sheets.

    python benchmarks/torch_cuda.py --output torch-cuda.json
    python benchmarks/torch_cuda.py --batch-sizes 1,8,64 --option cuda-graphs=on --option compile=on
    python benchmarks/torch_cuda.py --device torch-cpu --width 0.1 --image-size 48x64 --steps 2
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msinet_core.conformance.runner import run
from msinet_core.device import Device
from msinet_core.errors import MsinetError
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_SIZE, msinet_graph
from msinet_core.network.state import Batch
from msinet_core.registry.registry import load_registry
from msinet_core.system.files import atomic_path
from msinet_core.training.initial_weights import random_state

RATE = 1e-6
TRAINING_FACTOR = 3
"""A training step computes each convolution and its gradients by input and by kernel."""

PEAKS = {
    "H200 NVL": {"float32": 60e12, "tf32": 417.5e12, "bfloat16": 835.5e12, "float16": 835.5e12},
    "H200": {"float32": 67e12, "tf32": 494.7e12, "bfloat16": 989.4e12, "float16": 989.4e12},
    "H100 PCIe": {"float32": 51e12, "tf32": 378e12, "bfloat16": 756e12, "float16": 756e12},
    "H100 NVL": {"float32": 60e12, "tf32": 417.5e12, "bfloat16": 835.5e12, "float16": 835.5e12},
    "H100": {"float32": 67e12, "tf32": 494.7e12, "bfloat16": 989.4e12, "float16": 989.4e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12, "float16": 312e12},
    "L4": {"float32": 30.3e12, "tf32": 60e12, "bfloat16": 121e12, "float16": 121e12},
    "T4": {"float32": 8.1e12, "float16": 65e12},
}
"""Dense operations per second; the first name that is part of the GPU's counts. A name without a
form is that of SXM.

Source: NVIDIA's data sheets of each chip; figures with sparsity are halved.
"""

Step = Callable[[], Any]


def peak(device: Device, given: float | None) -> float | None:
    """Return the chip's peak in operations per second; None if it is unknown.

    Args:
        device: The open device.
        given: The value of ``--peak`` in TFLOP/s.
    """
    if given is not None:
        return given * 1e12
    if device.spec.name != "torch-cuda":
        return None
    kind = "tf32" if device.options["tf32"] == "on" else "float32"
    kind = kind if device.precision == "float32" else device.precision
    return chip_peak(torch.cuda.get_device_name(), kind)


def chip_peak(name: str, kind: str) -> float | None:
    """Return a chip's dense operations per second; None if they are unknown.

    Args:
        name: For example ``"NVIDIA A100-SXM4-40GB"``.
        kind: A precision, or ``"tf32"``.
    """
    found = (peaks for chip, peaks in PEAKS.items() if re.search(rf"\b{chip}\b", name))
    return next(found, {}).get(kind)


def steps_of(device: Device, settings: argparse.Namespace, batch_size: int) -> Iterator[Any]:
    """Yield the name of each step, a function that runs it, and its operations per image."""
    graph = msinet_graph(settings.width)
    state = random_state(graph, seed=0)
    random = np.random.default_rng(0)
    shape = (batch_size, *settings.image_size)
    images = random.uniform(0, 255, (*shape, 3)).astype(np.float32)
    maps = random.uniform(0, 1, (*shape, 1)).astype(np.float32)
    flops = graph.flops(settings.image_size)
    model = device.compile(graph, state)
    yield "predict", lambda: model.predict(images), flops
    model = device.compile(graph, state, loss=KLDivergence(), optimizer=Adam())
    batch = Batch(images, maps)
    yield "train", lambda: model.train_step([batch], RATE), TRAINING_FACTOR * flops


def seconds_per_step(step: Step, steps: int, warm_ups: int) -> float:
    """Time steps in a row; each result but the last two is read while the next is computed."""
    for _ in range(warm_ups):
        np.asarray(step())
    previous = None
    start = time.perf_counter()
    for _ in range(steps):
        result = step()
        if previous is not None:
            np.asarray(previous)
        previous = result
    np.asarray(previous)
    return (time.perf_counter() - start) / steps


def measure(settings: argparse.Namespace, precision: str) -> Iterator[dict[str, Any]]:
    """Yield a row per batch size and step; one that does not fit in memory has ``failed``."""
    options = options_of(settings)
    spec = load_registry().spec(settings.device)
    for batch_size in settings.batch_sizes:
        device = spec.open(precision, options)
        try:
            for name, step, flops in steps_of(device, settings, batch_size):
                seconds = seconds_per_step(step, settings.steps, settings.warm_ups)
                rate, limit = batch_size / seconds, peak(device, settings.peak)
                yield {
                    "step": name,
                    "precision": precision,
                    "batch_size": batch_size,
                    "images_per_s": round(rate, 2),
                    "tflop_per_s": round(rate * flops / 1e12, 2),
                    "share_of_peak": round(rate * flops / limit, 4) if limit else None,
                }
        except torch.OutOfMemoryError as error:
            reason = str(error).partition("\n")[0]
            yield {"precision": precision, "batch_size": batch_size, "failed": reason}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def check(settings: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Run the conformance kit, with the options that are measured."""
    spec = load_registry().spec(settings.device)
    report = run(spec, precision=precision, options=options_of(settings))
    failed = {row.id: row.reason for row in report.rows if row in report.failed}
    return {"precision": precision, "rows": len(report.rows), "failed": failed}


def options_of(settings: argparse.Namespace) -> dict[str, str]:
    """Return the device's options by name."""
    return dict(option.split("=", 1) for option in settings.option)


def numbers(text: str) -> list[int]:
    """Read integers separated by commas."""
    return [int(part) for part in text.split(",")]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="torch-cuda")
    parser.add_argument("--precisions", help="default: all precisions of the device")
    parser.add_argument("--batch-sizes", type=numbers, default=[1, 8, 32, 128])
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image-size", type=IMAGE_SIZE.parse, default=DEFAULT_IMAGE_SIZE)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-ups", type=int, default=5)
    parser.add_argument("--peak", type=float, help="peak of the chip in TFLOP/s")
    parser.add_argument("--skip-conformance", action="store_true")
    parser.add_argument("--output", type=Path, help="also write the JSON to a file")
    return parser.parse_args()


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
            document["conformance"].append(check(settings, precision))
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
