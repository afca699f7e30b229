"""Measure how fast a device is, and how much of its speed the trainer and the predictor keep."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core.benchmark.settings import BenchSettings
from msinet_core.data import BatchPipeline, open_dataset, read_image, write_map
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Size
from msinet_core.network.state import Batch
from msinet_core.prediction.predictor import Done, Prediction, Predictor
from msinet_core.system.files import atomic_path
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.training.config import TrainConfig
from msinet_core.training.initial_weights import random_state
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.trainer import Position, Trainer

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec, Model
    from msinet_core.network.graph import Graph

STIMULUS_SIZE: Size = (600, 800)
"""The size of the pictures to decode, as in OSIE."""

LEARNING_RATE = 1e-6


def measure(
    spec: DeviceSpec, settings: BenchSettings, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Measure training and prediction on a device, bare and as the commands do them.

    The bare step and the whole alternate in one process, so that other load on the machine affects
    both, and the ratio is computed per round.

    Args:
        spec: The device.
        settings: What to measure.
        folder: An empty folder for pictures, maps and checkpoints.
        progress: Shows the progress.

    Returns:
        As `msinet_core.bench` describes.

    Raises:
        MsinetError: The device does not open, or fails.
    """
    graph = msinet_graph(settings.width)
    graph.check_image_size(settings.image_size)
    make_pictures(folder / "data", settings.images)
    device = spec.open(settings.precision, settings.device_options)
    state = random_state(graph, seed=0)
    result: dict[str, Any] = {
        "device": spec.name,
        "precision": device.precision,
        "versions": dict(device.versions()),
        **{name: value for name, value in asdict(settings).items() if name != "precision"},
        "gflop_per_image": graph.flops(settings.image_size) / 1e9,
    }
    phases = 1 + spec.capabilities.training
    with progress.task(f"bench {spec.name}", phases * settings.rounds, "rounds") as task:
        model = device.compile(graph, state)
        result["predict"] = _compare(
            lambda: _bare_predict(model, settings),
            lambda: _predict_folder(model, graph, settings, folder),
            settings,
            task.advance,
        )
        if spec.capabilities.training:
            model = device.compile(graph, state, loss=KLDivergence(), optimizer=Adam())
            epochs = _Epochs(model, graph, spec, settings, folder)
            result["train"] = _compare(
                lambda: _bare_train(model, settings), epochs.train_one, settings, task.advance
            )
    return result


def _compare(
    bare: Callable[[], float],
    whole: Callable[[], float],
    settings: BenchSettings,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Measure two rates in turn; `msinet_core.bench` describes the result."""
    bare(), whole()  # compile, fill caches
    rates: list[tuple[float, float]] = []
    for _ in range(settings.rounds):
        rates.append((bare(), whole()))
        advance()
    return {
        "bare_images_per_s": statistics.median(rate[0] for rate in rates),
        "whole_images_per_s": statistics.median(rate[1] for rate in rates),
        "share": statistics.median(rate[1] / rate[0] for rate in rates),
        "rounds": {"bare": [rate[0] for rate in rates], "whole": [rate[1] for rate in rates]},
    }


def _batch(settings: BenchSettings) -> Batch:
    random = np.random.default_rng(0)
    shape = (settings.batch_size, *settings.image_size)
    images = random.uniform(0, 255, (*shape, 3)).astype(np.float32)
    return Batch(images, random.uniform(0, 1, (*shape, 1)).astype(np.float32))


def _bare_predict(model: Model, settings: BenchSettings) -> float:
    images = _batch(settings).images
    return _rate(lambda: np.asarray(model.predict(images)), settings)


def _bare_train(model: Model, settings: BenchSettings) -> float:
    """Read losses as late as the trainer does, so that the device can queue as many steps."""
    batch = _batch(settings)
    unread: deque[SupportsFloat] = deque()

    def step() -> None:
        unread.append(model.train_step([batch], LEARNING_RATE))
        for _ in range(model.due_losses(len(unread))):
            float(unread.popleft())

    def finish() -> None:
        while unread:
            float(unread.popleft())

    return _rate(step, settings, finish)


def _rate(
    step: Callable[[], object], settings: BenchSettings, finish: Callable[[], object] = lambda: None
) -> float:
    steps = max(1, settings.images // settings.batch_size)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    finish()
    return steps * settings.batch_size / (time.perf_counter() - start)


def _predict_folder(model: Model, graph: Graph, settings: BenchSettings, folder: Path) -> float:
    """Predict a folder as the command does: decode, compute, restore the size, write JPEGs."""
    pictures = sorted((folder / "data" / "stimuli" / "train").iterdir())
    predictor = Predictor(model, graph, settings.image_size, settings.batch_size)

    def write(path: Path, prediction: Prediction) -> None:
        write_map(folder / "maps" / f"{path.stem}.jpeg", prediction.restored(), "jpeg")

    start = time.perf_counter()
    outcomes = list(predictor.stream(pictures, read_image, write))
    seconds = time.perf_counter() - start
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    return len(outcomes) / seconds


class _Epochs:
    """Train one epoch at a time on pictures from files."""

    def __init__(
        self, model: Model, graph: Graph, spec: DeviceSpec, settings: BenchSettings, folder: Path
    ) -> None:
        self._model = model
        self._graph = graph
        self._run = RunFolder(folder / "run")
        self._position = Position()
        self._config = TrainConfig(
            data=str(folder / "data"),
            device=spec.name,
            batch_size=settings.batch_size,
            learning_rate=LEARNING_RATE,
            image_size=settings.image_size,
        )
        self._run.begin(self._config, 0, [])
        dataset = open_dataset(self._config.data)
        size, batch_size = settings.image_size, settings.batch_size
        self._train = BatchPipeline(dataset.train, size, batch_size, shuffle=True)
        self._valid = BatchPipeline(dataset.valid, size, batch_size)
        self._step = 0

    def train_one(self) -> float:
        """Train one epoch and return its rate without validation and checkpoint."""
        trainer = Trainer(
            self._model,
            self._graph,
            replace(self._config, epochs=self._position.epoch + 1),
            train=self._train,
            valid=self._valid,
            run=self._run,
            position=self._position,
            step=self._step,
            metadata={},
            interrupt=InterruptFlag(),
            progress=Progress(),
        )
        row = trainer.fit()[-1]
        self._step = row["step"]
        return float(row["images_per_s"])


def make_pictures(folder: Path, count: int, size: Size = STIMULUS_SIZE) -> None:
    """Write a dataset of pictures that take about as long to decode as photographs.

    Args:
        folder: The folder for ``stimuli/`` and ``saliency/``, each with ``train/`` and ``val/``.
        count: The number of training images, in addition to one for validation.
        size: Height and width of the pictures.
    """
    from PIL import Image

    random = np.random.default_rng(0)
    height, width = size
    for number in range(count + 1):
        split = "train" if number < count else "val"
        coarse = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        grain = random.normal(0, 6, (height, width, 3))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        stimulus = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        spot = Image.fromarray(random.integers(0, 256, (6, 8), np.uint8))
        saliency = spot.resize((width, height), Image.Resampling.BICUBIC)
        name = f"{number:04d}"
        with atomic_path(folder / "stimuli" / split / f"{name}.jpg") as path:
            stimulus.save(path, format="JPEG", quality=90)
        with atomic_path(folder / "saliency" / split / f"{name}.png") as path:
            saliency.save(path, format="PNG")
