"""Compare the cost of training an image with its operations, by batch size, image size, processes.

    python benchmarks/scaling.py --plot docs/images/scaling.png --json scaling.json
    python benchmarks/scaling.py --quick --plot quick.png

The estimate on paper counts operations: three forward passes per image, and Adam once per step,
divided by the processes. Measured is the ratio of the seconds per image to those of the first
setting of its panel, as the median over rounds in which both take turns. Processes train through
``--distribute multiworker``, each on a core of its own, with the same batch in all.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from contenders import ContenderProcess, take_turns
from keras_training import training_loop

from msinet_core.benchmark.measure import TRAINING_COST
from msinet_core.benchmark.synthetic_data import make_pictures
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, msinet_graph
from msinet_core.network.ops import Size
from msinet_core.system.child_process import python_command
from msinet_core.system.figures import check_plot, save_figure

DEVICES = ("cpu", "torch-cpu")
BATCHES = (1, 2, 4, 8)
SIZES: tuple[Size, ...] = (DEFAULT_IMAGE_SIZE, (120, 160), (360, 480), (480, 640))
PROCESSES = (1, 2)
BATCH = 4
"""Images in a step of all processes together."""

ADAM_OPERATIONS = 12
"""Of each parameter in a step: two moments, their corrections, the root and the update."""

COLORS = ("#3b75af", "#c66a2b")

Point = dict[str, Any]
Measure = Callable[..., list[list[float]]]


def operations(settings: argparse.Namespace) -> float:
    """Return the operations for each image, in each process."""
    graph = msinet_graph(settings.width)
    image = TRAINING_COST * graph.flops(settings.image_size) / settings.processes
    return image + ADAM_OPERATIONS * graph.parameter_count / settings.batch_size


def measure_loops(device: str, rounds: int, *pair: argparse.Namespace) -> list[list[float]]:
    """Measure steps on images in memory; return the seconds of both settings, round by round."""
    loops = {
        str(number): ContenderProcess(partial(training_loop, device, settings))
        for number, settings in enumerate(pair)
    }
    return [[one.clock for one in times] for times in take_turns(loops, rounds).values()]


def measure_runs(device: str, rounds: int, *pair: argparse.Namespace) -> list[list[float]]:
    """Measure the last epoch of the command ``train`` in one or several processes."""
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder) / "data", pair[0].images)
        return [
            list(column)
            for column in zip(
                *(
                    [_train(device, settings, Path(folder)) for settings in pair]
                    for _ in range(rounds)
                ),
                strict=True,
            )
        ]


def _train(device: str, settings: argparse.Namespace, folder: Path) -> float:
    height, width = settings.image_size
    count, run = settings.processes, tempfile.mkdtemp(dir=folder)
    command = python_command(
        *("from msinet_core.cli import main; main()", "--device", device, "train"),
        *("--data", str(folder / "data"), "--run", run, "--init", "random", "--epochs", "2"),
        *("--precision", settings.precision, "--width", str(settings.width)),
        *("--image-size", f"{height}x{width}", "--batch-size", str(settings.batch_size)),
        *("--distribute", "multiworker" if count > 1 else "none"),
    )
    cores = sorted(os.sched_getaffinity(0))[:count]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    ["taskset", "--cpu-list", str(core), *command],
                    env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            for core, variables in zip(cores, _cluster(count), strict=True)
        ]
    if any(process.returncode for process in started):
        raise SystemExit(f"{device} failed in {count} processes: {' '.join(command)}")
    with (Path(run) / "history.csv").open(encoding="utf-8", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


def _cluster(count: int) -> Iterator[Mapping[str, str]]:
    """Yield the variables of each process, for TensorFlow and for PyTorch."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count + 1)]
        for each in sockets:
            each.bind(("localhost", 0))
        port, *ports = [each.getsockname()[1] for each in sockets]
    named = {"worker": [f"localhost:{each}" for each in ports]}
    for index in range(count):
        task = {"cluster": named, "task": {"type": "worker", "index": index}}
        group = {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(count)}
        group |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        yield {**group, "TF_CONFIG": json.dumps(task)} if count > 1 else {}


def panels(
    settings: argparse.Namespace,
) -> Iterator[tuple[str, list[argparse.Namespace], Measure]]:
    """Yield the title, the settings to compare and the way to measure them, of each panel."""

    def changed(**values: Any) -> argparse.Namespace:
        return argparse.Namespace(**{**vars(settings), "processes": 1, "batch_size": 1, **values})

    yield "batch size", [changed(batch_size=size) for size in BATCHES], measure_loops
    yield "image size", [changed(image_size=size) for size in SIZES], measure_loops
    runs = [changed(processes=count, batch_size=BATCH) for count in PROCESSES]
    yield "processes", runs, measure_runs


def compare(settings: argparse.Namespace) -> Iterator[Point]:
    """Yield the estimate and the measurement of each setting and device."""
    for panel, (first, *others), measure in panels(settings):
        for device in settings.devices:
            yield _point(panel, device, first, first, [1.0])
            for other in others:
                base, seconds = measure(device, settings.rounds, first, other)
                ratios = [a / b for a, b in zip(seconds, base, strict=True)]
                yield _point(panel, device, first, other, ratios)


def _point(
    panel: str,
    device: str,
    first: argparse.Namespace,
    settings: argparse.Namespace,
    ratios: Sequence[float],
) -> Point:
    height, width = settings.image_size
    value = {
        "batch size": settings.batch_size,
        "image size": f"{height}x{width}",
        "processes": settings.processes,
    }[panel]
    return {
        "panel": panel,
        "device": device,
        "value": value,
        "paper": operations(settings) / operations(first),
        "measured": statistics.median(ratios),
        "rounds": ratios,
    }


def draw(points: Sequence[Point], settings: argparse.Namespace, path: Path) -> None:
    """Draw a panel for the batch size, one for the image size and one for processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), dpi=150, layout="constrained")
    titles = list(dict.fromkeys(point["panel"] for point in points))
    for axes, title in zip(figure.subplots(1, len(titles)), titles, strict=True):
        shown = sorted(
            (point for point in points if point["panel"] == title), key=lambda p: _key(p["value"])
        )
        values = list(dict.fromkeys(point["value"] for point in shown))
        paper = {point["value"]: point["paper"] for point in shown}
        axes.plot(
            range(len(values)), paper.values(), "--", color="gray", label="operations, on paper"
        )
        for number, (device, color) in enumerate(zip(settings.devices, COLORS, strict=False)):
            own = [point for point in shown if point["device"] == device]
            low = [point["measured"] - min(point["rounds"]) for point in own]
            high = [max(point["rounds"]) - point["measured"] for point in own]
            axes.errorbar(
                [values.index(point["value"]) + 0.08 * (number - 0.5) for point in own],
                [point["measured"] for point in own],
                yerr=[low, high],
                color=color,
                marker="o",
                capsize=3,
                label=device,
            )
        if title == "image size":
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.margins(x=0.1)
        axes.set_xlabel(title)
        axes.grid(axis="y", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    axes = figure.axes[0]
    axes.set_ylabel("time per image, ratio")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save_figure(figure, path)


def _key(value: int | str) -> int:
    return value if isinstance(value, int) else int(value.partition("x")[0])


def main() -> None:
    """Print a table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=list(DEVICES))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=8, help="images in a round, a multiple of 8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the width, two rounds")
    parser.add_argument("--plot", type=Path, required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds")
    settings = parser.parse_args()
    settings.image_size = DEFAULT_IMAGE_SIZE
    if settings.quick:
        settings.width, settings.rounds = 0.1, 2
    if settings.images % max(BATCHES):
        parser.error(f"--images: {settings.images} is no multiple of {max(BATCHES)}")
    check_plot(settings.plot)
    print(
        "| panel | setting | device | on paper | measured | rounds |\n|---|---|---|---:|---:|---|"
    )
    points = []
    for point in compare(settings):
        points.append(point)
        rounds = ", ".join(f"{ratio:.2f}" for ratio in point["rounds"])
        print(
            f"| {point['panel']} | {point['value']} | {point['device']} | {point['paper']:.3f} "
            f"| {point['measured']:.3f} | {rounds} |",
            flush=True,
        )
        if settings.json:
            document = {"width": settings.width, "precision": settings.precision, "points": points}
            settings.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    draw(points, settings, settings.plot)


if __name__ == "__main__":
    main()
