from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.data.images import find_images, read_image
from msinet_core.device import Model
from msinet_core.errors import InterruptedRunError
from msinet_core.network.msinet import msinet_graph
from msinet_core.prediction.files import predict_files
from msinet_core.prediction.outputs import plan_outputs
from msinet_core.prediction.predictor import Predictor
from msinet_core.registry.registry import load_registry
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.training.initial_weights import random_state

if TYPE_CHECKING:
    from tests.conftest import Run

REFERENCE = ("--device", "reference")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    graph = msinet_graph(0.02)
    path = tmp_path / "narrow.msinet.h5"
    save_checkpoint(
        path, Checkpoint(graph, random_state(graph, 1), metadata={"image_size": [24, 32]})
    )
    return path


def write_image(path: Path, height: int = 36, width: int = 50, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, (height, width) in enumerate([(36, 50), (50, 36), (24, 32)]):
        write_image(folder / f"{number}.jpg", height, width, number)
    write_image(folder / "sub" / "deep" / "0.png", seed=3)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_each_map_has_the_path_and_the_size_of_its_image(run: Run, weights, photos):
    result = run(*REFERENCE, "predict", photos, "--weights", weights, "--batch-size", "3")
    assert result.exit_code == 0, result.output
    assert files(Path("maps")) == ["0.jpeg", "1.jpeg", "2.jpeg", "sub/deep/0.jpeg"]
    for name, source in (("1.jpeg", "1.jpg"), ("sub/deep/0.jpeg", "sub/deep/0.png")):
        with Image.open(Path("maps") / name) as map_, Image.open(photos / source) as image:
            assert (map_.format, map_.mode, map_.size) == ("JPEG", "L", image.size)
    assert "predict  4/4 images" in result.stderr
    assert "4 of 4" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("format_", ["png", "npy"])
def test_maps_are_those_of_the_predictor(run: Run, weights, photos, format_):
    options = ("--weights", weights, "--format", format_, "--out", "out")
    assert run("predict", photos / "0.jpg", *options, *REFERENCE).exit_code == 0
    checkpoint = read_weights(weights)
    model = load_registry().spec("reference").open().compile(checkpoint.graph, checkpoint.state)
    expected = Predictor(model, checkpoint.graph, (24, 32)).predict(read_image(photos / "0.jpg"))
    path = Path("out") / f"0.{format_}"
    if format_ == "npy":
        found = np.load(path)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        np.testing.assert_allclose(np.asarray(Image.open(path)) / 255, expected, atol=0.51 / 255)


def test_overlays_and_the_contact_sheet_show_the_results(run: Run, weights, photos):
    result = run(*REFERENCE, "predict", photos, "--weights", weights, "--overlay")
    assert result.exit_code == 0, result.output
    assert files(Path("maps")) == [
        "0.jpeg",
        "0_overlay.jpeg",
        "1.jpeg",
        "1_overlay.jpeg",
        "2.jpeg",
        "2_overlay.jpeg",
        "overview.png",
        "sub/deep/0.jpeg",
        "sub/deep/0_overlay.jpeg",
    ]
    with Image.open("maps/1_overlay.jpeg") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (36, 50))
    assert "maps/overview.png" in result.stderr.replace("\\", "/")


def test_the_contact_sheet_samples_many_images_evenly(run: Run, tmp_path, weights, monkeypatch):
    from msinet_core.prediction import files as prediction

    for number in range(30):
        write_image(tmp_path / "many" / f"{number:02d}.jpg", 8, 8, number)
    sheets = []
    monkeypatch.setattr(
        prediction,
        "write_contact_sheet",
        lambda path, panels, title: sheets.append(([panel.name for panel in panels], title)),
    )
    arguments = ("predict", tmp_path / "many", "--weights", weights, "--overlay")
    assert run(*REFERENCE, *arguments, "--image-size", "8x8").exit_code == 0
    ((names, title),) = sheets
    assert len(names) == 24
    assert (names[0], names[-1]) == ("00.jpg", "29.jpg")
    assert title == "24 of 30 images, evenly sampled"


@pytest.mark.parametrize("format", ["jpeg", "npy"])
def test_the_contact_sheet_is_filled_with_images_that_succeeded(
    run: Run, tmp_path, weights, monkeypatch, format
):
    from msinet_core.prediction import files as prediction

    for number in range(30):
        write_image(tmp_path / "many" / f"{number:02d}.jpg", 8, 8, number)
        if number % 7 == 0:
            (tmp_path / "many" / f"{number:02d}.jpg").write_text("not an image")
    sheets = []
    monkeypatch.setattr(
        prediction,
        "write_contact_sheet",
        lambda path, panels, title: sheets.append((panels, title)),
    )
    arguments = ("predict", tmp_path / "many", "--weights", weights, "--overlay")
    result = run(*REFERENCE, *arguments, "--image-size", "8x8", "--format", format)
    assert result.exit_code == 1
    ((panels, title),) = sheets
    names = [panel.name for panel in panels]
    assert len(set(names)) == 24
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("01.jpg", "29.jpg")
    assert title == "24 of 30 images, evenly sampled"
    assert all(panel.saliency.shape == panel.image.shape[:2] for panel in panels)


@pytest.mark.parametrize("left", [2, 0])
def test_images_that_vanish_are_left_out_of_the_contact_sheet(
    run: Run, tmp_path, weights, monkeypatch, left
):
    from msinet_core.prediction import files as prediction

    photos = [tmp_path / "photos" / f"{number}.jpg" for number in range(4)]
    for number, photo in enumerate(photos):
        write_image(photo, 8, 8, number)
    draw = prediction.make_panel

    def read_and_delete(path: Path, image: Any, saliency: Any) -> None:
        write_overlay(path, image, saliency)
        if path.name[0] >= str(left):
            (tmp_path / "photos" / f"{path.name[0]}.jpg").unlink()

    write_overlay = prediction.write_overlay
    names: list[str] = []
    monkeypatch.setattr(prediction, "write_overlay", read_and_delete)
    monkeypatch.setattr(
        prediction, "make_panel", lambda name, *rest: (names.append(name), draw(name, *rest))[1]
    )
    result = run(*REFERENCE, "predict", tmp_path / "photos", "--weights", weights, "--overlay")
    assert result.exit_code == 0, result.output
    assert sorted(names) == [photo.name for photo in photos[:left]]
    assert Path("maps/overview.png").exists() == (left > 0)
    assert len(list(Path("maps").glob("*_overlay.jpeg"))) == 4


def test_bad_files_are_listed_and_do_not_stop_the_rest(run: Run, weights, photos):
    (photos / "cut.jpg").write_bytes((photos / "0.jpg").read_bytes()[:700])
    (photos / "text.png").write_text("not an image")
    result = run(*REFERENCE, "predict", photos, "--weights", weights, "--overlay")
    assert result.exit_code == 1
    assert "2 of 6" in result.stderr
    assert result.stderr.count("cut.jpg") == 1
    assert result.stderr.count("text.png") == 1
    assert "Traceback" not in result.output
    assert len(files(Path("maps"))) == 9


def test_nothing_but_bad_files_leaves_no_contact_sheet(run: Run, tmp_path, weights):
    (tmp_path / "bad.jpg").write_text("not an image")
    result = run(*REFERENCE, "predict", "bad.jpg", "--weights", weights, "--overlay")
    assert result.exit_code == 1
    assert not Path("maps").exists()


def test_images_of_one_name_get_longer_names(run: Run, weights, photos):
    write_image(photos / "0.png", seed=9)
    result = run(*REFERENCE, "predict", photos, "--weights", weights)
    assert result.exit_code == 0, result.output
    assert {"0_jpg.jpeg", "0_png.jpeg"} <= set(files(Path("maps")))
    assert "0_png.jpeg" in result.stderr or "0_jpg.jpeg" in result.stderr


def test_a_second_run_does_not_read_the_maps_of_the_first(run: Run, tmp_path, weights, photos):
    for _ in range(2):
        result = run(*REFERENCE, "predict", photos, "--weights", weights, "--out", photos / "maps")
        assert result.exit_code == 0, result.output
    assert "Skipped 4" in result.stderr
    assert len(files(photos / "maps")) == 4


def test_shards_write_all_maps_once_and_skip_existing_ones(run: Run, weights, photos, monkeypatch):
    arguments = (*REFERENCE, "predict", photos, "--weights", weights, "--overlay")
    assert run(*arguments, "--shard", "0/3").exit_code == 0
    assert len(list(Path("maps").rglob("*_overlay.jpeg"))) == 2
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert run(*arguments).exit_code == 0
    monkeypatch.delenv("RANK")
    result = run(*arguments, "--skip-existing")
    assert result.exit_code == 0, result.output
    assert "1/1 images" in result.stderr
    assert len(list(Path("maps").rglob("*_overlay.jpeg"))) == 4
    assert len(list(Path("maps").glob("overview*.png"))) == 3
    before = {path: path.stat().st_mtime_ns for path in Path("maps").rglob("*.jpeg")}
    assert run(*arguments, "--skip-existing").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in Path("maps").rglob("*.jpeg")} == before


def test_nothing_is_said_about_skipping_nothing(run: Run, weights, photos):
    result = run(*REFERENCE, "predict", photos, "--weights", weights, "--skip-existing")
    assert result.exit_code == 0
    assert "Skipped 0" not in result.stderr


def test_images_in_other_formats_are_named(run: Run, weights, photos):
    (photos / "phone.heic").write_bytes(b"not read")
    result = run(*REFERENCE, "predict", photos, "--weights", weights)
    assert result.exit_code == 0
    assert "phone.heic" in result.stderr


def test_maps_never_replace_images(run: Run, weights, photos):
    (photos / "0.jpg").rename(photos / "0.jpeg")
    before = (photos / "0.jpeg").read_bytes()
    result = run(*REFERENCE, "predict", photos, "--weights", weights, "--out", photos)
    assert result.exit_code == 2
    assert (photos / "0.jpeg").read_bytes() == before


def test_images_can_be_predicted_at_their_own_size(run: Run, weights, photos):
    options = ("--image-size", "original", "--format", "npy", "--batch-size", "2")
    result = run(*REFERENCE, "predict", photos, "--weights", weights, *options)
    assert result.exit_code == 0, result.output
    checkpoint = read_weights(weights)
    model = load_registry().spec("reference").open().compile(checkpoint.graph, checkpoint.state)
    own = model.predict(read_image(photos / "2.jpg")[None].astype(np.float32))
    np.testing.assert_allclose(np.load("maps/2.npy"), np.asarray(own)[0, ..., 0], atol=1e-6)
    assert np.load("maps/1.npy").shape == (50, 36)


class Compiling(Model):
    """A device that keeps the program of one shape, as OpenVINO's keeps those of a few sizes."""

    device_name = "compiling"

    def __init__(self) -> None:
        self.compiled: list[tuple[int, ...]] = []

    def predict(self, images):
        if self.compiled[-1:] != [images.shape]:
            self.compiled.append(images.shape)
        return images[..., :1] / 255

    forward = predict

    def state(self):
        raise AssertionError("prediction only")


def test_each_size_is_compiled_once(tmp_path):
    sizes = [(24, 32), (32, 24), (17, 31), (40, 8)]  # the third one is padded to the first
    for number in range(12):
        write_image(tmp_path / "many" / f"{number:02d}.png", *sizes[number % 4])
    (tmp_path / "many" / "00.txt.png").write_text("damaged")
    plan = plan_outputs(find_images([tmp_path / "many"]), tmp_path / "maps")
    model = Compiling()
    report = predict_files(Predictor(model, msinet_graph(0.02), None), plan)
    assert sorted(model.compiled) == [(1, 24, 32, 3), (1, 32, 24, 3), (1, 40, 8, 3)]
    assert [path.name for path in report.written] == [f"{number:02d}.jpeg" for number in range(12)]
    assert [path.name for path, _ in report.failures] == ["00.txt.png"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["missing.jpg"], 2, "missing.jpg"),
        (["empty"], 1, "no images"),
        (["photos", "--image-size", "100x100"], 2, "100x100"),
        (["photos", "--image-size", "big"], 2, "big"),
        (["photos", "--batch-size", "-1"], 2, "-1"),
        (["photos", "--image-size", "0x0"], 2, "0x0"),
        (["photos", "--format", "pgn"], 2, "'png'"),
        (["photos", "--shard", "2/2"], 2, "2/2"),
        (["photos", "--device", "warp"], 2, "warp"),
        (["photos", "--precision", "float16", "--device", "reference"], 2, "float16"),
        ([], 2, "PATH"),
    ],
)
def test_wrong_arguments_are_refused(
    run: Run, tmp_path, weights, photos, arguments, exit_code, message
):
    (tmp_path / "empty").mkdir()
    result = run("predict", *arguments, "--weights", weights)
    assert result.exit_code == exit_code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not Path("maps").exists()


def test_missing_weights_are_wrong_usage(run: Run, photos):
    result = run("predict", photos, "--weights", "none.msinet.h5")
    assert result.exit_code == 2
    assert "none.msinet.h5" in result.stderr


def test_weights_of_a_similar_name_are_suggested(run: Run, weights, photos):
    result = run("predict", photos, "--weights", weights.with_name(f"{weights.name}5"))
    assert result.exit_code == 2
    assert f"'{weights.name}'" in result.stderr


@pytest.mark.parametrize("above", [False, True])
def test_of_a_dataset_only_the_stimuli_are_predicted(run: Run, weights, tiny_data, above):
    folder = tiny_data.parent if above else tiny_data
    (tiny_data.parent / "saliency.png").write_bytes(
        (tiny_data / "stimuli/train/train00.png").read_bytes()
    )
    result = run(*REFERENCE, "predict", folder, "--weights", weights, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "Skipped 8" in result.stderr
    assert len(files(Path("out"))) == (9 if above else 8)


def test_maps_that_are_listed_themselves_are_predicted(run: Run, weights, tiny_data):
    result = run(*REFERENCE, "predict", tiny_data / "saliency", "--weights", weights)
    assert result.exit_code == 0, result.output
    assert "Skipped" not in result.stderr
    assert len(files(Path("maps"))) == 8


def test_one_odd_entry_of_a_folder_fails_alone(run: Run, weights, photos):
    (photos / "loop.jpg").symlink_to("loop.jpg")
    (photos / "folder").symlink_to(".")
    os.mkfifo(photos / "pipe.png")
    write_image(photos / ("n" * 251 + ".jpg"))  # the map's suffix is one letter longer
    write_image(photos / ("m" * 250 + ".jpg"))
    result = run(*REFERENCE, "predict", photos, "--weights", weights)
    assert result.exit_code == 1, result.output
    assert "3 of 8" in result.stderr
    for name in ("loop.jpg", "pipe.png", "nnn"):
        assert name in result.stderr
    assert len(files(Path("maps"))) == 5


def test_an_output_that_cannot_be_written_stops_the_run(run: Run, weights, photos):
    Path("file").write_text("not a folder")
    result = run(*REFERENCE, "predict", photos, "--weights", weights, "--out", "file/maps")
    assert result.exit_code == 1
    assert "file/maps" in result.stderr
    assert "Traceback" not in result.output


def test_an_interrupted_run_says_how_many_maps_are_written(tmp_path, weights):
    for number in range(40):
        write_image(tmp_path / "many" / f"{number}.jpg", seed=number)
    checkpoint = read_weights(weights)
    model = load_registry().spec("reference").open().compile(checkpoint.graph, checkpoint.state)
    predictor = Predictor(model, checkpoint.graph, (24, 32), batch_size=2, workers=2)
    plan = plan_outputs(find_images([tmp_path / "many"]), tmp_path / "maps")
    flag = InterruptFlag()
    flag.set()
    with pytest.raises(InterruptedRunError) as caught:
        predict_files(predictor, plan, Progress(), flag)
    count = len(list((tmp_path / "maps").iterdir()))
    assert 1 <= count < 40
    assert f"{count} of 40" in str(caught.value)


def test_ctrl_c_ends_the_reading_of_sizes(tmp_path, weights, monkeypatch):
    for number in range(40):
        write_image(tmp_path / "many" / f"{number}.jpg", seed=number)
    checkpoint = read_weights(weights)
    model = load_registry().spec("reference").open().compile(checkpoint.graph, checkpoint.state)
    predictor = Predictor(model, checkpoint.graph, None, workers=2)
    plan = plan_outputs(find_images([tmp_path / "many"]), tmp_path / "maps")
    flag, looked_at = InterruptFlag(), []

    def slowly(path):
        time.sleep(0.02)
        looked_at.append(path)
        return 24, 32

    monkeypatch.setattr("msinet_core.prediction.files.image_size", slowly)
    flag.set()
    with pytest.raises(InterruptedRunError, match="0 of 40"):
        predict_files(predictor, plan, Progress(), flag)
    assert len(looked_at) < 20


def test_ctrl_c_ends_with_130_and_complete_files(tmp_path, weights):
    for number in range(600):
        write_image(tmp_path / "many" / f"{number:03d}.jpg", seed=number)
    command = [sys.executable, "-c", "from msinet_core.cli import main; main()", *REFERENCE]
    command += ["predict", "many", "--weights", str(weights), "--batch-size", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    maps = tmp_path / "maps"
    deadline = time.monotonic() + 60
    while not (maps.is_dir() and any(maps.glob("*.jpeg"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    written = sorted(maps.iterdir())
    assert f"{len(written)} of 600" in stderr
    assert "Traceback" not in stderr
    for path in written:
        read_image(path)
