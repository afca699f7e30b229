"""Measure one device in one precision and batch size: rates, compile time, memory, energy."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.benchmark.loops import (
    Epochs,
    Load,
    bare_predict_rate,
    bare_train_rate,
    folder_predict_rate,
    read_rate,
)
from msinet_core.benchmark.memory_meter import MemoryMeter
from msinet_core.benchmark.settings import BenchSettings, Case
from msinet_core.errors import UsageError
from msinet_core.hardware.energy import EnergyMeter
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D, GlobalMean
from msinet_core.network.state import Batch
from msinet_core.training.initial_weights import random_state

if TYPE_CHECKING:
    from msinet_core.device import Device, DeviceSpec, Model
    from msinet_core.network.graph import Graph

TRAINING_COST = 3
"""A training step computes a forward pass and two gradients of the same cost."""

TRACED_STEPS = 3
"""Steps in a profile."""

PEAK_LAYERS, PEAK_CHANNELS, PEAK_REDUCTION = 8, 512, 8
"""The convolutions with which a device's peak is measured: those of the network's deep layers."""


def measure(
    spec: DeviceSpec,
    case: Case,
    settings: BenchSettings,
    pictures: Path,
    scratch: Path,
    trace: Path | None = None,
) -> dict[str, Any]:
    """Measure training and prediction on a device, bare and as the commands do them.

    The bare step and the whole alternate, so that other load on the machine affects both, and
    their ratio is computed per round.

    Args:
        spec: The device.
        case: Its precision and batch size.
        settings: What else to measure.
        pictures: The folder of a dataset with enough images.
        scratch: An empty folder for maps and checkpoints.
        trace: The folder for the framework's own profile; None for none.

    Returns:
        A row as `msinet_core.bench` describes it.

    Raises:
        MsinetError: The device does not open, or fails.
    """
    graph = msinet_graph(settings.width)
    graph.check_image_size(settings.image_size)
    images = -(-settings.images // case.batch_size) * case.batch_size
    load = Load(pictures, scratch, settings.image_size, case.batch_size, images)
    with MemoryMeter() as memory:
        device = spec.open(case.precision, settings.device_options)
        row: dict[str, Any] = {
            **asdict(case),
            "precision": device.precision,
            "status": "ok",
            "versions": dict(device.versions()),
            "gflop_per_image": graph.flops(settings.image_size) / 1e9,
            "predict": _measure_work(device, graph, load, settings.rounds, training=False),
        }
        if spec.capabilities.training:
            row["train"] = _measure_work(device, graph, load, settings.rounds, training=True)
    row["memory"] = {"process": memory.process, "gpu": memory.gpu}
    row["reader_images_per_s"] = read_rate(load)
    row["peak_tflops"] = peak_tflops(device, load, settings)
    _add_shares(row)
    if trace is not None:
        row["trace"] = write_trace(device, graph, load, trace)
    return row


def _compiled(device: Device, graph: Graph, *, training: bool) -> Model:
    """Return a network on a device with random weights."""
    loss, optimizer = (KLDivergence(), Adam()) if training else (None, None)
    return device.compile(graph, random_state(graph, seed=0), loss=loss, optimizer=optimizer)


def _measure_work(
    device: Device, graph: Graph, load: Load, rounds: int, *, training: bool
) -> dict[str, Any]:
    """Measure the bare step and the whole work in turn, after one step that compiles."""
    batch = load.batch()
    bare_rate = bare_train_rate if training else bare_predict_rate
    start = time.perf_counter()
    model = _compiled(device, graph, training=training)
    bare_rate(model, batch, 1)
    first_seconds = time.perf_counter() - start
    bare = partial(bare_rate, model, batch, load.images)
    predict_folder = partial(folder_predict_rate, model, graph, load)
    whole = Epochs(model, graph, load).train_one if training else predict_folder
    bare(), whole()  # fill caches, compile for other shapes
    rates: list[tuple[float, float]] = []
    joules: list[float] = []
    for _ in range(rounds):
        meter, start = EnergyMeter(), time.perf_counter()
        rate = bare()
        seconds, energy = time.perf_counter() - start, meter.joules()
        if energy is not None:
            joules.append(energy / (rate * seconds))
        rates.append((rate, whole()))
    steady = statistics.median(rate for rate, _ in rates)
    return {
        "bare_images_per_s": steady,
        "whole_images_per_s": statistics.median(rate for _, rate in rates),
        "share": statistics.median(remaining / rate for rate, remaining in rates),
        "compile_seconds": max(0.0, first_seconds - load.batch_size / steady),
        "joules_per_image": statistics.median(joules) if joules else None,
        "rounds": {"bare": [rate for rate, _ in rates], "whole": [rate for _, rate in rates]},
    }


def peak_tflops(device: Device, load: Load, settings: BenchSettings) -> float:
    """Measure the device's convolution peak in TFLOP/s, through the same contract.

    The network is eight equal convolutions with a small input and output, so that neither other
    layers nor copies count.

    Args:
        device: The device.
        load: Its batch size, and the number of images.
        settings: The scale of the channels, the image size and the number of rounds.
    """
    channels = max(1, round(PEAK_CHANNELS * settings.width))
    builder = GraphBuilder()
    last = builder.add("widen", Conv2D(channels, kernel_size=1), builder.input)
    for number in range(PEAK_LAYERS):
        last = builder.add(f"conv{number}", Conv2D(channels), last)
    builder.add("mean", GlobalMean(), last)
    graph = builder.build()
    height, width = (axis // PEAK_REDUCTION for axis in load.image_size)
    model: Model = device.compile(graph, random_state(graph, seed=0))
    images = np.ones((load.batch_size, height, width, 3), np.float32)
    batch = Batch(images, images)
    rates = [bare_predict_rate(model, batch, load.images) for _ in range(settings.rounds + 1)]
    return statistics.median(rates[1:]) * graph.flops((height, width)) / 1e12


def _add_shares(row: dict[str, Any]) -> None:
    for work, cost in (("predict", 1), ("train", TRAINING_COST)):
        if work in row:
            rates = row[work]
            rates["tflops"] = cost * row["gflop_per_image"] * rates["bare_images_per_s"] / 1e3
            rates["peak_share"] = rates["tflops"] / row["peak_tflops"]


def write_trace(device: Device, graph: Graph, load: Load, folder: Path) -> str:
    """Profile some training steps, or predictions if the device does not train.

    Args:
        device: The device.
        graph: The network.
        load: The batch.
        folder: The folder to write to; created if it is missing.

    Returns:
        The folder, or why there is no profile.
    """
    batch, images = load.batch(), TRACED_STEPS * load.batch_size
    trains = device.spec.capabilities.training
    rate = bare_train_rate if trains else bare_predict_rate
    model = _compiled(device, graph, training=trains)
    rate(model, batch, images)  # compile
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with device.trace(folder):
            rate(model, batch, images)
    except UsageError as error:
        folder.rmdir()
        return str(error)
    return str(folder)
