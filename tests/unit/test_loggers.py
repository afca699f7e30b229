"""Training losses in TensorBoard and Weights & Biases."""

from __future__ import annotations

import csv
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from msinet_core.checkpoint.wire.crc32c import masked_crc32c
from msinet_core.checkpoint.wire.protobuf import fields
from msinet_core.errors import UsageError
from msinet_core.hardware.nvidia import GpuReading
from msinet_core.system.progress import Progress
from msinet_core.training import system_log
from msinet_core.training.loggers import EventFiles, check_loggers, open_loggers

STEP = {"epoch": 1, "step": 7, "loss": "0.625", "images_per_s": "12.500", "data_wait": "0.2500"}
EPOCH = {"epoch": 1, "step": 7, "train_loss": 0.5, "valid_loss": 0.75}


class Messages(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def events(folder: Path) -> list[dict[int, Any]]:
    """Read the event files of a folder in the order of their names, and check their checksums."""
    found = []
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        start = 0
        while start < len(data):
            head = data[start : start + 8]
            (length,) = struct.unpack("<Q", head)
            event = data[start + 12 : start + 12 + length]
            ends = data[start + 8 : start + 12], data[start + 12 + length : start + 16 + length]
            for part, end in zip((head, event), ends, strict=True):
                assert struct.unpack("<I", end) == (masked_crc32c(part),)
            found.append(dict(fields(event)))
            start += 16 + length
    return found


def scalars(event: dict[int, Any]) -> dict[str, float]:
    values = [dict(fields(value)) for _, value in fields(event[5])]
    return {
        value[1].decode(): struct.unpack("<f", struct.pack("<I", value[2]))[0] for value in values
    }


def test_event_files_hold_the_steps_and_the_epochs(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with open_loggers(("csv", "tensorboard"), tmp_path, {}, 0, Progress()) as (logger,):
        logger.step(STEP)
        logger.epoch(EPOCH)
    written = [event for event in events(tmp_path / "tensorboard") if 5 in event]
    assert {event[2] for event in written} == {7}
    assert {name: value for event in written for name, value in scalars(event).items()} == {
        "train/loss": 0.625,
        "train/images_per_s": 12.5,
        "train/data_wait": 0.25,
        "epoch/train_loss": 0.5,
        "epoch/valid_loss": 0.75,
    }


def test_a_resumed_run_makes_tensorboard_drop_repeated_steps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    EventFiles(tmp_path, 0).close()
    assert not any(7 in event for event in events(tmp_path))
    EventFiles(tmp_path, 4).close()
    [restarted] = [event for event in events(tmp_path) if 7 in event]
    assert restarted[2] == 5
    assert dict(fields(restarted[7])) == {1: 1}


class FakeWandb:
    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, float], int]] = []
        self.finished = 0

    def init(self, **options: Any) -> SimpleNamespace:
        self.started.append(options)
        return SimpleNamespace(
            log=lambda values, step: self.logged.append((values, step)), finish=self._finish
        )

    def _finish(self) -> None:
        self.finished += 1


def test_wandb_receives_everything_under_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    check_loggers(("csv", "wandb"))
    for _ in range(2):
        with open_loggers(("csv", "wandb"), tmp_path, {"epochs": 3}, 0, Progress()) as (logger,):
            logger.step(STEP)
            logger.epoch(EPOCH)
    assert wandb.logged[:2] == [
        ({"train/loss": 0.625, "train/images_per_s": 12.5, "train/data_wait": 0.25}, 7),
        ({"epoch/train_loss": 0.5, "epoch/valid_loss": 0.75}, 7),
    ]
    first, second = wandb.started
    assert first == second
    assert first["id"]
    assert (first["project"], first["resume"], first["config"]) == (
        "msinet",
        "allow",
        {"epochs": 3},
    )
    assert wandb.finished == 2


@pytest.mark.parametrize(
    ("logger", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")]
)
def test_a_missing_package_is_reported_before_training(
    monkeypatch: pytest.MonkeyPatch, logger: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"pip install {package}"):
        check_loggers(("csv", logger))
    check_loggers(("csv",))


class Refusing:
    """A writer of event files on a full disk."""

    def add_scalar(self, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def use_writer(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    module = SimpleNamespace(SummaryWriter=make)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)  # type: ignore[arg-type]


def test_a_failing_logger_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, shown = Refusing(), Messages()
    use_writer(monkeypatch, lambda *arguments, **options: writer)
    with open_loggers(("tensorboard",), tmp_path, {}, 0, shown) as (logger,):
        logger.step(STEP)
        logger.step(STEP)
        assert writer.closed == 1, "it may hold threads and files"
        logger.epoch(EPOCH)
    assert writer.closed == 1
    (message,) = shown.texts
    assert "tensorboard" in message
    assert "No space left on device" in message


def test_a_logger_that_does_not_open_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise FileExistsError(17, "File exists")

    use_writer(monkeypatch, fail)
    shown = Messages()
    with open_loggers(("tensorboard",), tmp_path, {}, 0, shown) as (logger,):
        logger.step(STEP)
    (message,) = shown.texts
    assert "File exists" in message


GPU = GpuReading(busy=0.5, memory_used=3 * 2**20, joules=None)


@pytest.mark.parametrize(("gpus", "shown"), [((), ["", ""]), ((GPU, GPU), ["50.0", "6.0"])])
def test_the_system_log_has_a_row_per_epoch_and_drops_repeated_ones(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpus: tuple[GpuReading, ...],
    shown: list[str],
) -> None:
    monkeypatch.setattr(system_log, "read_gpus", lambda: gpus)
    monkeypatch.setattr(system_log, "INTERVAL", 0.01)
    for step in (0, 7):
        if step:  # a kill cut the last row short
            with (tmp_path / "system.csv").open("a", encoding="utf-8") as stream:
                stream.write("1,7,2")
        with open_loggers(("csv", "system"), tmp_path, {}, step, Progress()) as (logger,):
            logger.step(STEP)
            for last in (7, 14)[bool(step) :]:
                logger.epoch({**EPOCH, "step": last})
    assert b"\r" not in (tmp_path / "system.csv").read_bytes()
    with (tmp_path / "system.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["7", "14"]
    for row in rows:
        assert float(row["process_mib"]) > 1
        assert 0 <= float(row["cpu_percent"]) <= 100
        assert [row["gpu_percent"], row["gpu_mib"]] == shown
