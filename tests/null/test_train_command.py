"""Whole training runs on the reference device."""

from __future__ import annotations

import csv
import errno
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import msinet_core as msinet
from msinet_core import train
from msinet_core.checkpoint import load_checkpoint
from msinet_core.device import Model
from msinet_core.errors import DivergenceError, InterruptedRunError, MsinetError, UsageError
from msinet_core.network.state import State
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceModel
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config, write_config
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.start import start_training

if TYPE_CHECKING:
    from tests.conftest import Run

SMALL = (
    *("--device", "reference", "--width", "0.04", "--init", "random"),
    *("--image-size", "32x40", "--learning-rate", "1e-3"),
)


def config(data: Path, **changes: object) -> TrainConfig:
    settings: dict[str, object] = {
        "data": str(data),
        "device": "reference",
        "width": 0.04,
        "init": "random",
        "image_size": (32, 40),
        "learning_rate": 1e-3,
        "epochs": 2,
    }
    return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]


def run_training(data: Path, folder: Path, resume: bool = False, **changes: object) -> list[float]:
    """Train and return the loss of each step."""
    start_training(config(data, **changes), RunFolder(folder), SPEC, resume=resume)
    return losses(folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(folder / "steps.csv")]


def stop_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt training in its step of that number, as Ctrl-C would."""
    train_step = ReferenceModel.train_step
    steps: list[int] = []

    def interrupt(self: Model, *arguments: object) -> object:
        steps.append(1)
        if len(steps) == count:
            signal.raise_signal(signal.SIGINT)
        return train_step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceModel, "train_step", interrupt)


def test_a_dry_run_describes_the_run_and_writes_nothing(run: Run, tiny_data: Path) -> None:
    result = run(
        "train", *SMALL, "--data", tiny_data, "--run", "r", "--batch-size", "2", "--dry-run"
    )
    assert result.exit_code == 0, result.output
    assert "largest batch" in result.stderr
    assert "0.00 GiB" not in result.stderr and " 0 MiB" not in result.stderr
    assert "Steps: 3" in result.stderr
    assert not Path("r").exists()
    planned = msinet.train(tiny_data, device="reference", width=0.04, init="random", dry_run=True)
    assert any("largest batch" in line for line in planned.plan)
    result = run("train", *SMALL, "--data", "nowhere", "--dry-run")
    assert result.exit_code == 2


def test_a_run_writes_its_whole_folder(run: Run, tiny_data: Path) -> None:
    result = run("train", "--data", tiny_data, "--run", "r", "--epochs", "3", *SMALL)
    assert result.exit_code == 0, result.output
    folder = Path("r")
    history = rows(folder / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert float(history[-1]["valid_loss"]) < float(history[0]["valid_loss"])
    assert [int(row["step"]) for row in rows(folder / "steps.csv")] == list(range(1, 16))
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "Epoch 3/3" in (folder / "log.txt").read_text()
    settings = read_config(folder / "config.toml")
    assert settings.learning_rate == 1e-3
    assert settings.image_size == (32, 40)
    latest = load_checkpoint(folder / "checkpoints" / "latest.msinet.h5")
    best = load_checkpoint(folder / "checkpoints" / "best.msinet.h5")
    assert latest.state.optimizer is not None
    assert latest.state.optimizer.step == 15
    assert best.state.optimizer is None
    assert best.metadata["device"] == "reference"
    assert "best.msinet.h5" in result.output


def test_the_training_loss_of_an_epoch_is_the_mean_of_its_steps(
    tmp_path: Path, tiny_data: Path
) -> None:
    steps = run_training(tiny_data, tmp_path / "r", epochs=1)
    history = rows(tmp_path / "r" / "history.csv")
    assert float(history[0]["train_loss"]) == pytest.approx(np.mean(steps), rel=1e-12)


def test_two_runs_with_one_seed_are_the_same_run(tmp_path: Path, tiny_data: Path) -> None:
    assert run_training(tiny_data, tmp_path / "a") == run_training(tiny_data, tmp_path / "b")
    assert run_training(tiny_data, tmp_path / "c", seed=7) != losses(tmp_path / "a")


def test_resuming_after_an_epoch_continues_exactly(run: Run, tiny_data: Path) -> None:
    arguments = ("train", "--data", tiny_data, *SMALL)
    assert run(*arguments, "--run", "whole", "--epochs", "3").exit_code == 0
    assert run(*arguments, "--run", "parts", "--epochs", "1").exit_code == 0
    result = run("train", "--resume", "--run", "parts", "--epochs", "3")
    assert result.exit_code == 0, result.output
    assert losses(Path("parts")) == losses(Path("whole"))
    assert [row["valid_loss"] for row in rows(Path("parts/history.csv"))] == [
        row["valid_loss"] for row in rows(Path("whole/history.csv"))
    ]
    one, other = (
        load_checkpoint(Path(name) / "checkpoints" / "latest.msinet.h5").state
        for name in ("whole", "parts")
    )
    for name, weight in one.weights.items():
        np.testing.assert_array_equal(weight, other.weights[name])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_an_interrupted_run_is_saved_and_continues_exactly(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, after: int, accumulate: int
) -> None:
    whole = run_training(tiny_data, tmp_path / "whole", accumulate=accumulate)
    stop_after(after, monkeypatch)
    with pytest.raises(InterruptedRunError, match=f"step {after}"):
        run_training(tiny_data, tmp_path / "parts", accumulate=accumulate)
    monkeypatch.undo()
    assert losses(tmp_path / "parts") == whole[:after]
    assert run_training(tiny_data, tmp_path / "parts", resume=True, accumulate=accumulate) == whole
    assert (
        rows(tmp_path / "parts" / "history.csv")[0]["train_loss"]
        == (rows(tmp_path / "whole" / "history.csv")[0]["train_loss"])
    )


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 2), (2, 1)])
def test_a_run_continues_with_another_batch_size_and_equal_steps(
    tmp_path: Path,
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    batch_size: int,
    accumulate: int,
) -> None:
    whole = run_training(tiny_data, tmp_path / "whole", batch_size=2, accumulate=1)
    first = {"batch_size": accumulate, "accumulate": batch_size}
    stop_after(after, monkeypatch)
    with pytest.raises(InterruptedRunError):
        run_training(tiny_data, tmp_path / "parts", **first)
    monkeypatch.undo()
    train(run=tmp_path / "parts", resume=True, batch_size=batch_size, accumulate=accumulate)
    np.testing.assert_allclose(losses(tmp_path / "parts"), whole, rtol=1e-5)
    with pytest.raises(UsageError):
        train(run=tmp_path / "parts", resume=True, batch_size=4)


def test_a_run_folder_that_disappears_is_an_error_that_names_it(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = ReferenceModel.train_step

    def remove(self: Model, *arguments: object) -> object:
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        return train_step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceModel, "train_step", remove)
    with pytest.raises(MsinetError, match=str(tmp_path / "r")):
        run_training(tiny_data, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_ctrl_c_saves_the_state_and_exits_130(tmp_path: Path, tiny_data: Path) -> None:
    command = [sys.executable, "-m", "msinet_core", "train", "--data", str(tiny_data)]
    command += ["--run", "r", "--epochs", "10000", *SMALL]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    steps = tmp_path / "r" / "steps.csv"
    deadline = time.monotonic() + 60
    while (not steps.exists() or len(rows(steps)) < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    saved = load_checkpoint(tmp_path / "r" / "checkpoints" / "latest.msinet.h5")
    assert saved.state.optimizer is not None
    assert saved.state.optimizer.step == len(losses(tmp_path / "r"))


def test_steps_after_the_last_checkpoint_are_repeated_and_listed_once(
    tmp_path: Path, tiny_data: Path
) -> None:
    whole = run_training(tiny_data, tmp_path / "whole", epochs=2)
    run_training(tiny_data, tmp_path / "killed", epochs=1)
    with (tmp_path / "killed" / "steps.csv").open("a") as stream:
        stream.write("2,6,0.5,1.0\n2,7,0.")  # as after a kill between checkpoints
    assert run_training(tiny_data, tmp_path / "killed", resume=True, epochs=2) == whole


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    tmp_path: Path, tiny_data: Path
) -> None:
    whole = run_training(tiny_data, tmp_path / "whole")
    folder = RunFolder(tmp_path / "killed")
    write_config(config(tiny_data), folder.config)
    assert run_training(tiny_data, folder.path, resume=True) == whole


def test_accumulated_batches_equal_one_larger_batch(tmp_path: Path, tiny_data: Path) -> None:
    joint = run_training(tiny_data, tmp_path / "joint", batch_size=2)
    apart = run_training(tiny_data, tmp_path / "apart", accumulate=2)
    np.testing.assert_allclose(apart, joint, rtol=1e-5)


def test_divergence_is_an_error_that_leaves_the_last_checkpoint(
    tmp_path: Path, tiny_data: Path
) -> None:
    run_training(tiny_data, tmp_path / "r", epochs=1)
    latest = tmp_path / "r" / "checkpoints" / "latest.msinet.h5"
    before = latest.read_bytes()
    weights = tmp_path / "r" / "checkpoints" / "best.msinet.h5"
    with pytest.raises(DivergenceError, match=r"1e\+30"):
        run_training(tiny_data, tmp_path / "s", init=str(weights), width=None, learning_rate=1e30)
    assert not (tmp_path / "s" / "checkpoints" / "latest.msinet.h5").exists()
    assert latest.read_bytes() == before


def test_limits_and_order(tmp_path: Path, tiny_data: Path) -> None:
    steps = run_training(tiny_data, tmp_path / "r", limit_train=2, limit_valid=1, epochs=1)
    assert len(steps) == 2
    saved = load_checkpoint(tmp_path / "r" / "checkpoints" / "latest.msinet.h5")
    assert saved.metadata["images"]["train"] == 2
    assert saved.metadata["images"]["valid"] == 1
    in_order = run_training(tiny_data, tmp_path / "o", shuffle=False, epochs=2, learning_rate=1e-12)
    np.testing.assert_allclose(in_order[:5], in_order[5:], rtol=1e-5)
    shuffled = run_training(tiny_data, tmp_path / "s", epochs=2, learning_rate=1e-12)
    assert np.abs(np.subtract(shuffled[:5], shuffled[5:])).max() > 1e-4
    np.testing.assert_allclose(sorted(shuffled[:5]), sorted(shuffled[5:]), rtol=1e-5)


def test_a_run_starts_from_another_runs_weights_and_network(
    tmp_path: Path, tiny_data: Path
) -> None:
    first = train(
        tiny_data,
        device="reference",
        run=tmp_path / "a",
        epochs=1,
        width=0.04,
        init="random",
        image_size=(32, 40),
    )
    assert first.path == tmp_path / "a"
    assert [row["epoch"] for row in first.history] == [1]
    second = train(
        str(tiny_data), device="reference", run=tmp_path / "b", epochs=1, init=first.best
    )
    assert load_checkpoint(second.best).graph == load_checkpoint(first.best).graph
    assert read_config(tmp_path / "b" / "config.toml").image_size == (32, 40)


def test_a_run_is_resumed_from_python(tmp_path: Path, tiny_data: Path) -> None:
    run_training(tiny_data, tmp_path / "r", epochs=1)
    resumed = train(run=str(tmp_path / "r"), resume=True, epochs=2)
    assert resumed.device == "reference"
    assert len(resumed.history) == 2
    assert load_checkpoint(resumed.latest).metadata["epoch"] == 2


@pytest.mark.parametrize("invalid", [{"epochs": 0}, {"width": "wide"}, {"log": "tensorbord"}])
def test_invalid_settings_from_python_are_wrong_usage(
    tiny_data: Path, invalid: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=next(iter(invalid))):
        train(tiny_data, device="reference", **invalid)


INVALID = {
    "no data": (("train",), "--data"),
    "no such data": (("train", "--data", "nowhere"), "nowhere"),
    "size": (("train", "--data", "tiny", "--image-size", "250x320"), "250x320"),
    "no size": (("train", "--data", "tiny", "--image-size", "big"), "240x320"),
    "0x0": (("train", "--data", "tiny", "--image-size", "0x0"), "'0x0'"),
    "epochs": (("train", "--data", "tiny", "--epochs", "0"), "--epochs"),
    "rate": (("train", "--data", "tiny", "--learning-rate", "-1"), "--learning-rate"),
    "nan": (("train", "--data", "tiny", "--learning-rate", "nan"), "nan"),
    "batch": (("train", "--data", "tiny", "--batch-size", "-1"), "--batch-size"),
    "width": (("train", "--data", "tiny", "--width", "0"), "--width"),
    "log": (("train", "--data", "tiny", "--log", "tensorbord"), "'tensorboard'"),
    "vgg": (("train", "--data", "tiny", "--init", "vgg"), "'vgg16'"),
    "command": (("trian",), "'train'"),
    "device": (("train", "--data", "tiny", "--device", "referenc"), "'reference'"),
    "precision": (("train", "--data", "tiny", "--precision", "float16"), "--precision float32"),
    "init": (("train", "--data", "tiny", "--init", "no.h5", "--image-size", "32x40"), "no.h5"),
    "no folder": (("train", "--data", "tiny", "--dry-run", "--run", ""), "empty"),
    "no folder to resume": (("train", "--resume", "--run", ""), "empty"),
    "plateau": (("train", "--data", "tiny", "--plateau-factor", "2"), "below 1"),
    "no reduction": (("train", "--data", "tiny", "--plateau-factor", "1"), "below 1"),
    "nothing to resume": (("train", "--resume"), "--run"),
    "not a run": (("train", "--resume", "--run", "tiny"), "config.toml"),
}


@pytest.mark.parametrize("case", INVALID)
def test_wrong_usage_is_named_and_leaves_no_folder(run: Run, tiny_data: Path, case: str) -> None:
    arguments, expected = INVALID[case]
    device = () if "--device" in arguments else ("--device", "reference")
    result = run(*device, *arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.output
    assert "Traceback" not in result.output
    assert not list(Path().glob("runs/*"))


def test_a_folder_that_holds_a_run_is_not_overwritten(run: Run, tiny_data: Path) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL)
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 2
    assert "--resume" in result.output


def test_a_full_disk_ends_with_the_command_that_continues_the_run(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "a run", "--epochs", "2", *SMALL)
    replace_file, left = Path.replace, [2]

    def fill(self: Path, target: Path) -> Path:
        if target.name == "latest.msinet.h5":
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", fill)
    full = run(*arguments)
    assert full.exit_code == 1 and "No space left" in full.stderr
    advised = full.stderr.strip().rsplit("msinet-run ", 1)[1]
    assert run(*shlex.split(advised)).exit_code == 0
    assert len(rows(Path("a run") / "history.csv")) == 2


def test_a_resumed_run_keeps_its_settings(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    result = run("train", "--resume", "--run", "r", "--learning-rate", "0.5", "--batch-size", "2")
    assert result.exit_code == 2
    for value in ("learning_rate: 0.001", "0.5", "batch_size"):
        assert value in result.output


def test_a_run_is_not_resumed_on_other_images(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    for kind in ("stimuli", "saliency"):
        (tiny_data / kind / "train" / "train00.png").unlink()
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 1
    assert "5 training" in result.output


def test_the_newest_run_is_resumed_by_default(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--epochs", "1", *SMALL).exit_code == 0
    result = run("train", "--resume", "--epochs", "2")
    assert result.exit_code == 0, result.output
    folders = list(Path("runs").iterdir())
    assert len(folders) == 1
    assert folders[0].name.startswith("tiny-reference-")
    assert len(rows(folders[0] / "history.csv")) == 2


def test_moments_that_overflowed_are_never_saved(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(tiny_data, tmp_path / "r", epochs=1)
    before = (tmp_path / "r" / "checkpoints" / "latest.msinet.h5").read_bytes()
    state = ReferenceModel.state

    def overflowed(self: ReferenceModel) -> State:
        found = state(self)
        assert found.optimizer is not None
        v = {**found.optimizer.v, "decoder/conv4/bias": np.full(1, np.inf, np.float32)}
        return replace(found, optimizer=replace(found.optimizer, v=v))

    monkeypatch.setattr(ReferenceModel, "state", overflowed)
    with pytest.raises(DivergenceError, match="decoder/conv4/bias"):
        run_training(tiny_data, tmp_path / "r", resume=True, epochs=2)
    assert (tmp_path / "r" / "checkpoints" / "latest.msinet.h5").read_bytes() == before


def test_a_finished_run_is_left_unchanged(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "2", *SMALL).exit_code == 0
    before = {path: path.read_bytes() for path in Path("r").rglob("*.*") if path.is_file()}
    result = run("train", "--resume", "--run", "r")
    assert result.exit_code == 0
    assert "2 of 2 epochs" in result.output
    result = run("train", "--resume", "--run", "r", "--epochs", "1")
    assert result.exit_code == 2
    assert "2 epochs" in result.output
    for name in ("history.csv", "curve.png"):
        (Path("r") / name).unlink()
    assert run("train", "--resume", "--run", "r", "--dry-run").exit_code == 0
    assert not Path("r/history.csv").exists()
    assert run("train", "--resume", "--run", "r").exit_code == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_without_its_checkpoint_does_not_start_over(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    Path("r/checkpoints/latest.msinet.h5").unlink()
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 1
    assert "--init r/checkpoints/best.msinet.h5" in result.output


@pytest.mark.parametrize("name", ["best", "latest"])
def test_a_run_does_not_continue_from_the_checkpoint_of_another(
    run: Run, tiny_data: Path, name: str
) -> None:
    first = ("train", "--data", tiny_data, "--epochs", "1", *SMALL)
    assert run(*first, "--run", "r").exit_code == 0
    assert run(*first, "--run", "s", "--batch-size", "2").exit_code == 0
    other = Path("s/checkpoints", f"{name}.msinet.h5").read_bytes()
    Path("r/checkpoints/latest.msinet.h5").write_bytes(other)
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 1
    assert {"best": "weights only", "latest": "batch_size"}[name] in result.output


def test_two_processes_do_not_train_in_one_folder(run: Run, tiny_data: Path) -> None:
    with RunFolder(Path("r")).locked():
        result = run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL)
    assert result.exit_code == 2
    assert "Another process" in result.output


def test_a_run_that_never_saved_can_be_started_again(run: Run, tiny_data: Path) -> None:
    write_config(config(tiny_data), RunFolder(Path("r")).config)
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0


def test_two_devices_and_an_unknown_device_are_wrong_usage(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("--device", "cpu", "train", "--data", tiny_data, "--device", "reference")
    assert result.exit_code == 2
    assert "'cpu' and 'reference'" in result.output
    monkeypatch.setenv("MSINET_DEVICE", "referenc")
    result = run("train", "--data", tiny_data)
    assert result.exit_code == 2
    assert "MSINET_DEVICE" in result.output
    assert "'referenc'" in result.output


def test_an_unreadable_image_is_named_and_the_run_can_be_resumed(run: Run, tiny_data: Path) -> None:
    good = (tiny_data / "stimuli/train/train03.png").read_bytes()
    (tiny_data / "stimuli/train/train03.png").write_bytes(good[:200])
    result = run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL)
    assert result.exit_code == 1
    assert "train03.png" in result.output
    assert f"msinet-run data check {tiny_data}" in result.output
    (tiny_data / "stimuli/train/train03.png").write_bytes(good)
    result = run("train", "--resume", "--run", "r")
    assert result.exit_code == 0, result.output
