"""Schedules, augmentation, losses, frozen parts and the choice of the best epoch, in whole runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import msinet_core as msinet
from msinet_core.checkpoint import load_checkpoint
from msinet_core.errors import InterruptedRunError, MsinetError, UsageError
from msinet_core.network.msinet import PARTS
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceModel
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config
from msinet_core.training.initial_weights import random_state
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.selection import HIGHER_IS_BETTER
from msinet_core.training.start import start_training

if TYPE_CHECKING:
    from tests.conftest import Run

BASE: Mapping[str, Any] = {
    "width": 0.04,
    "init": "random",
    "image_size": (32, 40),
    "learning_rate": 1e-3,
    "epochs": 2,
}
ALL: Mapping[str, Any] = {
    "loss": "kld+0.5*cc+0.1*sim+0.1*nss",
    "schedule": "cosine",
    "warmup": 3,
    "freeze": ("encoder",),
    "part_rates": {"decoder": 0.5},
    "flip": True,
    "metrics": ("nss", "cc"),
    "best_by": "nss",
}


def train(data: Path, folder: Path, **changes: Any) -> msinet.Run:
    return msinet.train(data, run=folder, device="reference", **{**BASE, **changes})


def column(path: Path, name: str) -> list[str]:
    with path.open(newline="") as stream:
        return [row[name] for row in csv.DictReader(stream)]


def interrupt_after(steps: int, patch: pytest.MonkeyPatch) -> InterruptFlag:
    """Return a flag that is set in a step of the reference."""
    flag, update, done = InterruptFlag(), ReferenceModel.update, [0]

    def count(model: ReferenceModel, *given: Any) -> float:
        done[0] += 1
        if done[0] == steps:
            flag.set()
        return update(model, *given)

    patch.setattr(ReferenceModel, "update", count)
    return flag


def test_a_run_with_every_setting_continues_exactly(looked_at: Path, tmp_path: Path) -> None:
    whole = RunFolder(train(looked_at, tmp_path / "whole", **ALL).path)
    config = TrainConfig(str(looked_at), "reference", **BASE, **ALL)
    for stop in (2, 5, 7):  # 5: the last step of an epoch
        folder = RunFolder(tmp_path / f"stopped-{stop}")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedRunError):
            start_training(config, folder, SPEC, interrupt=interrupt_after(stop, patch))
        msinet.train(run=folder.path, resume=True, device="reference")
        for name in ("loss", "learning_rate"):
            assert column(folder.steps, name) == column(whole.steps, name)
        for name in ("nss", "learning_rate"):
            assert column(folder.history, name) == column(whole.history, name)
        ours, theirs = (load_checkpoint(each.latest).state for each in (folder, whole))
        for parameter, weight in theirs.weights.items():
            assert np.array_equal(ours.weights[parameter], weight)


def test_a_frozen_part_keeps_its_weights_and_moments(tiny_data: Path, tmp_path: Path) -> None:
    frozen = train(tiny_data, tmp_path / "r", freeze="encoder,aspp", epochs=1)
    checkpoint = load_checkpoint(frozen.latest)
    after, start = checkpoint.state, random_state(checkpoint.graph, TrainConfig.seed)
    assert after.optimizer is not None
    moved = {
        name.partition("/")[0]
        for name, weight in after.weights.items()
        if not np.array_equal(weight, start.weights[name])
    }
    assert moved == {"decoder"}
    for name, moment in after.optimizer.v.items():
        assert moment.any() == name.startswith("decoder/") or name == "decoder/conv4/bias"


def test_metrics_and_loss_are_those_of_evaluate(
    looked_at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReferenceModel, "losses", None)  # one prediction serves both
    names = tuple(HIGHER_IS_BETTER)
    run = train(looked_at, tmp_path / "r", epochs=1, metrics=names, batch_size=2)
    found = msinet.evaluate(run.best, looked_at, device="reference").summary()
    for name in names:
        assert run.history[0][name] == pytest.approx(found[name]["model"].mean, rel=1e-6)
    assert run.history[0]["valid_loss"] == pytest.approx(found["loss"]["model"].mean, rel=1e-6)


def test_nss_without_fixations_is_refused_before_training(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fixations.* nss needs.*--best-by"):
        train(tiny_data, tmp_path / "r", best_by="nss")
    with pytest.raises(UsageError, match=r"fixations.* nss and auc_judd need\."):
        train(tiny_data, tmp_path / "r", metrics="nss,auc_judd")
    assert not (tmp_path / "r" / "config.toml").exists()


def test_nss_with_empty_fixations_is_refused_before_training(
    looked_at: Path, tmp_path: Path
) -> None:
    for path in (looked_at / "fixations" / "val").glob("*.csv"):
        path.write_text("x,y\n")
    with pytest.raises(UsageError, match="fixations"):
        train(looked_at, tmp_path / "r", best_by="nss")
    assert not (tmp_path / "r").exists()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the validation losses by given ones, one for each epoch."""
    from msinet_core.training import trainer

    def script(*losses: float) -> None:
        left = iter(losses)
        monkeypatch.setattr(
            trainer.Validation, "result", lambda self: {"valid_loss": next(left), "cc": 0.0}
        )

    return script


def test_training_stops_after_patience_and_does_not_go_on(
    run: Run, tiny_data: Path, tmp_path: Path, scripted: Callable[..., None]
) -> None:
    scripted(3.0, 2.0, 2.5, 2.0, 1.0, 1.0, 1.5)
    first = train(tiny_data, tmp_path / "r", epochs=9, patience=2, limit_train=1)
    assert len(first.history) == 4  # an equal score is not a new best
    assert len(msinet.train(run=first.path, resume=True, device="reference").history) == 4
    resumed = run("train", "--resume", "--run", first.path, "--patience", "1")
    assert "The run is finished: 2 epochs without a new best." in resumed.stderr
    longer = msinet.train(run=first.path, resume=True, device="reference", patience=3, epochs=6)
    assert [row["valid_loss"] for row in longer.history] == [3.0, 2.0, 2.5, 2.0, 1.0, 1.0]
    assert load_checkpoint(first.best).metadata["epoch"] == 5


def test_the_epochs_without_a_new_best_are_counted(
    run: Run, tiny_data: Path, tmp_path: Path, scripted: Callable[..., None]
) -> None:
    scripted(1.0, 2.0)
    train(tiny_data, tmp_path / "r", epochs=9, patience=1, limit_train=1)
    assert "Stopped early: 1 epoch without" in (tmp_path / "r" / "log.txt").read_text()
    resumed = run("train", "--resume", "--run", tmp_path / "r")
    assert "The run is finished: 1 epoch without" in resumed.stderr


def test_a_plateau_lowers_the_rate(
    tiny_data: Path, tmp_path: Path, scripted: Callable[..., None]
) -> None:
    scripted(3.0, 4.0, 4.0, 4.0, 2.0, 4.0)
    options = {"schedule": "plateau", "plateau_epochs": 2, "plateau_factor": 0.5, "epochs": 6}
    run = train(tiny_data, tmp_path / "r", limit_train=1, learning_rate=0.01, **options)
    rates = [row["learning_rate"] for row in run.history]
    assert rates == [0.01, 0.01, 0.01, 0.005, 0.005, 0.005]


def test_a_configuration_repeats_a_run(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    settings = {"loss": "kld+0.5*cc", "flip": True, "part_rates": {"aspp": 0.5}, "seed": 3}
    first = train(tiny_data, tmp_path / "first", **settings)
    config = RunFolder(first.path).config
    done = run("train", "--config", config, "--run", tmp_path / "again")
    assert done.exit_code == 0, done.output
    again = RunFolder(tmp_path / "again")
    assert column(again.steps, "loss") == column(RunFolder(first.path).steps, "loss")
    other = train(tiny_data, tmp_path / "other", config=config, seed=4, epochs=1)
    changed = read_config(RunFolder(other.path).config)
    assert (changed.seed, changed.epochs, changed.loss) == (4, 1, "kld+0.5*cc")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[train]\ndata = "demo"\nlearning_rat = 1.0', "learning_rate"),
        ("[train]\nepochs = 1", "data"),
        ("train = 3", "train"),
        ('[train]\ndata = "demo"\npart_rates = 3', "part_rates"),
        ('[train]\ndata = "demo"\nloss = 3', "loss"),
        (f'[train]\ndata = "demo"\nlearning_rate = {10**400}', "learning_rate"),
        ('data = "demo"', "train"),
        ('[train]\ndata = "demo"\nloss = "kld-cc"', "kld-cc"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(MsinetError, match=named) as error:
        msinet.train(config=path, device="reference")
    assert "own.toml" in str(error.value)


def test_a_configuration_and_a_resumed_run_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        msinet.train(config=tmp_path / "config.toml", resume=True)
    with pytest.raises(UsageError, match=r"config\.toml"):
        msinet.train(config=tmp_path / "config.toml")


def test_a_cosine_run_cannot_be_extended(tiny_data: Path, tmp_path: Path) -> None:
    run = train(tiny_data, tmp_path / "r", schedule="cosine", epochs=1)
    with pytest.raises(UsageError, match="epochs"):
        msinet.train(run=run.path, resume=True, device="reference", epochs=2)


def test_runs_are_listed_and_compared(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    train(tiny_data, tmp_path / "runs" / "a", metrics="cc", epochs=1)
    train(tiny_data, tmp_path / "runs" / "b", loss="cc", epochs=1)
    comparison = msinet.compare_runs([tmp_path / "runs"])
    assert comparison.differing == {"loss": ["kld", "cc"], "metrics": [["cc"], []]}
    assert comparison.best["cc"][1] is None and comparison.best["valid_loss"][1] is not None
    listed = run("runs", "list", tmp_path / "runs")
    assert listed.exit_code == 0 and listed.output.count("finished") == 2
    picture = tmp_path / "curves.png"
    compared = run(
        "runs", "compare", tmp_path / "runs" / "a", tmp_path / "runs" / "b", "--out", picture
    )
    assert compared.exit_code == 0, compared.output
    assert Image.open(picture).height > 700  # two panels
    refused = run("runs", "compare", tmp_path / "runs" / "a", "--out", tmp_path / "curves.jpg")
    assert refused.exit_code == 2 and not refused.stdout
    assert run("runs", "list", tiny_data).exit_code == 2


@pytest.mark.parametrize(("where", "listed"), [("runs/a", ["a"]), ("runs", ["a", "b"])])
def test_the_current_folder_can_be_listed(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    listed: list[str],
) -> None:
    for name in ("a", "b"):
        RunFolder(tmp_path / "runs" / name).begin(TrainConfig("demo", "reference"), 0, [])
    monkeypatch.chdir(tmp_path / where)
    result = run("runs", "list", ".")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == listed
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in run("runs", "list", ".").stderr


def test_scores_of_different_validation_images_are_not_called_comparable(tmp_path: Path) -> None:
    def notes(**others: Any) -> list[str]:
        for name, changes in {"a": {}, "b": others}.items():
            folder = RunFolder(tmp_path / name)
            folder.begin(TrainConfig(**{"data": "demo", "device": "cpu", **changes}), 0, [])
        return msinet.compare_runs([tmp_path / "a", tmp_path / "b"]).notes

    assert notes() == notes(epochs=3, workers=2) == []
    for name, value in {"data": "osie", "limit_valid": 5, "sigma": 3.0, "split_seed": 1}.items():
        (note,) = notes(**{name: value})
        assert name in note
    assert len(notes(data="osie", loss="cc")) == 2


def test_histories_that_cannot_be_compared_are_named(run: Run, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r")
    folder.begin(TrainConfig("demo", "reference", metrics=("nss",)), 0, [])
    folder.history.write_text("epoch,valid_loss,nss\n1,2.0,nan\n", encoding="utf-8")
    listed = run("runs", "list", folder.path, "--json")
    (found,) = json.loads(listed.stdout, parse_constant=pytest.fail)
    assert found["best"] == {"epoch": 1, "valid_loss": 2.0, "nss": None}
    folder.history.write_text("epoch,train_loss\n1,2.0\n", encoding="utf-8")
    failed = run("runs", "list", folder.path)
    assert failed.exit_code == 1
    assert "history.csv" in failed.stderr and "valid_loss" in failed.stderr


@pytest.mark.parametrize("name", ["config.toml", "history.csv"])
def test_a_damaged_run_does_not_hide_the_others(run: Run, tmp_path: Path, name: str) -> None:
    for each in "abc":
        folder = RunFolder(tmp_path / each)
        folder.begin(TrainConfig("demo", "reference", seed=ord(each)), 0, [])
    (tmp_path / "b" / name).write_bytes(b"\xff = garbage\n1")
    listed = run("runs", "list", tmp_path, "--json")
    assert listed.exit_code == 0, listed.output
    assert [Path(one["run"]).name for one in json.loads(listed.stdout)] == ["a", "c"]
    assert str(Path("b") / name) in listed.stderr
    compared = run("runs", "compare", tmp_path)
    assert compared.exit_code == 0 and str(Path("b") / name) in compared.stderr
    for folders in ([tmp_path / "b"], [tmp_path / "b", tmp_path], [tmp_path, tmp_path / "b"]):
        assert run("runs", "list", *folders).exit_code == 1
    with pytest.raises(MsinetError, match=name):
        msinet.read_runs([tmp_path])
    with pytest.raises(UsageError):
        msinet.read_runs([])


def test_a_folder_of_damaged_runs_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.toml").write_text("garbage")
    for command in ("list", "compare"):
        failed = run("runs", command, tmp_path / "runs")
        assert failed.exit_code == 1 and "config.toml" in failed.stderr


def test_a_run_without_its_history_is_read_from_its_checkpoint(
    run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    folder = RunFolder(train(tiny_data, tmp_path / "r", limit_train=1).path)
    before = run("runs", "list", folder.path, "--json").stdout
    folder.history.unlink()
    assert run("runs", "list", folder.path, "--json").stdout == before
    folder.latest.write_text("garbage")
    failed = run("runs", "list", folder.path)
    assert failed.exit_code == 1 and folder.latest.name in failed.stderr
    folder.latest.unlink()
    assert "unfinished" in run("runs", "list", folder.path).stdout


def test_a_refused_change_names_the_checkpoint_of_the_run(
    run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    folder = RunFolder(train(tiny_data, tmp_path / "a run", limit_train=1).path)
    refused = run("train", "--resume", "--run", folder.path, "--seed", "1")
    assert f"--init '{folder.latest}'" in refused.stderr
    folder.latest.unlink()
    refused = run("train", "--resume", "--run", folder.path, "--seed", "1")
    assert "--init" not in refused.stderr


def test_parts_cover_every_parameter() -> None:
    starts = tuple(start for part in PARTS.values() for start in part)
    assert all(item.name.startswith(starts) for item in msinet.msinet_graph(0.1).parameters)
