"""Checkpoints are written in the background: in order, awaited, and with errors that surface."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from msinet_core.errors import DivergenceError, InterruptedRunError, MsinetError
from msinet_core.network.state import OptimizerState
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceModel
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.training import trainer
from msinet_core.training.checkpoint_writer import CheckpointWriter
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.start import start_training

PATIENCE = 30.0
"""Seconds until a test gives up waiting for another thread."""


def fail() -> None:
    raise MsinetError("disk full")


def test_writes_run_one_at_a_time_and_in_order() -> None:
    events: list[str] = []
    released = threading.Event()

    def slow() -> None:
        events.append("first begins")
        assert released.wait(PATIENCE)
        events.append("first ends")

    with CheckpointWriter(print) as writer:
        writer.start(slow)
        writer.check()  # does not wait
        events.append("training")
        released.set()
        writer.start(lambda: events.append("second"))
    assert events.index("training") < events.index("first ends") < events.index("second")


@pytest.mark.parametrize(
    "call",
    [
        lambda writer: writer.wait(),
        lambda writer: writer.start(lambda: None),
        lambda writer: (writer.settle(), writer.check()),
        lambda writer: None,  # the end of the context
    ],
)
def test_a_failed_write_is_raised_once(call: Callable[[CheckpointWriter], object]) -> None:
    reports: list[str] = []
    with pytest.raises(MsinetError, match="disk full"), CheckpointWriter(reports.append) as writer:
        writer.start(fail)
        call(writer)
    assert reports == []


def test_another_exception_waits_for_the_write_and_hides_no_failure() -> None:
    reports: list[str] = []
    with pytest.raises(KeyboardInterrupt), CheckpointWriter(reports.append) as writer:
        writer.start(fail)
        raise KeyboardInterrupt
    assert reports == ["disk full"]


class Disk:
    """Holds back, or breaks, the writes of checkpoints.

    Attributes:
        released: Writes wait until it is set.
        breaks_at: The step whose checkpoint fails, and those of later ones.
        written: The name and the optimizer's state of each file, in order.
    """

    def __init__(self) -> None:
        self.released = threading.Event()
        self.released.set()
        self.breaks_at = 1_000_000
        self.written: list[tuple[str, OptimizerState | None]] = []

    def save(self, path: Path, checkpoint: Checkpoint) -> None:
        assert self.released.wait(PATIENCE)
        if checkpoint.metadata["step"] >= self.breaks_at:
            fail()
        save_checkpoint(path, checkpoint)
        self.written.append((path.name, load_checkpoint(path).state.optimizer))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(trainer, "save_checkpoint", disk.save)
    return disk


def on_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call a function with the number of each step, after it."""
    update, count = ReferenceModel.update, [0]

    def step(self: ReferenceModel, *arguments: Any) -> Any:
        result = update(self, *arguments)
        count[0] += 1
        act(count[0])
        return result

    monkeypatch.setattr(ReferenceModel, "update", step)


def run_training(data: Path, folder: Path, **arguments: Any) -> None:
    """Train for two epochs of five steps."""
    config = TrainConfig(
        data=str(data),
        device="reference",
        width=0.04,
        init="random",
        image_size=(32, 40),
        learning_rate=1e-3,
        epochs=2,
    )
    start_training(config, RunFolder(folder), SPEC, **arguments)


def saved_step(folder: Path) -> int:
    state = load_checkpoint(RunFolder(folder).latest).state
    assert state.optimizer is not None
    return state.optimizer.step


def test_steps_go_on_during_a_write_and_do_not_change_what_is_written(
    tmp_path: Path, tiny_data: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(tiny_data, tmp_path / "plain")
    plain, disk.written = disk.written, []
    run = RunFolder(tmp_path / "r")

    def act(number: int) -> None:
        if number == 5:
            disk.released.clear()
        if number == 8:  # in the second epoch; nothing of the first is on the disk
            assert not run.best.exists() and not run.latest.exists()
            assert run.epochs_finished() == 0
            disk.released.set()

    on_step(monkeypatch, act)
    run_training(tiny_data, run.path)
    assert [name for name, _ in disk.written[:2]] == [run.best.name, run.latest.name]
    assert run.epochs_finished() == 2 and run.curve.exists()
    for (name, one), (other_name, other) in zip(plain, disk.written, strict=True):
        assert name == other_name
        if one and other:
            assert one.step == other.step
            for parameter, m in one.m.items():
                np.testing.assert_array_equal(m, other.m[parameter])


def test_a_failed_write_ends_the_run_and_the_file_before_is_intact(
    tmp_path: Path, tiny_data: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SAVE_INTERVAL", -1.0)  # a write after each step
    disk.breaks_at = 7
    with pytest.raises(MsinetError, match="disk full"):
        run_training(tiny_data, tmp_path / "r")
    assert saved_step(tmp_path / "r") == 6
    assert RunFolder(tmp_path / "r").epochs_finished() == 1


@pytest.mark.parametrize("broken", [False, True])
def test_an_interrupted_run_says_that_it_is_saved_when_it_is(
    tmp_path: Path, tiny_data: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    flag = InterruptFlag()
    if broken:
        disk.breaks_at = 7

    def act(number: int) -> None:
        if number == 5:
            disk.released.clear()
        elif number == 7:  # while the checkpoint of the first epoch is being written
            flag.set()
            threading.Timer(0.05, disk.released.set).start()

    on_step(monkeypatch, act)
    with pytest.raises(MsinetError) as raised:
        run_training(tiny_data, tmp_path / "r", interrupt=flag)
    assert isinstance(raised.value, InterruptedRunError) != broken
    assert saved_step(tmp_path / "r") == (5 if broken else 7)


def test_divergence_waits_for_the_write_and_names_its_file(
    tmp_path: Path, tiny_data: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, count = ReferenceModel.update, [0]

    def diverge(self: ReferenceModel, *arguments: Any) -> Any:
        count[0] += 1
        if count[0] == 5:
            disk.released.clear()
        if count[0] < 6:
            return update(self, *arguments)
        threading.Timer(0.05, disk.released.set).start()
        return float("nan")

    monkeypatch.setattr(ReferenceModel, "update", diverge)
    latest = RunFolder(tmp_path / "r").latest
    with pytest.raises(DivergenceError, match=str(latest)):
        run_training(tiny_data, tmp_path / "r")
    assert saved_step(tmp_path / "r") == 5
