"""The settings of a run: one declaration for Python, ``config.toml`` and the command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core import bench, train
from msinet_core.benchmark.settings import BenchSettings
from msinet_core.cli.bench import bench as bench_command
from msinet_core.cli.train import train as train_command
from msinet_core.errors import MsinetError, UsageError
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config, write_config
from msinet_core.training.resume import resumed_with

FULL = TrainConfig(
    "demo",
    "cpu",
    data_root="sets",
    image_size=(32, 40),
    limit_train=3,
    limit_valid=2,
    width=0.5,
    resize="half_pixel",
    workers=2,
    device_options={"threads": "2"},
    log=("csv", "tensorboard"),
)


def write(folder: Path, line: str) -> Path:
    path = folder / "config.toml"
    path.write_text(f'[train]\ndata = "demo"\ndevice = "cpu"\n{line}\n', encoding="utf-8")
    return path


def test_settings_survive_a_round_trip(tmp_path: Path) -> None:
    write_config(FULL, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml") == FULL


def test_settings_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "momentum = 0.9")) == TrainConfig("demo", "cpu")


@pytest.mark.parametrize(
    ("name", "value", "standard"),
    [
        ("width", 1, 1.0),
        ("learning_rate", np.float32(0.5), 0.5),
        ("epochs", np.int64(3), 3),
        ("data", Path("sets") / "own", str(Path("sets") / "own")),
        ("image_size", [240, 320], (240, 320)),
        ("image_size", "240x320", (240, 320)),
        ("log", "tensorboard", ("csv", "tensorboard")),
        ("log", " wandb,csv, tensorboard,", ("csv", "wandb", "tensorboard")),
        ("log", ["wandb"], ("csv", "wandb")),
    ],
)
def test_values_are_brought_to_one_form(name: str, value: Any, standard: Any) -> None:
    config = TrainConfig(**{"data": "demo", "device": "cpu", name: value})
    assert getattr(config, name) == standard
    assert type(getattr(config, name)) is type(standard)


@pytest.mark.parametrize(
    "line",
    [
        'epochs = "four"',
        "epochs = 1.5",
        "epochs = 0",
        "seed = true",
        "seed = -1",
        'learning_rate = "1e-5"',
        "learning_rate = nan",
        "learning_rate = inf",
        "width = 0.0",
        "sigma = 0.0",
        "sigma = 1e9",
        'shuffle = "no"',
        "image_size = 240",
        "image_size = [240]",
        "image_size = [240, 0]",
        'image_size = "big"',
        'image_size = "+240x3_20"',
        'log = ["tensorbord"]',
        "log = 1",
        "device_options = {threads = 2}",
        'resize = "halfpixel"',
        "precision = 16",
        "data_root = 5",
    ],
)
def test_invalid_values_in_a_file_are_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(MsinetError) as error:
        read_config(write(tmp_path, line))
    assert line.split(" = ")[0] in str(error.value)
    assert str(tmp_path / "config.toml") in str(error.value)
    assert error.value.exit_code == 1


def test_all_invalid_values_are_listed(tmp_path: Path) -> None:
    with pytest.raises(MsinetError, match=r"(?s)epochs: 'four'.*batch_size: 'two'"):
        read_config(write(tmp_path, 'batch_size = "two"\nepochs = "four"'))


@pytest.mark.parametrize("text", ["", "[train", "train = 1", '[train]\ndata = "demo"'])
def test_a_file_without_settings_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(MsinetError, match=r"config\.toml") as error:
        read_config(tmp_path / "config.toml")
    assert error.value.exit_code == 1


def test_a_folder_without_settings_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_config(tmp_path / "config.toml")


def test_a_resumed_run_changes_where_it_runs_and_nothing_else() -> None:
    changed = resumed_with(FULL, {"device": "metal", "epochs": 20, "width": 0.5})
    assert (changed.device, changed.epochs) == ("metal", 20)
    with pytest.raises(UsageError, match=r"(?s)batch_size.*seed") as error:
        resumed_with(FULL, {"seed": 1, "batch_size": 2, "workers": 3})
    assert "workers" not in str(error.value)
    larger = TrainConfig("demo", "cpu", batch_size=4)
    assert resumed_with(larger, {"batch_size": 1, "accumulate": 4}).accumulate == 4
    with pytest.raises(UsageError, match="accumulate"):
        resumed_with(larger, {"batch_size": 2})


@pytest.mark.parametrize(
    ("function", "command", "settings"),
    [(train, train_command, TrainConfig), (bench, bench_command, BenchSettings)],
)
def test_python_and_the_command_line_offer_every_setting(
    function: Any, command: Any, settings: Any
) -> None:
    names = {item.name for item in fields(settings)}
    assert names <= inspect.signature(function).parameters.keys()
    options = {parameter.name for parameter in command.params}
    assert names - {"device"} <= options


def test_python_and_the_command_line_have_the_same_defaults() -> None:
    parameters = inspect.signature(bench).parameters
    for name, value in vars(BenchSettings()).items():
        assert (parameters[name].default or {}) == value, name
