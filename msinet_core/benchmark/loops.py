"""The loops that are timed: bare steps, a folder of images, an epoch, and the reader alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from msinet_core.data.dataset import open_dataset
from msinet_core.data.images import read_image, write_map
from msinet_core.data.pipeline import BatchPipeline
from msinet_core.network.ops import Size
from msinet_core.network.state import Batch
from msinet_core.prediction.predictor import Done, Prediction, Predictor
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.training.config import TrainConfig
from msinet_core.training.resume import Position
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.trainer import Trainer

if TYPE_CHECKING:
    from msinet_core.device import Model
    from msinet_core.network.graph import Graph

LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Load:
    """What each round processes.

    Args:
        pictures: The folder of a dataset.
        scratch: A folder for maps and checkpoints.
        image_size: Height and width of the network's input in pixels.
        batch_size: Images in a batch.
        images: Images in a round, a multiple of the batch size.
    """

    pictures: Path
    scratch: Path
    image_size: Size
    batch_size: int
    images: int

    def batch(self) -> Batch:
        """Return images and maps of noise."""
        random = np.random.default_rng(0)
        shape = (self.batch_size, *self.image_size)
        images = random.uniform(0, 255, (*shape, 3)).astype(np.float32)
        return Batch(images, random.uniform(0, 1, (*shape, 1)).astype(np.float32))

    def reader(self, *, training: bool = True) -> BatchPipeline:
        """Return the batches of pictures from files."""
        dataset = open_dataset(str(self.pictures))
        samples = dataset.train[: self.images] if training else dataset.valid
        return BatchPipeline(samples, self.image_size, self.batch_size, shuffle=training)


def read_rate(load: Load) -> float:
    """Return the images per second that the reader delivers when nothing else runs."""
    start = time.perf_counter()
    for _ in load.reader().batches():
        pass
    return load.images / (time.perf_counter() - start)


def bare_predict_rate(model: Model, batch: Batch, images: int) -> float:
    """Return the images per second of predicting one batch in memory again and again."""
    return _rate(lambda: np.asarray(model.predict(batch.images)), batch, images)


def bare_train_rate(model: Model, batch: Batch, images: int) -> float:
    """Return the images per second of training on one batch in memory.

    Losses are read as late as the trainer does, so that the device can queue as many steps.
    """
    unread: deque[SupportsFloat] = deque()

    def step() -> None:
        unread.append(model.train_step([batch], LEARNING_RATE))
        for _ in range(model.due_losses(len(unread))):
            float(unread.popleft())

    return _rate(step, batch, images, lambda: [float(loss) for loss in unread])


def _rate(
    step: Callable[[], object],
    batch: Batch,
    images: int,
    finish: Callable[[], object] = lambda: None,
) -> float:
    steps = max(1, images // len(batch.images))
    start = time.perf_counter()
    for _ in range(steps):
        step()
    finish()
    return steps * len(batch.images) / (time.perf_counter() - start)


def folder_predict_rate(model: Model, graph: Graph, load: Load) -> float:
    """Predict a folder as the command does: decode, compute, restore the size, write JPEGs."""
    pictures = sorted((load.pictures / "stimuli" / "train").iterdir())[: load.images]
    predictor = Predictor(model, graph, load.image_size, load.batch_size)

    def write(path: Path, prediction: Prediction) -> None:
        write_map(load.scratch / "maps" / f"{path.stem}.jpeg", prediction.restored(), "jpeg")

    start = time.perf_counter()
    outcomes = list(predictor.stream(pictures, read_image, write))
    seconds = time.perf_counter() - start
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    return len(outcomes) / seconds


class Epochs:
    """Train one epoch at a time on pictures from files.

    Args:
        model: The network on its device, compiled for training.
        graph: The network.
        load: What an epoch processes.
    """

    def __init__(self, model: Model, graph: Graph, load: Load) -> None:
        self._model = model
        self._graph = graph
        self._run = RunFolder(load.scratch / "run")
        self._position = Position()
        self._config = TrainConfig(
            data=str(load.pictures),
            device=model.device_name,
            batch_size=load.batch_size,
            learning_rate=LEARNING_RATE,
            image_size=load.image_size,
        )
        self._run.begin(self._config, 0, [])
        self._train, self._valid = load.reader(), load.reader(training=False)
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
