"""The training loop: free of frameworks, resumable at any step, the same on every device."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, SupportsFloat

import numpy as np

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.device.processes import Processes
from msinet_core.errors import (
    DataError,
    DivergenceError,
    InterruptedRunError,
    command,
    counted,
)
from msinet_core.network.state import Batch, State, state_arrays
from msinet_core.system.progress import Progress, Task
from msinet_core.training.checkpoint_writer import CheckpointWriter
from msinet_core.training.describe import epoch_sentences
from msinet_core.training.resume import Position
from msinet_core.training.schedule import Schedule
from msinet_core.training.validation import Validation

if TYPE_CHECKING:
    from msinet_core.data.pipeline import BatchPipeline
    from msinet_core.device import Model
    from msinet_core.network.graph import Graph
    from msinet_core.system.interrupt import InterruptFlag
    from msinet_core.training.config import TrainConfig
    from msinet_core.training.run_folder import RunFolder

SAVE_INTERVAL = 600.0
"""Seconds between checkpoints within an epoch: the most work that a crash can lose."""

CHECK_INTERVAL = 5.0
"""Seconds between checks of the weights, at least."""

CHECK_SHARE = 0.01
"""The largest part of the training time that checks of the weights may take.

A device can turn weights into NaN behind finite losses: ReLU turns NaN into 0.
"""


class _Pending(NamedTuple):
    """A step whose loss the device may still be computing; it is read later."""

    loss: SupportsFloat
    batches: int
    images: int
    rate: float
    data_wait: float


@dataclass
class Trainer:
    """Train a model on one dataset and keep a run folder up to date.

    Args:
        model: The network on its device, compiled with loss and optimizer.
        graph: The network.
        config: The run's settings.
        train: Training batches.
        valid: Validation batches.
        run: The run folder.
        position: Where to continue; a new `Position` for a new run.
        step: Optimizer steps taken before.
        metadata: What checkpoints record about their origin.
        interrupt: Set when the user wants to stop.
        progress: Shows progress.
        processes: The processes that train together, each with its own trainer; all of them stop
            at the same step.
    """

    model: Model
    graph: Graph
    config: TrainConfig
    train: BatchPipeline
    valid: BatchPipeline
    run: RunFolder
    position: Position
    step: int
    metadata: Mapping[str, Any]
    interrupt: InterruptFlag
    progress: Progress
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        self._saved = self._mark = time.monotonic()
        self._next_check = self._saved + CHECK_INTERVAL
        # Losses of steps that ran as one program arrive together: only over all of these steps is
        # the time between reading losses the time that the steps took.
        self._recent: deque[tuple[int, float]] = deque(maxlen=self.model.unread_losses + 1)
        self._schedule = Schedule(self.config, self.train.image_count)
        # Of the last step: where divergence is reported, also after the end of its epoch.
        position = self.position
        self._epoch = position.epoch + 1
        self._rate = self._schedule.last_rate(position.epoch, position.history)
        self._writer = CheckpointWriter(self.progress.message)

    def fit(self) -> list[dict[str, Any]]:
        """Train until the run's number of epochs is reached, or no epoch was better for long.

        Returns:
            The run's history, one row per epoch; everything is on the disk.

        Raises:
            InterruptedRunError: The user stopped it; its state is saved.
            DivergenceError: The loss or the weights are not finite; the last checkpoint is intact.
            DataError: An image cannot be used; the state is saved.
            MsinetError: A checkpoint could not be written; the one before is intact.
        """
        with self._writer:
            try:
                return self._fit()
            except DataError:
                self._save()
                self._writer.wait()
                raise

    def _fit(self) -> list[dict[str, Any]]:
        history, config = self.position.history, self.config
        while self.position.epoch < config.epochs:
            self._train_epoch()
            self._finish_epoch(self._validate())
            if config.selection.stops(history, config.patience):
                waited = counted(config.selection.waited(history), "epoch")
                self._message(f"Stopped early: {waited} without a new best (--patience).")
                break
        return history

    def _train_epoch(self) -> None:
        """Train the rest of an epoch."""
        position, config = self.position, self.config
        reductions = self._schedule.reductions(position.history)
        title = f"epoch {position.epoch + 1}/{config.epochs}"
        next_batch = position.batch
        self._mark = time.monotonic()
        with (
            closing(self.train.batches(position.epoch, position.batch)) as batches,
            self.progress.task(title, self.train.image_count, done=position.images) as task,
        ):
            unread: deque[_Pending] = deque()
            for group, waited in self._groups(batches, unread, task):
                first = self.train.images_in(0, next_batch)
                rate = self._schedule.rate(position.epoch, first, reductions)
                loss = self.model.train_step(group, rate)
                images = self.train.images_in(next_batch, len(group))
                unread.append(_Pending(loss, len(group), images, rate, waited))
                next_batch += len(group)
                interrupted = self._interrupted()
                save = interrupted or time.monotonic() - self._saved > SAVE_INTERVAL
                start = time.monotonic()
                check = start > self._next_check
                finished = save or check or isinstance(loss, float)
                due = len(unread) if finished else self.model.due_losses(len(unread))
                for _ in range(due):
                    self._record(unread.popleft(), task)
                self._writer.check()
                if interrupted:
                    self._stop()
                elif save:
                    self._save()
                elif check:
                    self._state()  # raises if it is not finite
                    self._mark = now = time.monotonic()
                    self._next_check = now + max(CHECK_INTERVAL, (now - start) / CHECK_SHARE)
            while unread:
                self._record(unread.popleft(), task)

    def _groups(
        self, batches: Iterator[Batch], unread: deque[_Pending], task: Task
    ) -> Iterator[tuple[Sequence[Batch], float]]:
        """Yield the batches of each step, and the seconds that they were waited for."""
        while True:
            start = time.monotonic()
            try:
                group = list(islice(batches, self.config.accumulate))
            except DataError:  # record the steps that were made before
                while unread:
                    self._record(unread.popleft(), task)
                raise
            if not group:
                return
            yield group, time.monotonic() - start

    def _record(self, pending: _Pending, task: Task) -> None:
        """Wait for the loss of a step, record it and show it."""
        position = self.position
        loss = float(pending.loss)
        self.step += 1
        self._epoch, self._rate = position.epoch + 1, pending.rate
        if not math.isfinite(loss):
            raise DivergenceError(self._divergence(f"the loss is {loss}"))
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        self._recent.append((pending.images, seconds))
        position.batch += pending.batches
        position.images += pending.images
        position.loss_sum += loss * pending.images
        position.seconds += seconds
        position.data_wait += pending.data_wait
        self.run.append_step(
            {
                "epoch": position.epoch + 1,
                "step": self.step,
                "learning_rate": repr(pending.rate),
                "loss": repr(loss),
                "images_per_s": f"{self._speed():.3f}",
                "data_wait": f"{pending.data_wait:.4f}",
            }
        )
        mean = position.loss_sum / position.images
        task.advance(pending.images, step=str(self.step), loss=f"{loss:.4f}", mean=f"{mean:.4f}")

    def _speed(self) -> float:
        """Return the images per second of the latest steps."""
        images = sum(count for count, _ in self._recent)
        return images / max(sum(seconds for _, seconds in self._recent), 1e-9)

    def _validate(self) -> dict[str, float]:
        validation = Validation(self.model, self.valid, self.config, self.processes)
        with (
            closing(validation.steps()) as steps,
            self.progress.task("  validation", self.valid.image_count) as task,
        ):
            for images in steps:
                task.advance(images)
                self._writer.check()
                if self._interrupted():
                    self._stop()
        return validation.result()

    def _interrupted(self) -> bool:
        """Return whether this process or another one has been interrupted."""
        requests = self.processes.sum(np.array([self.interrupt.is_set()], np.float64))
        if requests[0]:
            self.interrupt.set()
        return self.interrupt.is_set()

    def _finish_epoch(self, scores: Mapping[str, float]) -> None:
        position, config, valid_loss = self.position, self.config, scores["valid_loss"]
        if not math.isfinite(valid_loss):
            raise DivergenceError(self._divergence(f"the validation loss is {valid_loss}"))
        row = {
            "epoch": position.epoch + 1,
            "step": self.step,
            "learning_rate": self._schedule.last_rate(position.epoch, position.history),
            "train_loss": position.loss_sum / position.images,
            "valid_loss": valid_loss,
            "images_per_s": round(position.images / max(position.seconds, 1e-9), 3),
            "seconds": round(position.seconds, 1),
            "data_wait": round(position.data_wait, 3),
            **{name: scores[name] for name in config.metrics},
        }
        position.history.append(row)
        better = self.config.selection.improves(position.history)
        position.begin_epoch()
        self._save(better, history=list(position.history))
        self.run.log_epoch(row)
        for text in epoch_sentences(config, position.history, better):
            self._message(text)

    def _message(self, text: str) -> None:
        self.progress.message(text)
        self.run.log(text)

    def _save(self, better: bool = False, history: Sequence[Mapping[str, Any]] = ()) -> None:
        """Copy the state from the device and start to write it.

        Args:
            better: Whether to write the best weights too.
            history: All epochs, if one has just ended.
        """
        self._writer.wait()  # before the copy: one in memory is enough
        state = self._state()
        if self.run.writes:
            training = {"position": asdict(self.position), "config": self.config.to_dict()}
            latest, best = self._checkpoint(state, training), None
            if better:
                best = self._checkpoint(State(weights=state.weights), training=None)
            self._writer.start(partial(self._write, latest, best, history))
        self._saved = self._mark = time.monotonic()

    def _write(
        self, latest: Checkpoint, best: Checkpoint | None, history: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write files in the order in which a kill in between loses nothing."""
        with self.run.continued():
            if best:
                # Before `latest`: a run that is killed in between repeats this epoch and file.
                self.run.check_exists()
                save_checkpoint(self.run.best, best)
            self.run.check_exists()
            save_checkpoint(self.run.latest, latest)
            if history:
                self.run.write_history(history)
        if history:
            self.run.draw_curve(history, self.config)

    def _stop(self) -> NoReturn:
        self._save()
        self._writer.wait()
        raise InterruptedRunError(self._resume_hint())

    def _state(self) -> State:
        """Return what can be saved and trained: infinite moments stop a weight for good."""
        state = self.model.state()
        for name, array in state_arrays(state).items():
            if not np.isfinite(array).all():
                raise DivergenceError(self._divergence(f"{name} is not finite"))
        return state

    def _checkpoint(self, state: State, training: Mapping[str, Any] | None) -> Checkpoint:
        position = {"epoch": self.position.epoch, "step": self.step}
        return Checkpoint(self.graph, state, training, {**self.metadata, **position})

    def _resume_hint(self) -> str:
        return (
            f"Interrupted at epoch {self.position.epoch + 1}, step {self.step}; the state is "
            f"saved. Continue with: {self.run.resume_command}"
        )

    def _divergence(self, reason: str) -> str:
        self._writer.settle()
        intact = f" {self.run.latest} is from before." if self.run.latest.exists() else ""
        remedies = f"a smaller --learning-rate (now {self._rate:g})"
        if self.metadata.get("precision") == "float32":
            remedies += " or other initial weights"
        else:
            remedies += ", --precision float32, or other initial weights"
        text = (
            f"Training diverged at epoch {self._epoch}, step {self.step}: {reason}.{intact} "
            f"Try {remedies}. To find invalid images and maps, "
            f"run: {command('data', 'check', self.config.data, data_root=self.config.root)}"
        )
        self.run.log(text)
        return text
