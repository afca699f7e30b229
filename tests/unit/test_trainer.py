"""The trainer on a device that runs several steps as one program, simulated by the reference."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core.checkpoint import load_checkpoint
from msinet_core.data.pipeline import BatchPipeline
from msinet_core.device import Deferred
from msinet_core.errors import DataError, DivergenceError, InterruptedRunError
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceModel
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.training import trainer, validation
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.start import start_training

GROUP = 2
STEPS = 5
"""The training images of the tiny dataset: an epoch is two groups and a remainder."""


class Queue:
    """Delay the reference's steps until a group is complete, or a loss is read.

    Attributes:
        groups: The numbers of steps that ran together.
        waiting: The steps that have not run.
        losses: The losses of the steps that ran, in order.
        read: The indices of the losses that were read, in the order of reading.
        requested: The number of requested steps.
        most_unread: The largest number of requested losses that were not read.
        on_step: Called with the number of each step when it is requested.
    """

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.waiting: list[Callable[[], float]] = []
        self.losses: list[float] = []
        self.read: list[int] = []
        self.requested = self.most_unread = 0
        self.on_step: Callable[[int], None] = lambda number: None

    def request(self, step: Callable[[], float]) -> Lazy:
        self.requested += 1
        self.on_step(self.requested)
        self.waiting.append(step)
        self.most_unread = max(self.most_unread, self.requested - len(self.read))
        if len(self.waiting) == GROUP:
            self.run()
        return Lazy(self, self.requested - 1)

    def run(self) -> None:
        if self.waiting:
            self.groups.append(len(self.waiting))
        self.losses += [step() for step in self.waiting]
        self.waiting = []


class Lazy:
    """A loss that runs the waiting steps when it is read."""

    def __init__(self, queue: Queue, index: int) -> None:
        self._queue = queue
        self._index = index

    def __float__(self) -> float:
        if self._index >= len(self._queue.losses):
            self._queue.run()
        self._queue.read.append(self._index)
        return self._queue.losses[self._index]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Make every reference model delay its steps."""
    queue = Queue()
    update, losses, state = ReferenceModel.update, ReferenceModel.losses, ReferenceModel.state

    def delay(self: ReferenceModel, batches: Sequence[Batch], learning_rate: float) -> Any:
        return queue.request(lambda: update(self, batches, learning_rate))

    def evaluate(self: ReferenceModel, batch: Batch) -> Any:
        assert not queue.waiting and len(queue.read) == queue.requested
        return losses(self, batch)

    def copy(self: ReferenceModel) -> State:
        assert not queue.waiting and len(queue.read) == queue.requested
        return state(self)

    monkeypatch.setattr(ReferenceModel, "unread_losses", 2 * GROUP - 1)
    for name, reindexment in (("update", delay), ("losses", evaluate), ("state", copy)):
        monkeypatch.setattr(ReferenceModel, name, reindexment)
    return queue


def run_training(
    data: Path,
    folder: Path,
    interrupt: InterruptFlag | None = None,
    resume: bool = False,
    **changes: Any,
) -> list[str]:
    """Train for two epochs of five steps and return the loss of each step as it was written."""
    config = TrainConfig(
        data=str(data),
        device="reference",
        width=0.04,
        init="random",
        image_size=(32, 40),
        learning_rate=1e-3,
        epochs=2,
        **changes,
    )
    start_training(config, RunFolder(folder), SPEC, resume=resume, interrupt=interrupt)
    return losses(folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "steps.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def losses(folder: Path) -> list[str]:
    steps = rows(folder)
    assert [int(row["step"]) for row in steps] == list(range(1, len(steps) + 1))
    return [row["loss"] for row in steps]


@pytest.fixture(scope="module")
def cached() -> list[str]:
    return []


@pytest.fixture
def plain(cached: list[str], tmp_path: Path, tiny_data: Path) -> list[str]:
    """The losses of a run whose steps are not delayed, the same in every test.

    Request this fixture before `queue`.
    """
    if not cached:
        cached += run_training(tiny_data, tmp_path / "plain")
    return cached


def test_losses_are_written_in_order_and_are_those_of_single_steps(
    plain: list[str], queue: Queue, tmp_path: Path, tiny_data: Path
) -> None:
    assert run_training(tiny_data, tmp_path / "grouped") == plain
    assert queue.read == list(range(2 * STEPS))
    assert queue.groups == [2, 2, 1] * 2  # nothing is unread at evaluation and saving


def test_a_group_is_running_while_the_one_before_is_read(
    queue: Queue, tmp_path: Path, tiny_data: Path
) -> None:
    run_training(tiny_data, tmp_path / "grouped")
    assert queue.most_unread == 2 * GROUP


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulated_steps_count_all_their_images(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_data: Path, accumulate: int
) -> None:
    expected = run_training(tiny_data, tmp_path / "plain", accumulate=accumulate)
    request.getfixturevalue("queue")
    assert run_training(tiny_data, tmp_path / "grouped", accumulate=accumulate) == expected
    histories = [
        load_checkpoint(tmp_path / name / "checkpoints" / "latest.msinet.h5").training
        for name in ("plain", "grouped")
    ]
    means = [[row["train_loss"] for row in item["position"]["history"]] for item in histories]
    assert means[0] == means[1]


@pytest.mark.parametrize("after", [1, 4, 6])
def test_an_interrupted_run_reads_and_saves_everything_and_continues_exactly(
    plain: list[str], queue: Queue, tmp_path: Path, tiny_data: Path, after: int
) -> None:
    flag = InterruptFlag()
    queue.on_step = lambda number: flag.set() if number == after else None
    folder = tmp_path / "parts"
    with pytest.raises(InterruptedRunError, match=f"step {after}"):
        run_training(tiny_data, folder, interrupt=flag)
    assert losses(folder) == plain[:after]
    saved = load_checkpoint(folder / "checkpoints" / "latest.msinet.h5")
    assert saved.state.optimizer is not None
    assert saved.state.optimizer.step == after
    assert run_training(tiny_data, folder, resume=True) == plain


def test_an_image_that_cannot_be_read_loses_no_step(
    plain: list[str], queue: Queue, tmp_path: Path, tiny_data: Path
) -> None:
    image = sorted((tiny_data / "stimuli" / "train").iterdir())[3]
    whole, folder = image.read_bytes(), tmp_path / "parts"

    def cut(number: int) -> None:
        if number == STEPS:  # the last step of an epoch; the next one reads everything again
            image.write_bytes(whole[: len(whole) // 2])

    queue.on_step = cut
    with pytest.raises(DataError, match=image.name):
        run_training(tiny_data, folder)
    done = losses(folder)
    assert STEPS <= len(done) < 2 * STEPS and done == plain[: len(done)]
    saved = load_checkpoint(folder / "checkpoints" / "latest.msinet.h5")
    assert saved.state.optimizer is not None
    assert saved.state.optimizer.step == len(done)
    image.write_bytes(whole)
    assert run_training(tiny_data, folder, resume=True) == plain


def test_the_speed_of_grouped_steps_is_their_mean(
    queue: Queue, tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock advances a second per step, and four steps run before a loss is read."""
    monkeypatch.setattr(trainer.time, "monotonic", lambda: float(len(queue.losses)))
    run_training(tiny_data, tmp_path / "timed")
    speeds = [float(row["images_per_s"]) for row in rows(tmp_path / "timed")]
    assert speeds[:4] == [1 / 4, 2 / 4, 3 / 4, 4 / 4]
    assert all(1 / 4 <= speed <= 2 * GROUP for speed in speeds)


def test_validation_holds_few_results_at_a_time(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    alive = 0

    def evaluate(self: ReferenceModel, batch: Batch) -> Any:
        nonlocal alive
        alive += 1
        held.append(alive)

        def read() -> Any:
            nonlocal alive
            alive -= 1
            return np.full(len(batch.images), 0.25)

        return Deferred(read, batch.images.shape[:1])

    monkeypatch.setattr(ReferenceModel, "losses", evaluate)
    monkeypatch.setattr(validation, "LAG", 1)
    run_training(tiny_data, tmp_path / "r")
    history = load_checkpoint(tmp_path / "r" / "checkpoints" / "latest.msinet.h5").training
    assert [row["valid_loss"] for row in history["position"]["history"]] == [0.25, 0.25]
    assert max(held) == 2 and alive == 0


@pytest.mark.parametrize(("reading", "stepping", "says"), [(2.0, 1.0, True), (0.1, 1.0, False)])
def test_the_time_spent_waiting_for_images_is_recorded_and_a_large_share_is_reported_once(
    tmp_path: Path,
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    reading: float,
    stepping: float,
    says: bool,
) -> None:
    now = [0.0]
    train_step, batches = ReferenceModel.train_step, BatchPipeline.batches

    def step(self: ReferenceModel, *arguments: Any) -> object:
        now[0] += stepping
        return train_step(self, *arguments)

    def read(self: BatchPipeline, *arguments: int) -> Iterator[Batch]:
        for batch in batches(self, *arguments):
            now[0] += reading
            yield batch

    monkeypatch.setattr(ReferenceModel, "train_step", step)
    monkeypatch.setattr(BatchPipeline, "batches", read)
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    run_training(tiny_data, tmp_path / "r")
    assert {float(row["data_wait"]) for row in rows(tmp_path / "r")} == {reading}
    with (tmp_path / "r" / "history.csv").open(encoding="utf-8") as stream:
        for epoch in csv.DictReader(stream):
            assert float(epoch["data_wait"]) == pytest.approx(STEPS * reading)
            assert float(epoch["seconds"]) == pytest.approx(STEPS * (reading + stepping), abs=0.1)
    log = (tmp_path / "r" / "log.txt").read_text(encoding="utf-8")
    assert log.count("--workers") == says


def test_every_loss_is_read_before_a_checkpoint_is_written(
    plain: list[str],
    queue: Queue,
    tmp_path: Path,
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "SAVE_INTERVAL", -1.0)
    assert run_training(tiny_data, tmp_path / "saving") == plain
    assert queue.groups == [1] * (2 * STEPS)


def test_weights_that_are_not_finite_are_noticed_within_the_epoch(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ReferenceModel.state
    broken = "decoder/conv4/kernel"

    def corrupt(self: ReferenceModel) -> State:
        found = state(self)
        assert found.optimizer is not None
        if found.optimizer.step >= 3:
            found.weights[broken] = np.full_like(found.weights[broken], np.nan)
        return found

    monkeypatch.setattr(ReferenceModel, "state", corrupt)
    monkeypatch.setattr(trainer, "CHECK_INTERVAL", -1.0)
    monkeypatch.setattr(trainer, "CHECK_SHARE", float("inf"))
    with pytest.raises(DivergenceError, match=broken):
        run_training(tiny_data, tmp_path / "r")
    assert len(losses(tmp_path / "r")) == 3


def test_weights_that_the_last_step_broke_belong_to_its_epoch(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ReferenceModel.state

    def corrupt(self: ReferenceModel) -> State:
        found = state(self)
        name = "decoder/conv4/kernel"
        return State({**found.weights, name: np.full_like(found.weights[name], np.nan)})

    monkeypatch.setattr(ReferenceModel, "state", corrupt)
    with pytest.raises(DivergenceError, match=f"epoch 1, step {STEPS}:") as error:
        run_training(tiny_data, tmp_path / "r", warmup=STEPS * 2)
    assert "now 0.0005)" in str(error.value)  # half of the warm-up
    assert "--precision" not in str(error.value)


def test_checks_of_the_weights_take_a_hundredth_of_the_time(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second and a check 0.02; checks are two seconds apart at least."""
    now, checked = [0.0], [0]
    train_step, state = ReferenceModel.train_step, ReferenceModel.state

    def step(self: ReferenceModel, *arguments: Any) -> object:
        now[0] += 1
        return train_step(self, *arguments)

    def check(self: ReferenceModel) -> State:
        checked[0] += 1
        now[0] += 0.02
        return state(self)

    monkeypatch.setattr(ReferenceModel, "train_step", step)
    monkeypatch.setattr(ReferenceModel, "state", check)
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(trainer, "CHECK_INTERVAL", 0.0)
    run_training(tiny_data, tmp_path / "r")
    assert checked[0] == 2 + 5  # a save per epoch, and a check after every other of ten steps


def test_divergence_is_reported_for_the_step_in_which_it_occurred(
    queue: Queue, tmp_path: Path, tiny_data: Path
) -> None:
    def break_the_second(number: int) -> None:
        if number == 4:  # the second step has run and is not read yet
            queue.losses[1] = float("nan")

    queue.on_step = break_the_second
    with pytest.raises(DivergenceError, match="epoch 1, step 2"):
        run_training(tiny_data, tmp_path / "diverging")
    assert len(losses(tmp_path / "diverging")) == 1
    assert not (tmp_path / "diverging" / "checkpoints" / "latest.msinet.h5").exists()
