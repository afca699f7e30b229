"""Whole training runs on the reference device."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msinet_core.checkpoint import load_checkpoint
from msinet_core.device import Model
from msinet_core.errors import DivergenceError, InterruptedRunError
from msinet_core.network.state import State
from msinet_core.registry.registry import load_registry
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.start import train

if TYPE_CHECKING:
    from tests.conftest import Run

SMALL = (
    "--device",
    "reference",
    "--width",
    "0.04",
    "--init",
    "random",
    "--image-size",
    "32x40",
    "--learning-rate",
    "1e-3",
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
    train(
        config(data, **changes), RunFolder(folder), load_registry().spec("reference"), resume=resume
    )
    return losses(folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(folder / "steps.csv")]


def test_a_run_leaves_everything_that_its_user_needs(run: Run, tiny_data: Path) -> None:
    result = run("train", "--data", tiny_data, "--run", "r", "--epochs", "3", *SMALL)
    assert result.exit_code == 0, result.output
    folder = Path("r")
    history = rows(folder / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert float(history[-1]["valid_loss"]) < float(history[0]["valid_loss"])
    assert [int(row["step"]) for row in rows(folder / "steps.csv")] == list(range(1, 16))
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "Epoch 3/3" in (folder / "log.txt").read_text()
    settings = TrainConfig.read(folder / "config.toml")
    assert settings.learning_rate == 1e-3
    assert settings.image_size == (32, 40)
    latest = load_checkpoint(folder / "checkpoints" / "latest.msinet.h5")
    best = load_checkpoint(folder / "checkpoints" / "best.msinet.h5")
    assert latest.state.optimizer is not None
    assert latest.state.optimizer.step == 15
    assert best.state.optimizer is None
    assert best.metadata["device"] == "reference"
    assert "best.msinet.h5" in result.output


def test_its_mean_training_loss_is_that_of_its_steps(tmp_path: Path, tiny_data: Path) -> None:
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
    from msinet_core.reference.device import ReferenceModel

    whole = run_training(tiny_data, tmp_path / "whole", accumulate=accumulate)
    flag = InterruptFlag()
    made: list[int] = []
    train_step = ReferenceModel.train_step

    def interrupt_after(self: Model, *arguments: object) -> object:
        made.append(1)
        if len(made) == after:
            flag.set()
        return train_step(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ReferenceModel, "train_step", interrupt_after)
        with pytest.raises(InterruptedRunError, match="--resume"):
            train(
                config(tiny_data, accumulate=accumulate),
                RunFolder(tmp_path / "parts"),
                load_registry().spec("reference"),
                interrupt=flag,
            )
    assert losses(tmp_path / "parts") == whole[:after]
    assert run_training(tiny_data, tmp_path / "parts", resume=True, accumulate=accumulate) == whole
    assert (
        rows(tmp_path / "parts" / "history.csv")[0]["train_loss"]
        == (rows(tmp_path / "whole" / "history.csv")[0]["train_loss"])
    )


def test_ctrl_c_saves_the_state_and_exits_130(tmp_path: Path, tiny_data: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from msinet_core.cli import main; main()",
        "train",
        "--data",
        str(tiny_data),
        "--run",
        "r",
        "--epochs",
        "10000",
        *SMALL,
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    steps = tmp_path / "r" / "steps.csv"
    deadline = time.monotonic() + 60
    while (not steps.exists() or len(rows(steps)) < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the state is saved" in told
    assert "Traceback" not in told
    saved = load_checkpoint(tmp_path / "r" / "checkpoints" / "latest.msinet.h5")
    assert saved.state.optimizer is not None
    assert saved.state.optimizer.step == len(losses(tmp_path / "r"))


def test_steps_after_the_last_checkpoint_are_made_again_and_listed_once(
    tmp_path: Path, tiny_data: Path
) -> None:
    whole = run_training(tiny_data, tmp_path / "whole", epochs=2)
    run_training(tiny_data, tmp_path / "killed", epochs=1)
    with (tmp_path / "killed" / "steps.csv").open("a") as stream:
        stream.write("2,6,0.5,1.0\n2,7,0.")  # as a kill after the checkpoint leaves it
    assert run_training(tiny_data, tmp_path / "killed", resume=True, epochs=2) == whole


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, tiny_data: Path
) -> None:
    whole = run_training(tiny_data, tmp_path / "whole")
    folder = RunFolder(tmp_path / "killed")
    config(tiny_data).write(folder.config)
    assert run_training(tiny_data, folder.path, resume=True) == whole


def test_accumulated_batches_are_one_larger_batch(tmp_path: Path, tiny_data: Path) -> None:
    joint = run_training(tiny_data, tmp_path / "joint", batch_size=2)
    apart = run_training(tiny_data, tmp_path / "apart", accumulate=2)
    np.testing.assert_allclose(apart, joint, rtol=1e-5)


def test_a_loss_that_is_not_a_number_stops_the_run_and_says_what_to_try(
    run: Run, tiny_data: Path
) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", *SMALL)
    assert run(*arguments, "--epochs", "1").exit_code == 0
    before = Path("r/checkpoints/latest.msinet.h5").read_bytes()
    broken = load_checkpoint(Path("r/checkpoints/latest.msinet.h5"))
    result = run(
        "train",
        "--data",
        tiny_data,
        "--run",
        "s",
        "--device",
        "reference",
        "--init",
        "r/checkpoints/best.msinet.h5",
        "--image-size",
        "32x40",
        "--learning-rate",
        "1e30",
    )
    assert result.exit_code == 1
    assert "diverged" in result.output
    assert "smaller --learning-rate (it is 1e+30)" in result.output
    assert Path("r/checkpoints/latest.msinet.h5").read_bytes() == before
    assert broken.graph.parameter_count > 0


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


def test_a_run_starts_from_another_runs_weights_and_network(run: Run, tiny_data: Path) -> None:
    first = ("train", "--data", tiny_data, "--run", "a", "--epochs", "1", *SMALL)
    assert run(*first).exit_code == 0
    result = run(
        "train",
        "--data",
        tiny_data,
        "--run",
        "b",
        "--epochs",
        "1",
        "--device",
        "reference",
        "--image-size",
        "32x40",
        "--init",
        "a/checkpoints/best.msinet.h5",
    )
    assert result.exit_code == 0, result.output
    assert load_checkpoint(Path("b/checkpoints/best.msinet.h5")).graph == (
        load_checkpoint(Path("a/checkpoints/best.msinet.h5")).graph
    )


WRONG = {
    "no data": (("train",), 2, "Missing option --data"),
    "no such data": (("train", "--data", "nowhere"), 2, "nowhere"),
    "size": (("train", "--data", "tiny", "--image-size", "250x320"), 2, "divisible by 8"),
    "no size": (("train", "--data", "tiny", "--image-size", "big"), 2, "height x width"),
    "epochs": (
        ("train", "--data", "tiny", "--epochs", "0"),
        2,
        "--epochs 0 cannot be used: it is",
    ),
    "rate": (("train", "--data", "tiny", "--learning-rate", "-1"), 2, "--learning-rate"),
    "nan": (("train", "--data", "tiny", "--learning-rate", "nan"), 2, "rate nan cannot be used"),
    "batch": (("train", "--data", "tiny", "--batch-size", "-1"), 2, "--batch-size -1 cannot be"),
    "width": (("train", "--data", "tiny", "--width", "0"), 2, "For example: --width 0.25"),
    "0x0": (("train", "--data", "tiny", "--image-size", "0x0"), 2, "has no pixels"),
    "log": (("train", "--data", "tiny", "--log", "tensorbord"), 2, "Did you mean 'tensorboard'"),
    "vgg": (("train", "--data", "tiny", "--init", "vgg"), 2, "Did you mean 'vgg16'"),
    "command": (("trian",), 2, "There is no command 'trian'. Did you mean 'train'?"),
    "device": (("train", "--data", "tiny", "--device", "referenc"), 2, "Did you mean 'reference'"),
    "precision": (("train", "--data", "tiny", "--precision", "float16"), 2, "--precision float32"),
    "init": (("train", "--data", "tiny", "--init", "no.h5", "--image-size", "32x40"), 2, "no.h5"),
    "nothing to resume": (("train", "--resume"), 2, "no run to resume"),
    "not a run": (("train", "--resume", "--run", "tiny"), 2, "config.toml"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_gets_a_sentence_and_an_exit_code(run: Run, tiny_data: Path, case: str) -> None:
    arguments, exit_code, told = WRONG[case]
    device = () if "--device" in arguments else ("--device", "reference")
    result = run(*device, *arguments)
    assert result.exit_code == exit_code, result.output
    assert told in result.output
    assert "Traceback" not in result.output
    assert not list(Path().glob("runs/*"))


def test_a_folder_that_holds_a_run_is_not_overwritten(run: Run, tiny_data: Path) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL)
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 2
    assert "--resume" in result.output


def test_a_resumed_run_keeps_its_settings(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    result = run("train", "--resume", "--run", "r", "--learning-rate", "0.5", "--batch-size", "2")
    assert result.exit_code == 2
    assert "--learning-rate: the run has 0.001, asked for is 0.5" in result.output
    assert "--batch-size: the run has 1, asked for is 2" in result.output


def test_a_run_is_not_resumed_on_other_images(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    for kind in ("stimuli", "saliency"):
        (tiny_data / kind / "train" / "train00.png").unlink()
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 1
    assert "had 5 training" in result.output


def test_the_newest_run_is_resumed_by_default(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--epochs", "1", *SMALL).exit_code == 0
    result = run("train", "--resume", "--epochs", "2")
    assert result.exit_code == 0, result.output
    folders = list(Path("runs").iterdir())
    assert len(folders) == 1
    assert folders[0].name.startswith("tiny-reference-")
    assert len(rows(folders[0] / "history.csv")) == 2


def test_the_config_file_is_readable_without_us(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    text = Path("r/config.toml").read_text()
    assert 'device = "reference"' in text
    assert json.loads(text.split("seed = ")[1].split("\n")[0]) == 42
    assert os.fspath(tiny_data) in text


def test_moments_that_overflowed_are_never_saved(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msinet_core.reference.device import ReferenceModel

    run_training(tiny_data, tmp_path / "r", epochs=1)
    before = (tmp_path / "r" / "checkpoints" / "latest.msinet.h5").read_bytes()
    state = ReferenceModel.state

    def overflowed(self: ReferenceModel) -> State:
        found = state(self)
        assert found.optimizer is not None
        v = {**found.optimizer.v, "decoder/conv4/bias": np.full(1, np.inf, np.float32)}
        return replace(found, optimizer=replace(found.optimizer, v=v))

    monkeypatch.setattr(ReferenceModel, "state", overflowed)
    with pytest.raises(DivergenceError, match="decoder/conv4/bias overflowed"):
        run_training(tiny_data, tmp_path / "r", resume=True, epochs=2)
    assert (tmp_path / "r" / "checkpoints" / "latest.msinet.h5").read_bytes() == before


def test_a_finished_run_says_so_and_is_left_as_it_is(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "2", *SMALL).exit_code == 0
    before = {path: path.read_bytes() for path in Path("r").rglob("*.*") if path.is_file()}
    result = run("train", "--resume", "--run", "r")
    assert result.exit_code == 0
    assert "finished: 2 of 2 epochs" in result.output
    result = run("train", "--resume", "--run", "r", "--epochs", "1")
    assert result.exit_code == 2
    assert "has finished 2 epochs" in result.output
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_without_its_checkpoint_does_not_begin_anew(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0
    Path("r/checkpoints/latest.msinet.h5").unlink()
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 1
    assert "--init r/checkpoints/best.msinet.h5" in result.output


@pytest.mark.parametrize("name", ["best", "latest"])
def test_a_run_does_not_continue_from_what_is_not_its_own(
    run: Run, tiny_data: Path, name: str
) -> None:
    first = ("train", "--data", tiny_data, "--epochs", "1", *SMALL)
    assert run(*first, "--run", "r").exit_code == 0
    assert run(*first, "--run", "s", "--batch-size", "2").exit_code == 0
    other = Path("s/checkpoints", f"{name}.msinet.h5").read_bytes()
    Path("r/checkpoints/latest.msinet.h5").write_bytes(other)
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 1
    told = {"best": "holds weights only", "latest": "batch_size: 1 in config.toml, 2 in the"}
    assert told[name] in result.output


def test_two_processes_do_not_train_in_one_folder(run: Run, tiny_data: Path) -> None:
    with RunFolder(Path("r")).locked():
        result = run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL)
    assert result.exit_code == 2
    assert "Another process trains in r" in result.output


def test_a_run_that_never_saved_can_be_begun_again(run: Run, tiny_data: Path) -> None:
    config(tiny_data).write(RunFolder(Path("r")).config)
    assert run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL).exit_code == 0


def test_two_devices_are_refused_and_the_variable_is_named(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("--device", "cpu", "train", "--data", tiny_data, "--device", "reference")
    assert result.exit_code == 2
    assert "Two devices are named, 'cpu' and 'reference'" in result.output
    monkeypatch.setenv("MSINET_DEVICE", "referenc")
    result = run("train", "--data", tiny_data)
    assert result.exit_code == 2
    assert "MSINET_DEVICE: There is no device 'referenc'" in result.output
    assert run("--device", "reference", "train", "--data", tiny_data, "--width", "0").exit_code == 2


def test_a_bad_image_in_the_middle_names_the_command_that_finds_them_all(
    run: Run, tiny_data: Path
) -> None:
    good = (tiny_data / "stimuli/train/train03.png").read_bytes()
    (tiny_data / "stimuli/train/train03.png").write_bytes(good[:200])
    result = run("train", "--data", tiny_data, "--run", "r", "--epochs", "1", *SMALL)
    assert result.exit_code == 1
    assert "train03.png" in result.output
    assert f"msinet-run data check {tiny_data}" in result.output
    (tiny_data / "stimuli/train/train03.png").write_bytes(good)
    result = run("train", "--resume", "--run", "r")
    assert result.exit_code == 0, result.output
