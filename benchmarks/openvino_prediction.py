"""Compare the device `openvino` with the same network converted to OpenVINO and run bare.

The bare network is what users get without msinet: a frozen TensorFlow graph that
``openvino.convert_model`` reads, compiled with the same hints, with its input in place. All are
measured in turn in one process, and ratios are computed per round because machines are noisy::

    python benchmarks/openvino_prediction.py --rounds 15
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.formats.frozen import write_graph
from msinet_core.device import Model
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, msinet_graph
from msinet_core.training.initial_weights import random_state
from msinet_openvino import SPEC

Images = NDArray[np.float32]
Round = Callable[[], NDArray[np.float32]]
"""Predict all images once and return their maps."""

LARGEST_DIFFERENCE = 1e-2
"""The largest difference allowed between maps of one precision, which range from 0 to 1."""

ELEMENT_TYPES = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16}


def compile_bare(
    frozen: Path, shape: tuple[int, ...], precision: str, hint: str
) -> ov.CompiledModel:
    """Convert the frozen graph and compile it as the device does.

    Args:
        frozen: A ``*.pb`` with the nodes ``input`` and ``output``.
        shape: The shape of one image, ``(1, H, W, 3)``.
        precision: The precision to compute in.
        hint: ``"LATENCY"`` or ``"THROUGHPUT"``.
    """
    network = ov.convert_model(frozen)
    network.reshape(list(shape))
    hints = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": ELEMENT_TYPES[precision]}
    return ov.Core().compile_model(network, "CPU", hints)


def bare_latency(compiled: ov.CompiledModel, images: Images) -> Round:
    """Return a round that predicts one image after another with one request.

    Args:
        compiled: The network, compiled for one image.
        images: ``(N, H, W, 3)``.
    """
    request = compiled.create_infer_request()
    tensors = [
        ov.Tensor(images[index : index + 1], shared_memory=True) for index in range(len(images))
    ]

    def run() -> NDArray[np.float32]:
        maps = []
        for tensor in tensors:
            request.set_input_tensor(tensor)
            request.start_async()
            request.wait()
            maps.append(request.get_output_tensor().data.copy())
        return np.concatenate(maps)

    return run


def bare_throughput(compiled: ov.CompiledModel, images: Images) -> Round:
    """Return a round that keeps OpenVINO's own queue of requests full.

    Args:
        compiled: The network, compiled for one image.
        images: ``(N, H, W, 3)``.
    """
    queue = ov.AsyncInferQueue(compiled)
    maps = np.empty((*images.shape[:3], 1), np.float32)

    def keep(request: ov.InferRequest, index: int) -> None:
        maps[index] = request.get_output_tensor().data[0]

    queue.set_callback(keep)

    def run() -> NDArray[np.float32]:
        for index in range(len(images)):
            queue.start_async({0: images[index : index + 1]}, index, share_inputs=True)
        queue.wait_all()
        return maps.copy()

    return run


def device_latency(model: Model, images: Images) -> Round:
    """Return a round that predicts one image after another, as `Predictor.predict` does.

    Args:
        model: The model on the device.
        images: ``(N, H, W, 3)``.
    """
    return lambda: np.concatenate(
        [np.asarray(model.predict(images[index : index + 1])) for index in range(len(images))]
    )


def device_throughput(model: Model, images: Images, batch_size: int) -> Round:
    """Return a round that reads each batch after starting the next one, as `predict` does.

    Args:
        model: The model on the device.
        images: ``(N, H, W, 3)``.
        batch_size: Images in a batch.
    """

    def run() -> NDArray[np.float32]:
        maps, before = [], None
        for start in range(0, len(images), batch_size):
            result = model.predict(images[start : start + batch_size])
            if before is not None:
                maps.append(np.asarray(before))
            before = result
        return np.concatenate([*maps, np.asarray(before)])

    return run


def prepare(arguments: argparse.Namespace, folder: Path) -> Mapping[str, Round]:
    """Compile everything, and check that all networks of one precision compute the same maps.

    Args:
        arguments: The command line.
        folder: The folder for the frozen graph.

    Returns:
        The rounds by ``"PRECISION HINT device|bare"``.
    """
    graph = msinet_graph(arguments.width)
    state = random_state(graph, seed=0)
    frozen = folder / "network.pb"
    write_graph(frozen, Checkpoint(graph, state))
    shape = (arguments.images, *arguments.image_size, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    one = (1, *shape[1:])
    rounds: dict[str, Round] = {}
    for precision in arguments.precision:
        device = SPEC.open(precision, {"hint": "latency"})
        rounds[f"{precision} latency device"] = device_latency(device.compile(graph, state), images)
        compiled = compile_bare(frozen, one, precision, "LATENCY")
        rounds[f"{precision} latency bare"] = bare_latency(compiled, images)
        device = SPEC.open(precision, {"hint": "throughput"})
        model = device.compile(graph, state)
        rounds[f"{precision} throughput device"] = device_throughput(
            model, images, arguments.batch_size
        )
        compiled = compile_bare(frozen, one, precision, "THROUGHPUT")
        rounds[f"{precision} throughput bare"] = bare_throughput(compiled, images)
        maps = [run() for name, run in rounds.items() if name.startswith(precision)]
        difference = max(float(np.abs(each - maps[0]).max()) for each in maps)
        if not difference <= LARGEST_DIFFERENCE or maps[0].max() < 0.99:
            sys.exit(
                f"{precision}: the maps differ by {difference}, so the times are not comparable"
            )
        print(f"{precision}: all four maps agree within {difference:.1e}")
    return rounds


def measure(rounds: Mapping[str, Round], count: int) -> dict[str, list[float]]:
    """Time every round in turn, `count` times; the order is reversed each time.

    Args:
        rounds: The rounds by name.
        count: How many times each.

    Returns:
        The seconds by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rounds}
    names = list(rounds)
    for _ in range(count):
        for name in names:
            start = time.perf_counter()
            rounds[name]()
            seconds[name].append(time.perf_counter() - start)
        names.reverse()
    return seconds


def ratio(seconds: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return the median over the rounds of the first's time divided by the second's.

    Args:
        seconds: The result of `measure`.
        one: A name.
        other: Another name.
    """
    pairs = zip(seconds[one], seconds[other], strict=True)
    return statistics.median(first / second for first, second in pairs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=float, default=1.0, help="scale of the number of channels")
    parser.add_argument(
        "--image-size", type=int, nargs=2, default=DEFAULT_IMAGE_SIZE, metavar=("H", "W")
    )
    parser.add_argument("--images", type=int, default=8, help="images in each round")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="images in a batch for throughput"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--precision", choices=ELEMENT_TYPES, nargs="+", default=list(ELEMENT_TYPES)
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the seconds of every round"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(prepare(arguments, Path(folder)), arguments.rounds)
    for name, values in seconds.items():
        print(f"{name:28} {1e3 * statistics.median(values) / arguments.images:8.1f} ms per image")
    for precision in arguments.precision:
        for hint in ("latency", "throughput"):
            mine, bare = (f"{precision} {hint} {kind}" for kind in ("device", "bare"))
            print(f"{precision} {hint}: device / bare {ratio(seconds, mine, bare):.3f}")
        latency, throughput = (f"{precision} {hint} device" for hint in ("latency", "throughput"))
        print(f"{precision}: throughput / latency {ratio(seconds, throughput, latency):.3f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
