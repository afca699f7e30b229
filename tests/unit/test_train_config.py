"""What ``config.toml`` may hold, and what is said about anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from msinet_core.errors import MsinetError
from msinet_core.training.config import TrainConfig

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


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    FULL.write(tmp_path / "config.toml")
    assert TrainConfig.read(tmp_path / "config.toml") == FULL


def test_a_whole_number_is_a_number_too(tmp_path: Path) -> None:
    assert TrainConfig.read(write(tmp_path, "width = 1")).width == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('epochs = "four"', 'epochs = "four": it should be a whole number'),
        ("epochs = 1.5", "epochs = 1.5: it should be a whole number"),
        ("seed = true", "seed = true: it should be a whole number"),
        ('learning_rate = "1e-5"', 'learning_rate = "1e-5": it should be a number'),
        ('shuffle = "no"', 'shuffle = "no": it should be true or false'),
        ("image_size = 240", "image_size = 240: it should be height and width"),
        ("image_size = [240]", "it should be height and width, such as [240, 320]"),
        ('log = "csv"', 'log = "csv": it should be a list of texts'),
        ("device_options = {threads = 2}", "it should be a table of texts"),
        (
            'resize = "halfpixel"',
            'resize = "halfpixel": it should be one of asymmetric, half_pixel',
        ),
        ("precision = 16", "precision = 16: it should be a text in quotes"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_it_should_be(
    tmp_path: Path, line: str, expected: str
) -> None:
    with pytest.raises(MsinetError) as error:
        TrainConfig.read(write(tmp_path, line))
    assert expected in str(error.value)
    assert str(tmp_path / "config.toml") in str(error.value)


def test_all_values_that_are_wrong_are_listed(tmp_path: Path) -> None:
    with pytest.raises(MsinetError, match=r"(?s)epochs = .*batch_size = "):
        TrainConfig.read(write(tmp_path, 'epochs = "four"\nbatch_size = "two"'))
