"""Measure one device in one precision and batch size: rates, compile time, memory, energy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.benchmark.loops import (
    LEARNING_RATE,
    Epochs,
    Load,
    bare_predict_rate,
    bare_train_rate,
    folder_predict_rate,
    read_rate,
)
from msinet_core.benchmark.memory_meter import MemoryMeter
from msinet_core.benchmark.settings import BenchSettings, Case
from msinet_core.benchmark.trace import write_trace
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
            "predict": _measure_predict(device, graph, load, settings.rounds),
        }
        if spec.capabilities.training:
            row["train"] = _measure_train(device, graph, load, settings.rounds)
    row["memory"] = {"process": memory.process, "gpu": memory.gpu}
    row["reader_images_per_s"] = read_rate(load)
    row["peak_tflops"] = peak_tflops(device, load, settings)
    _add_shares(row)
    if trace is not None:
        row["trace"] = write_trace(device, graph, load, trace)
    return row


def _measure_predict(device: Device, graph: Graph, load: Load, rounds: int) -> dict[str, Any]:
    batch = load.batch()
    start = time.perf_counter()
    model = device.compile(graph, random_state(graph, seed=0))
    np.asarray(model.predict(batch.images))
    seconds = time.perf_counter() - start
    return _compare(
        lambda: bare_predict_rate(model, batch, load.images),
        lambda: folder_predict_rate(model, graph, load),
        rounds,
        seconds,
        load.batch_size,
    )


def _measure_train(device: Device, graph: Graph, load: Load, rounds: int) -> dict[str, Any]:
    batch = load.batch()
    start = time.perf_counter()
    model = device.compile(
        graph, random_state(graph, seed=0), loss=KLDivergence(), optimizer=Adam()
    )
    float(model.train_step([batch], LEARNING_RATE))
    seconds = time.perf_counter() - start
    epochs = Epochs(model, graph, load)
    return _compare(
        lambda: bare_train_rate(model, batch, load.images),
        epochs.train_one,
        rounds,
        seconds,
        load.batch_size,
    )


def _compare(
    bare: Callable[[], float],
    whole: Callable[[], float],
    rounds: int,
    first_seconds: float,
    batch_size: int,
) -> dict[str, Any]:
    """Measure two rates in turn, after the first step has taken `first_seconds`."""
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
        "compile_seconds": max(0.0, first_seconds - batch_size / steady),
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
