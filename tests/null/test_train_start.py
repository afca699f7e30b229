"""Starting and resuming a run: the lock, the image size, loggers, and progress."""

from __future__ import annotations

import errno
import gc
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from PIL import Image

from msinet_core.checkpoint import Checkpoint, load_checkpoint
from msinet_core.data.dataset import open_dataset
from msinet_core.device import Capabilities
from msinet_core.errors import InterruptedRunError, MsinetError, UsageError
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress, Task
from msinet_core.training import resume, start
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config
from msinet_core.training.prepare import choose_image_size, prepare
from msinet_core.training.run_folder import RunFolder, new_run_path
from msinet_core.training.start import start_training
from msinet_core.training.trainer import Trainer

if TYPE_CHECKING:
    from tests.conftest import Run

SMALL = ("--device", "reference", "--learning-rate", "1e-3", "--epochs", "1")
BEGIN = (*SMALL, "--width", "0.04", "--init", "random")


class Recorder(Progress):
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
    tmp_path: Path, tiny_data: Path
) -> None:
    run = RunFolder(tmp_path / "r")
    start_training(config(tiny_data), run, SPEC)
    run.latest.write_text("half a checkpoint, as another process is writing it")
    with run.locked(), pytest.raises(UsageError, match="Another process"):
        start_training(config(tiny_data, epochs=2), run, SPEC, resume=True)


def test_the_lock_is_held_while_the_checkpoint_is_read(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "r")
    start_training(config(tiny_data), run, SPEC)
    busy: list[Path] = []

    def load(path: Path) -> Checkpoint:
        with pytest.raises(UsageError), run.locked():
            pass
        busy.append(path)
        return load_checkpoint(path)

    monkeypatch.setattr(resume, "load_checkpoint", load)
    assert len(start_training(config(tiny_data, epochs=2), run, SPEC, resume=True)) == 2
    assert busy == [run.latest]


class SlowDevice(ReferenceDevice):
    """A device that opens so slowly that another process trains meanwhile."""

    folder: ClassVar[RunFolder]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.folder.latest.parent.mkdir(parents=True)
        self.folder.latest.write_text("another process's")


def test_a_folder_that_another_process_trained_in_meanwhile_is_left_alone(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SlowDevice.folder = RunFolder(tmp_path / "r")
    plugin = ModuleType("slow_plugin")
    plugin.SlowDevice = SlowDevice  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    slow = replace(SPEC, factory="slow_plugin:SlowDevice")
    with pytest.raises(UsageError, match="Another process"):
        start_training(config(tiny_data), run, slow)
    assert run.latest.read_text() == "another process's"
    assert not run.config.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is another one")
def test_a_lock_that_fails_is_not_taken_for_a_busy_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(MsinetError, match="No locks available") as error,
        RunFolder(tmp_path / "r").locked(),
    ):
        pass
    assert error.value.exit_code == 1


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from msinet_core.training.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    run = RunFolder(tmp_path / "r")
    command = [sys.executable, "-c", program, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UsageError), run.locked():
            pass
        process.kill()
    with run.locked():
        assert (run.path / ".lock").exists()


def test_a_run_takes_the_image_size_that_its_weights_were_trained_at(
    run: Run, tiny_data: Path
) -> None:
    first = run("train", "--data", tiny_data, "--run", "a", "--image-size", "32x40", *BEGIN)
    assert first.exit_code == 0, first.output
    weights = "a/checkpoints/best.msinet.h5"
    result = run("train", "--data", tiny_data, "--run", "b", "--init", weights, *SMALL)
    assert result.exit_code == 0, result.output
    assert "32x40" in result.stderr
    assert read_config(Path("b/config.toml")).image_size == (32, 40)
    other = ("--image-size", "40x32")
    result = run("train", "--data", tiny_data, "--run", "c", "--init", weights, *SMALL, *other)
    assert result.exit_code == 0, result.output
    assert "32x40" in result.stderr  # a remark that the size differs
    assert read_config(Path("c/config.toml")).image_size == (40, 32)


def test_a_dataset_with_its_own_size_keeps_it(tiny_data: Path) -> None:
    dataset = open_dataset(str(tiny_data))
    assert not dataset.has_own_size
    settings = config(tiny_data, image_size=None)
    own = replace(dataset, name="mit1003", image_size=(360, 360), has_own_size=True)
    size, note = choose_image_size(settings, own, (32, 40))
    assert size == (360, 360)
    assert "32x40" in note
    assert choose_image_size(settings, dataset, None) == (DEFAULT_IMAGE_SIZE, "")


def test_losses_go_to_tensorboard_also_in_a_resumed_run(run: Run, tiny_data: Path) -> None:
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
            start_training(config(tiny_data, batch_size=2), run, SPEC, interrupt=flag)
    recorder = Recorder()
    start_training(config(tiny_data, batch_size=2), run, SPEC, resume=True, progress=recorder)
    assert ("epoch 1/1", 5, 2) in recorder.tasks


def test_plain_progress_counts_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    from msinet_core.system.progress_bars import progress_bars

    with progress_bars().task("epoch 1/1", 5, done=3) as task:
        task.advance(2)
    assert "epoch 1/1  5/5 images" in capsys.readouterr().err


def test_the_remaining_time_follows_the_share_of_the_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from msinet_core.system import progress_bars

    now = [0.0]
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: now[0])
    with progress_bars.progress_bars().task("rows", 10, "rows") as task:
        now[0] = 30.0
        task.advance(5, share=0.1)
        now[0] = 60.0
        task.advance(4)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(" 4:30 left")
    assert second.endswith(" 0:07 left")


def test_a_part_of_a_dataset_suggests_the_whole(run: Run, tiny_data: Path) -> None:
    result = run("train", "--data", "tiny/stimuli", *BEGIN)
    assert result.exit_code == 2
    assert "'tiny'" in result.stderr


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
def test_a_missing_file_is_wrong_usage_everywhere(
    run: Run, tiny_data: Path, arguments: tuple[str, ...]
) -> None:
    result = run("--device", "reference", *arguments)
    assert result.exit_code == 2, result.output
    assert result.output.strip()
    assert sorted(path.name for path in Path().iterdir()) == ["tiny"]


def test_a_resumed_run_finds_its_data_in_another_folder(
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


def test_a_resumed_run_refuses_images_with_other_names(
    run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", *BEGIN, "--image-size", "32x40")
    assert run(*arguments).exit_code == 0
    other = shutil.copytree(tiny_data, tmp_path / "other")
    for folder in ("stimuli", "saliency"):
        picture = next((other / folder / "train").iterdir())
        picture.rename(picture.with_stem("another"))
    result = run("train", "--resume", "--run", "r", "--epochs", "2", "--data", other)
    assert result.exit_code == 1, result.output
    assert "--init" in result.output


def test_what_may_be_wrong_with_the_images_and_weights_is_said(run: Run, tiny_data: Path) -> None:
    for part in ("stimuli", "saliency"):
        shutil.copy(tiny_data / part / "train/train00.png", tiny_data / part / "val/again.png")
    shutil.copy(tiny_data / "stimuli/val/val00.png", tiny_data / "stimuli/loose.png")
    result = run("train", "--data", tiny_data, "--run", "r", *BEGIN, "--freeze", "encoder")
    assert result.exit_code == 0, result.output
    assert "Images in both splits: 1" in result.stderr
    assert "stimuli/loose.png" in result.stderr
    assert "frozen encoder will stay random" in result.stderr


def test_an_image_that_changes_during_a_run_is_recorded(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, "--run", "r", *BEGIN).exit_code == 0
    image = tiny_data / "stimuli/train/train00.png"
    unseen = tiny_data / "stimuli/val/val00.png"
    image.write_bytes(unseen.read_bytes())
    assert run("train", "--resume", "--run", "r", "--epochs", "2").exit_code == 0
    result = run(
        *("--device", "reference", "evaluate", "--data", tiny_data, "--no-baselines"),
        *("--weights", "r/checkpoints/latest.msinet.h5", "--json"),
    )
    assert json.loads(result.stdout)["images"] == 2, "of three"


def test_a_network_larger_than_the_memory_is_refused(run: Run, tiny_data: Path) -> None:
    wide = ("train", "--data", tiny_data, "--run", "r", *SMALL, "--init", "random")
    result = run(*wide, "--width", "300", "--image-size", "32x40")
    assert result.exit_code == 2, result.output
    assert "GiB" in result.output
    assert "--width" in result.output


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_over(
    run: Run, tiny_data: Path
) -> None:
    arguments = ("train", "--data", tiny_data, "--run", "r", *BEGIN, "--image-size", "32x40")
    assert run(*arguments).exit_code == 0
    Path("r/checkpoints/latest.msinet.h5").unlink()
    kept = run("train", "--resume", "--run", "r")
    assert kept.exit_code == 1, kept.output
    assert "latest.msinet.h5" in kept.output
    header = Path("r/history.csv").read_text().splitlines()[0]
    # As if the disk had been full after the best weights.
    Path("r/history.csv").write_text(f"{header}\n")
    again = run("train", "--resume", "--run", "r")
    assert again.exit_code == 0, again.output
    assert Path("r/checkpoints/latest.msinet.h5").exists()


def test_empty_maps_are_reported(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    black = shutil.copytree(tiny_data, tmp_path / "black maps")
    for file in (black / "saliency").rglob("*.png"):
        Image.new("L", Image.open(file).size).save(file)
    arguments = ("train", "--data", black, "--run", "r", *BEGIN, "--image-size", "32x40")
    result = run(*arguments)
    assert f"msinet-run data check '{black}'" in result.output


class Distributing(ReferenceDevice):
    """Record how it was opened, and stop there."""

    def __init__(self, *given: Any, **keywords: Any) -> None:
        raise UsageError(f"opened with {keywords}")


@pytest.mark.parametrize(
    ("batch_size", "distribute", "limit"), [(1, "auto", 1), (3, "auto", 3), (3, "mirrored", None)]
)
def test_at_most_as_many_devices_as_images_are_chosen(
    batch_size: int,
    distribute: str,
    limit: int | None,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugin = ModuleType("plugin_of_many")
    plugin.Distributing = Distributing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    capabilities = Capabilities(distribution=("mirrored", "multiworker"), cluster_variable="HOSTS")
    spec = replace(SPEC, capabilities=capabilities, factory="plugin_of_many:Distributing")
    config = TrainConfig(
        data=str(tiny_data),
        device="reference",
        width=0.04,
        init="random",
        batch_size=batch_size,
        distribute=distribute,
    )
    with pytest.raises(UsageError) as refusal:
        start_training(config, RunFolder(tmp_path / "run"), spec)
    expected = {"distribute": distribute} | ({} if limit is None else {"max_devices": limit})
    assert str(refusal.value) == f"opened with {expected}"


def test_a_run_is_not_written_into_its_dataset(run: Run, tiny_data: Path) -> None:
    command = ("--device", "reference", "train", "--data", tiny_data, "--init", "random")
    before = sorted(tiny_data.rglob("*"))
    for folder in (tiny_data, tiny_data / "stimuli", tiny_data / "saliency" / "run"):
        assert run(*command, "--run", folder).exit_code == 2
    assert sorted(tiny_data.rglob("*")) == before


def test_a_folder_with_the_name_of_a_dataset_is_noted(
    run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_data.rename(tiny_data.with_name("demo"))
    monkeypatch.chdir(tiny_data.parent)
    command = ("train", "--init", "random", "--width", "0.04", "--image-size", "32x40", "--dry-run")
    for name, noted in (("demo", True), ("./demo", False)):
        result = run("--device", "reference", *command, "--data", name)
        assert result.exit_code == 0, result.output
        assert ("write ./demo" in result.output) == noted


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: new_run_path(".", "cpu"), range(8)))
    assert len(set(paths)) == 8
    assert all(path.is_dir() and path.name.startswith(f"{tmp_path.name}-cpu-") for path in paths)
    shutil.rmtree("runs")
    Path("runs").touch()
    with pytest.raises(MsinetError, match="--run"):
        new_run_path("demo", "cpu")


def test_a_run_that_does_not_begin_leaves_no_folder(run: Run, tiny_data: Path) -> None:
    assert run("train", "--data", tiny_data, *BEGIN, "--init", "missing.h5").exit_code == 2
    assert run("train", "--data", tiny_data, *BEGIN, "--dry-run").exit_code == 0
    assert list(Path("runs").glob("*")) == []


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_keeps_no_second_copy_of_weights_and_moments(
    run: Run, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    if resumed:
        run("train", "--data", tiny_data, *BEGIN, "--run", tmp_path / "a")
    given = []

    def prepared(*arguments: Any, **named: Any) -> Any:
        found, state = prepare(*arguments, **named)
        tensors = [state.weights, *([state.optimizer.m] if state.optimizer else [])]
        given.extend(weakref.ref(array) for one in tensors for array in one.values())
        return found, state

    def fit(trainer: Trainer) -> list[Any]:
        gc.collect()
        assert given
        assert [reference() for reference in given if reference() is not None] == []
        return []

    monkeypatch.setattr(start, "prepare", prepared)
    monkeypatch.setattr(Trainer, "fit", fit)
    more = ("--resume", "--epochs", "2") if resumed else ("--data", tiny_data, *BEGIN)
    result = run("train", *more, "--device", "reference", "--run", tmp_path / "a")
    assert given
    assert result.exit_code == 0, result.stderr
