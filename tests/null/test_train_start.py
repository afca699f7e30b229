"""How a training run begins: the lock, the image size, reports, and what progress shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from msinet_core.data import open_dataset
from msinet_core.errors import InterruptedRunError, UsageError
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceModel
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress, Task
from msinet_core.training import start
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder

if TYPE_CHECKING:
    from tests.conftest import Run

SMALL = ("--device", "reference", "--learning-rate", "1e-3", "--epochs", "1")
BEGIN = (*SMALL, "--width", "0.04", "--init", "random")


class Heard(Progress):
    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, int]] = []

    @contextmanager
    def task(
        self, description: str, total: int, unit: str = "images", done: int = 0
    ) -> Iterator[Task]:
        self.tasks.append((description, total, done))
        yield Task()


def config(data: Path, **changes: object) -> TrainConfig:
    settings = TrainConfig(
        str(data), "reference", width=0.04, init="random", image_size=(32, 40), epochs=1
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def test_a_resumed_run_is_locked_before_its_checkpoint_is_read(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "r")
    start.train(config(tiny_data), run, SPEC)

    def fail(*arguments: object) -> None:
        raise AssertionError("the checkpoint was read")

    monkeypatch.setattr(start, "find_checkpoint", fail)
    with run.locked(), pytest.raises(UsageError, match="Another process trains in"):
        start.train(config(tiny_data, epochs=2), run, SPEC, resume=True)


def test_the_lock_is_held_while_the_checkpoint_is_read(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "r")
    start.train(config(tiny_data), run, SPEC)
    find = start.find_checkpoint

    def try_lock(folder: RunFolder, settings: TrainConfig) -> object:
        with pytest.raises(UsageError, match="Another process trains in"), folder.locked():
            pass
        return find(folder, settings)

    monkeypatch.setattr(start, "find_checkpoint", try_lock)
    assert len(start.train(config(tiny_data, epochs=2), run, SPEC, resume=True)) == 2


def test_a_folder_that_another_process_trained_in_meanwhile_is_left_alone(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "r")
    prepare = start._prepare

    def prepare_slowly(*arguments: object, **options: object) -> object:
        prepared = prepare(*arguments, **options)  # type: ignore[arg-type]
        run.latest.parent.mkdir(parents=True)
        run.latest.write_text("another process's")
        return prepared

    monkeypatch.setattr(start, "_prepare", prepare_slowly)
    with pytest.raises(UsageError, match=r"trained in .* while this one was starting"):
        start.train(config(tiny_data), run, SPEC)
    assert run.latest.read_text() == "another process's"
    assert not run.config.exists()


def test_a_run_takes_the_image_size_that_its_weights_were_trained_at(
    run: Run, tiny_data: Path
) -> None:
    first = run("train", "--data", tiny_data, "--run", "a", "--image-size", "32x40", *BEGIN)
    assert first.exit_code == 0, first.output
    weights = "a/checkpoints/best.msinet.h5"
    result = run("train", "--data", tiny_data, "--run", "b", "--init", weights, *SMALL)
    assert result.exit_code == 0, result.output
    assert "Images are fitted to 32x40, as the weights were trained." in result.stderr
    assert TrainConfig.read(Path("b/config.toml")).image_size == (32, 40)
    other = ("--image-size", "40x32")
    result = run("train", "--data", tiny_data, "--run", "c", "--init", weights, *SMALL, *other)
    assert result.exit_code == 0, result.output
    assert "trained at 32x40; this run is at 40x32 (--image-size)." in result.stderr


def test_a_data_set_with_a_size_of_its_own_keeps_it(tiny_data: Path) -> None:
    dataset = open_dataset(str(tiny_data))
    assert not dataset.has_own_size
    settings = config(tiny_data, image_size=None)
    own = replace(dataset, name="mit1003", image_size=(360, 360), has_own_size=True)
    assert start._image_size(settings, own, (32, 40)) == (
        (360, 360),
        "The weights were trained at 32x40; this run is at 360x360 (the size of mit1003).",
    )
    assert start._image_size(settings, dataset, None) == ((240, 320), "")


def test_losses_go_to_tensorboard_and_a_resumed_run_goes_on_there(
    run: Run, tiny_data: Path
) -> None:
    size = ("--image-size", "32x40")
    pytest.importorskip("tensorboardX")
    arguments = ("train", "--data", tiny_data, "--run", "r", "--log", "tensorboard")
    assert run(*arguments, *BEGIN, *size).exit_code == 0
    assert len(list(Path("r/tensorboard").iterdir())) == 1
    assert Path("r/history.csv").exists()
    result = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert result.exit_code == 0, result.output
    assert len(list(Path("r/tensorboard").iterdir())) == 2
    assert run("train", "--resume", "--run", "r", "--epochs", "3", "--log", "csv").exit_code == 0
    assert len(list(Path("r/tensorboard").iterdir())) == 2


def test_a_resumed_epoch_is_shown_from_where_it_stopped(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, flag = RunFolder(tmp_path / "r"), InterruptFlag()
    step = ReferenceModel.train_step

    def stop(self: ReferenceModel, *arguments: object) -> object:
        flag.set()
        return step(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ReferenceModel, "train_step", stop)
        with pytest.raises(InterruptedRunError):
            start.train(config(tiny_data, batch_size=2), run, SPEC, interrupt=flag)
    heard = Heard()
    start.train(config(tiny_data, batch_size=2), run, SPEC, resume=True, progress=heard)
    assert heard.tasks[0] == ("epoch 1/1", 5, 2)


def test_plain_progress_counts_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    from msinet_core.system.progress_bars import progress_bars

    with progress_bars().task("epoch 1/1", 5, done=3) as task:
        task.advance(2)
    assert "epoch 1/1  5/5 images" in capsys.readouterr().err


def test_a_part_of_a_data_set_names_the_whole(run: Run, tiny_data: Path) -> None:
    result = run("train", "--data", "tiny/stimuli", *BEGIN)
    assert result.exit_code == 2
    assert "Did you mean 'tiny'?" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", "nowhere"),
        ("train", "--data", "tiny", "--init", "none.h5"),
        ("train", "--resume", "--run", "nowhere"),
        ("predict", "nowhere.jpg", "--weights", "none.h5"),
        ("predict", "tiny", "--weights", "none.h5"),
        ("evaluate", "--data", "nowhere", "--weights", "none.h5"),
        ("evaluate", "--data", "tiny", "--weights", "none.h5"),
        ("evaluate", "--data", "salicon", "--weights", "none.h5"),
        ("inspect", "none.h5"),
        ("convert", "none.h5", "there.msinet.h5"),
        ("convert", "none.h5", "there.msinet.h5", "--network", "none.h5"),
        ("data", "check", "nowhere"),
        ("data", "fetch", "nowhere"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_wrong_usage_everywhere(
    run: Run, tiny_data: Path, arguments: tuple[str, ...]
) -> None:
    result = run("--device", "reference", *arguments)
    assert result.exit_code == 2, result.output
    assert result.output.strip()
    assert sorted(path.name for path in Path().iterdir()) == ["tiny"]


def test_a_resumed_run_finds_its_data_in_another_place(
    run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(tiny_data, tmp_path / "here")
    arguments = ("train", "--data", first, "--run", "r", *BEGIN, "--image-size", "32x40")
    assert run(*arguments).exit_code == 0
    second = first.rename(tmp_path / "there")
    lost = run("train", "--resume", "--run", "r", "--epochs", "2")
    assert lost.exit_code == 2, lost.output
    found = run("train", "--resume", "--run", "r", "--epochs", "2", "--data", second)
    assert found.exit_code == 0, found.output
    assert len(Path("r/history.csv").read_text().splitlines()) == 3


def test_a_resumed_run_refuses_other_images(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", *BEGIN, "--image-size", "32x40")
    assert run(*arguments).exit_code == 0
    other = shutil.copytree(tiny_data, tmp_path / "other")
    for folder in ("stimuli", "saliency"):
        picture = next((other / folder / "train").iterdir())
        picture.rename(picture.with_stem("another"))
    result = run("train", "--resume", "--run", "r", "--epochs", "2", "--data", other)
    assert result.exit_code == 1, result.output
    assert "is not the one that the run began with" in result.output


def test_a_network_larger_than_the_memory_is_refused(run: Run, tiny_data: Path) -> None:
    wide = ("train", "--data", tiny_data, "--run", "r", *SMALL, "--init", "random")
    result = run(*wide, "--width", "300", "--image-size", "32x40")
    assert result.exit_code == 2, result.output
    assert "--width 300 makes a network of" in result.output
    assert "Use a smaller --width" in result.output


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_again(
    run: Run, tiny_data: Path
) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", *BEGIN, "--image-size", "32x40")
    assert run(*arguments).exit_code == 0
    Path("r/checkpoints/latest.msinet.h5").unlink()
    kept = run("train", "--resume", "--run", "r")
    assert kept.exit_code == 1, kept.output
    assert "is not there. Put it back" in kept.output
    header = Path("r/history.csv").read_text().splitlines()[0]
    # As if the disk had been full after the best weights.
    Path("r/history.csv").write_text(f"{header}\n")
    again = run("train", "--resume", "--run", "r")
    assert again.exit_code == 0, again.output
    assert Path("r/checkpoints/latest.msinet.h5").exists()


def test_black_maps_are_not_praised(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    black = shutil.copytree(tiny_data, tmp_path / "black maps")
    for file in (black / "saliency").rglob("*.png"):
        Image.new("L", Image.open(file).size).save(file)
    arguments = ("train", "--data", black, "--run", "r", *BEGIN, "--image-size", "32x40")
    result = run(*arguments)
    assert "A loss of exactly 0" in result.output
    assert f"msinet-run data check '{black}'" in result.output
