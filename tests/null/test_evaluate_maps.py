"""Anyone's maps are scored with the same code, compared in pairs, and shown on a page."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import msinet_core as msinet
from msinet_core.data.dataset import open_dataset
from msinet_core.data.sample import Sample
from msinet_core.errors import (
    DataError,
    EvaluationError,
    InterruptedRunError,
    MsinetError,
    UsageError,
)
from msinet_core.evaluation.fixation_bank import FixationBank
from msinet_core.evaluation.map_files import MapFolder
from msinet_core.evaluation.report_page import histogram, write_report
from msinet_core.evaluation.result import intervals
from msinet_core.evaluation.scoring import Scorer, read_maps, score_samples
from msinet_core.metrics.likelihood import calibrated, to_cells
from msinet_core.system import files
from msinet_core.system.interrupt import InterruptFlag

if TYPE_CHECKING:
    from tests.conftest import Run

IMAGES = 8
SIZE = (48, 64)


def spot(center: np.ndarray, width: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    square = (rows - center[0]) ** 2 + (columns - center[1]) ** 2
    return np.exp(-square / (2 * width**2))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fixations of four observers around a point of each image, no maps, and two models' maps."""
    folder = tmp_path_factory.mktemp("seen")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        center = rng.uniform((10, 10), (38, 54))
        name = f"{number:02d}"
        for part in ("own/stimuli/val", "own/stimuli/train", "own/fixations/val"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"own/stimuli/val/{name}.png")
        points = np.clip(rng.normal(center, 4, (20, 2)), 0, (47, 63)).round(1)
        rows = [f"{k % 4},{x},{y}" for k, (y, x) in enumerate(points)]
        table = "\n".join(["Subject,X,Y", *rows])
        (folder / f"own/fixations/val/{name}.csv").write_text(table)
        for model, shift in (("good", 2.0), ("poor", 9.0)):
            (folder / model).mkdir(exist_ok=True)
            map = spot(center + rng.normal(0, shift, 2), 8)
            np.save(folder / model / f"{name}.npy", 1000 * map)
    shutil.copytree(folder / "own/fixations/val", folder / "own/fixations/train")
    for path in (folder / "own/stimuli/val").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(
            folder / "own/stimuli/train" / path.name
        )
    return folder


@pytest.fixture(scope="module")
def good(seen: Path) -> msinet.Evaluation:
    report = seen / "report.html"
    return msinet.evaluate(data=seen / "own", maps=seen / "good", sigma=4, report=report)


def test_maps_are_scored_like_a_network(good: msinet.Evaluation) -> None:
    summary = good.summary()
    assert summary["nss"]["model"].n == IMAGES
    assert summary["loss"]["model"].n == 0
    assert (good.device, good.image_size, good.sigma) == ("", None, 4)
    assert good.sources == (
        *("model", "uniform", "center", "center_bias", "observers", "observers_loo"),
    )
    for metric in ("nss", "auc_judd", "auc_borji", "shuffled_auc", "information_gain"):
        assert summary[metric]["model"].mean > summary[metric]["center_bias"].mean, metric
        assert 0 < good.share_of_limit(metric) < 1.3
    assert summary["log_likelihood"]["model"].mean > summary["log_likelihood"]["center_bias"].mean
    assert summary["log_likelihood"]["uniform"].mean == pytest.approx(0, abs=1e-9)


def test_the_scale_of_a_map_does_not_matter(seen: Path, tmp_path: Path, good) -> None:
    for path in (seen / "good").iterdir():
        np.save(tmp_path / path.name, np.load(path) * 1e-6)
    again = msinet.evaluate(data=seen / "own", maps=tmp_path, sigma=4, baselines=False)
    for one, other in zip(again.images, good.images, strict=True):
        assert dict(one.model) == pytest.approx(dict(other.model), rel=1e-4, nan_ok=True)


def test_maps_that_cannot_be_used_are_reported(seen: Path, tmp_path: Path) -> None:
    def scored(**options: object) -> msinet.Evaluation:
        return msinet.evaluate(data=seen / "own", maps=tmp_path, baselines=False, **options)

    with pytest.raises(UsageError, match=r"00\.png"):
        scored()
    np.save(tmp_path / "00.npy", np.full(SIZE, -1.0))
    np.save(tmp_path / "01.npy", np.zeros((3, 4, 5)))
    np.save(tmp_path / "02.npy", np.ones((SIZE[1], SIZE[0])))
    np.save(tmp_path / "03.npy", np.ones((SIZE[0] // 2, SIZE[1] // 2)))
    with (tmp_path / "04.npy").open("wb") as stream:
        np.savez(stream, np.ones(SIZE))
    evaluation = scored()
    assert [image.name for image in evaluation.images] == ["val/03.png"]
    reasons = dict(evaluation.failures)
    assert "logarithms" in reasons["val/00.png"]
    assert "(3, 4, 5)" in reasons["val/01.png"]
    assert "aspect ratio" in reasons["val/02.png"]
    assert ".npz" in reasons["val/04.png"]
    (tmp_path / "04.npy").write_bytes(b"PK\x03\x04 and no more")
    assert "04.npy" in dict(scored().failures)["val/04.png"]
    (tmp_path / "04.npy").unlink()
    assert "no map" in dict(scored().failures)["val/04.png"]
    Image.new("L", SIZE[::-1]).save(tmp_path / "03.png")
    with pytest.raises(UsageError, match="several maps"):
        scored()


def test_nothing_is_scored_after_ctrl_c(
    seen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (seen / "good").glob("*"):
        shutil.copy(path, tmp_path)
    score, scored = Scorer.score, list[str]()

    def slowly(self: Scorer, sample: Sample, *arguments: Any) -> Any:
        time.sleep(0.05)
        scored.append(sample.name)
        return score(self, sample, *arguments)

    def interrupt(self: InterruptFlag, message: str) -> None:
        raise InterruptedRunError(message)

    monkeypatch.setattr(Scorer, "score", slowly)
    monkeypatch.setattr(InterruptFlag, "raise_if_set", interrupt)
    with pytest.raises(InterruptedRunError) as kept:  # a notebook keeps the last exception
        msinet.evaluate(data=seen / "own", maps=tmp_path, baselines=False, workers=1)
    count = len(scored)
    time.sleep(0.2)
    assert 1 <= count == len(scored) < 4
    del kept


def test_maps_of_a_predicted_dataset_are_found_below_stimuli(seen: Path, tmp_path: Path) -> None:
    shutil.copytree(seen / "good", tmp_path / "stimuli" / "val")
    found = msinet.evaluate(data=seen / "own", maps=tmp_path, baselines=False)
    assert len(found.images) == IMAGES and not found.failures


def test_the_order_of_images_changes_no_score(seen: Path) -> None:
    dataset = open_dataset(str(seen / "own"), need_maps=False)
    samples = dataset.valid

    def scores(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
        scorer = Scorer(FixationBank(dataset.samples), None, False, False)
        outcomes = read_maps(MapFolder(seen / "good", samples).read, samples, scorer, 1)
        found = score_samples(samples, outcomes, scorer)
        return {image.name: dict(image.model) for image in found.images}

    one, other = scores(samples), scores([*samples[3:], *samples[:3]])
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values == pytest.approx(other[name], rel=1e-12, nan_ok=True)


def test_coordinates_in_another_unit_are_noted(seen: Path, tmp_path: Path) -> None:
    own = shutil.copytree(seen / "own", tmp_path / "own")
    for path in own.glob("fixations/**/*.csv"):
        rows = [row.split(",") for row in path.read_text().split()[1:]]
        larger = [f"{float(x) * 4},{float(y) * 4}" for _, x, y in rows]
        path.write_text("\n".join(["x,y", *larger]))
    found = msinet.evaluate(data=own, maps=seen / "good", baselines=False)
    assert any("outside" in note and "%" in note for note in found.notes)


def test_weights_or_maps_but_not_both(run: Run, seen: Path) -> None:
    data = ("evaluate", "--data", seen / "own")
    assert run(*data).exit_code == 2
    assert run(*data, "--maps", seen / "good", "--weights", "w.h5").exit_code == 2
    assert run(*data, "--maps", seen / "nowhere").exit_code == 2


WITHOUT_EFFECT = (
    *(("--device", "reference"), ("--precision", "float32"), ("--resize", "half_pixel")),
    *(("--image-size", "32x40"), ("--batch-size", "8"), ("-O", "a=b")),
)


@pytest.mark.parametrize("option", WITHOUT_EFFECT, ids=lambda option: option[0])
def test_options_of_a_network_are_refused_with_maps(
    run: Run, seen: Path, option: tuple[str, str]
) -> None:
    result = run("evaluate", "--data", seen / "own", "--maps", seen / "good", *option)
    assert result.exit_code == 2
    assert {"-O": "--device-option"}.get(option[0], option[0]) in result.stderr


def test_a_device_that_was_not_given_for_the_maps_is_no_error(
    run: Run, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSINET_DEVICE", "nowhere")
    arguments = ("evaluate", "--data", seen / "own", "--maps", seen / "good", "--no-baselines")
    assert run(*arguments).exit_code == 0
    before = run("--device", "reference", *arguments)
    assert before.exit_code == 2 and "--device" in before.stderr


@pytest.mark.parametrize(
    "option", [{"device": "reference"}, {"precision": "bfloat16"}, {"batch_size": 2}]
)
def test_arguments_of_a_network_are_refused_with_maps(seen: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        msinet.evaluate(data=seen / "own", maps=seen / "good", **option)


def test_infinite_scores_are_null_in_json(run: Run, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("image,nss\na.png,inf\nb.png,1\n", encoding="utf-8")
    result = run("compare", tmp_path / "a.csv", tmp_path / "b.csv", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differences"]["nss"]["first"] is None


def test_one_image_is_counted_in_the_singular(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,nss\na.png,1\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("image,nss\na.png,1\nb.png,1\n", encoding="utf-8")
    result = run("compare", tmp_path / "a.csv", tmp_path / "b.csv")
    assert "1 common image; 1 is in one file only" in result.stdout


def test_compare_finds_a_paired_difference(run: Run, seen: Path, good) -> None:
    arguments = ("evaluate", "--data", seen / "own", "--sigma", "4", "--no-baselines")
    for model in ("good", "poor"):
        result = run(*arguments, "--maps", seen / model, "--out", f"{model}.csv")
        assert result.exit_code == 0, result.output
    comparison = msinet.compare("poor.csv", "good.csv")
    nss = comparison.differences["nss"]
    assert (comparison.images, nss.n, nss.better) == (IMAGES, IMAGES, "second")
    assert nss.low < nss.mean < nss.high
    assert nss.mean == pytest.approx(nss.second - nss.first)
    assert comparison.differences["kld"].mean < 0
    assert comparison.differences["kld"].better == "second"
    Path("excel.csv").write_text(good.to_csv(), encoding="utf-8-sig")  # as Excel saves it
    same = msinet.compare(good, "excel.csv").differences["nss"]
    assert same.mean == pytest.approx(0, abs=1e-6)
    shown = run("compare", "poor.csv", "good.csv")
    assert shown.exit_code == 0, shown.output
    assert f"{nss.mean:+.3f}" in shown.stdout
    document = json.loads(run("compare", "poor.csv", "good.csv", "--json").stdout)
    assert document["differences"]["nss"]["mean"] == nss.mean


def test_compare_leaves_out_what_cannot_be_compared(run: Run, seen: Path) -> None:
    arguments = ("evaluate", "--data", seen / "own", "--maps", seen / "good", "--no-baselines")
    run(*arguments, "--sigma", "4", "--out", "four.csv")
    run(*arguments, "--sigma", "8", "--out", "eight.csv")
    comparison = msinet.compare("four.csv", "eight.csv")
    assert comparison.skipped.keys() == {"loss", "kld", "cc", "sim"}
    assert comparison.differences["nss"].mean == 0
    with Path("four.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["sigma"], row["height"], row["width"]) for row in rows} == {("4", "48", "64")}
    Path("other.csv").write_text("image,nss\nx.png,1\n")
    with pytest.raises(DataError, match=r"x\.png"):
        msinet.compare("four.csv", "other.csv")
    Path("text.csv").write_text("a,b\n1,2\n")
    for wrong in ("text.csv", "missing.csv"):
        assert run("compare", "four.csv", wrong).exit_code == 2


def test_compare_skips_scores_that_depend_on_other_images(run: Run, seen: Path, good) -> None:
    few, more = (
        msinet.evaluate(data=seen / "own", maps=seen / "good", sigma=4, baselines=False, limit=n)
        for n in (4, None)
    )
    comparison = msinet.compare(few, more)
    assert comparison.skipped.keys() == {"log_likelihood"}
    assert all(one.mean == 0 and not one.better for one in comparison.differences.values())
    assert "log_likelihood" in msinet.compare(good, more).differences
    Path("few.csv").write_text(few.to_csv())
    Path("more.csv").write_text(more.to_csv())
    shown = run("compare", "few.csv", "more.csv")
    assert shown.exit_code == 0
    assert "calibrated (bits) is not compared: " in shown.stderr


def test_images_of_one_name_are_never_mixed_up(seen: Path, tmp_path: Path, good) -> None:
    """train/ and val/ have images of the same names here."""
    train = msinet.evaluate(data=seen / "own", maps=seen / "good", split="train", baselines=False)
    with pytest.raises(DataError, match=r"train/.*val/"):
        msinet.compare(train, good)
    samples = open_dataset(str(seen / "own"), need_maps=False).samples
    assert len({sample.file for sample in samples}) == len(samples)
    with pytest.raises(UsageError, match=r"train/00\.png, val/00\.png"):
        MapFolder(seen / "good", samples)
    models = {"train": "good", "val": "poor"}
    for split, model in models.items():
        shutil.copytree(seen / model, tmp_path / "both" / split)
    maps = MapFolder(tmp_path / "both", samples)
    for sample in samples:
        model = models[sample.file.partition("/")[0]]
        expected = np.load(seen / model / f"{sample.name}.npy")
        np.testing.assert_allclose(maps.read(sample), expected / expected.max(), atol=1e-6)


def test_compare_refuses_other_images_of_the_same_name(tmp_path: Path, good) -> None:
    text = good.to_csv()
    (tmp_path / "twice.csv").write_text(text + text.splitlines()[1] + "\n")
    content = good.images[0].content
    (tmp_path / "other.csv").write_text(text.replace(content, "0" * len(content)))
    for wrong in ("twice.csv", "other.csv"):
        with pytest.raises(DataError, match=r"val/00\.png"):
            msinet.compare(good, tmp_path / wrong)


def test_the_report_is_one_file_that_a_browser_shows(seen: Path, good, tmp_path: Path) -> None:
    page = (seen / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', page), "it needs no other file"
    assert "<script" not in page
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    address = (seen / "report.html").as_uri()
    dom = subprocess.run(
        [*command, "--dump-dom", address], capture_output=True, text=True, timeout=120
    ).stdout
    rows = dict(re.findall(r'<tr data-metric="(\w+)"><td>.*?<td class="model">([\d.-]+)', dom))
    for metric, sources in good.summary().items():
        if sources["model"].n:
            assert float(rows[metric]) == pytest.approx(sources["model"].mean, abs=5e-4)
    assert dom.count('<article class="card">') == IMAGES
    assert dom.count("data:image/jpeg;base64") == 3 * IMAGES
    picture = tmp_path / "report.png"
    subprocess.run([*command, f"--screenshot={picture}", address], capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, "the page is not blank"


def test_files_that_cannot_be_written_are_refused_first(seen: Path, run: Run) -> None:
    Path("file").touch()
    options = ("--data", seen / "own", "--maps", seen / "good")
    for option, path in (("--out", "file/result.csv"), ("--report", "file/result.html")):
        result = run("evaluate", *options, option, path)
        assert result.exit_code == 1
        assert "read fixations" not in result.stderr


@pytest.mark.parametrize("refused", [{".csv"}, {".html"}, {".csv", ".html"}])
def test_scores_survive_files_that_cannot_be_written(
    seen: Path, run: Run, monkeypatch: pytest.MonkeyPatch, refused: set[str]
) -> None:
    real = files.write_bytes

    def write_bytes(path: Path, data: bytes) -> None:
        if path.suffix in refused:
            raise MsinetError(f"Could not write {path}: disk full.")
        real(path, data)

    monkeypatch.setattr(files, "write_bytes", write_bytes)
    options = ("--data", seen / "own", "--maps", seen / "good", "--no-baselines")
    written = ("--out", "scores.csv", "--report", "report.html")
    shown = run("evaluate", *options, *written)
    assert shown.exit_code == 1
    assert "NSS" in shown.stdout
    document = run("evaluate", *options, *written, "--json")
    assert document.exit_code == 1
    assert json.loads(document.stdout)["images"] == IMAGES
    for path in (Path("scores.csv"), Path("report.html")):
        assert (f"Could not write {path}: disk full." in shown.stderr) == (path.suffix in refused)
        assert path.exists() == (path.suffix not in refused)
        assert (f"to {path}." in shown.stderr) == path.exists()


def test_the_function_keeps_scores_if_the_report_cannot_be_written(
    seen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(path: Path, data: bytes) -> None:
        raise MsinetError("disk full.")

    monkeypatch.setattr(files, "write_bytes", write_bytes)
    options: dict[str, Any] = {"data": seen / "own", "maps": seen / "good", "baselines": False}
    with pytest.raises(EvaluationError, match=r"disk full\..*'evaluation'") as caught:
        msinet.evaluate(**options, report=tmp_path / "r.html")
    assert len(caught.value.evaluation.images) == IMAGES


def test_a_distant_mean_does_not_flatten_the_histogram() -> None:
    scores = np.linspace(1, 2, 15)
    bars = re.findall(r'<rect .*? height="([\d.]+)"', histogram(scores, {"model": 9.0}))
    assert sum(float(height) > 0 for height in bars) >= 7
    bars = re.findall(r'<rect .*? height="([\d.]+)"', histogram(np.ones(15), {"model": 9.0}))
    assert sum(float(height) > 0 for height in bars) == 1


def test_scores_that_are_equal_but_for_rounding_have_a_histogram() -> None:
    assert "<rect" in histogram(np.array([1, np.nextafter(1, 2)]), {"model": 1.0})


def test_names_of_files_are_escaped_in_the_report(good: msinet.Evaluation, tmp_path: Path) -> None:
    write_report(replace(good, data="<script>alert(1)</script>"), tmp_path / "r.html")
    assert "<script" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_intervals_cover_the_mean_of_normal_scores_as_often_as_they_promise() -> None:
    rng = np.random.default_rng(0)
    covered = [
        low < 0 < high
        for low, high in (intervals(rng.normal(0, 1, (60, 1)))[0] for _ in range(200))
    ]
    assert 0.88 < np.mean(covered) < 0.99
    known = intervals(np.array([[0.0, math.nan], [1.0, 5.0]]))
    assert known[0].tolist() == [0, 1]
    assert np.isnan(known[1]).all()


def test_the_calibrated_likelihood_is_that_of_the_best_exponent() -> None:
    rng = np.random.default_rng(0)
    density = spot(np.array([20, 30]), 8) + 0.01
    density /= density.sum()
    cells = []
    for _ in range(300):  # few fixations each: a pixel counts once
        chosen = rng.choice(density.size, 4, p=density.ravel())
        points = np.stack(np.unravel_index(chosen, SIZE), axis=1)
        cells.append(to_cells(density**3, points))  # the right map on the wrong scale
    found = np.mean(calibrated(cells))
    entropy = (density * np.log2(density * density.size)).sum()
    assert found == pytest.approx(entropy, abs=0.1)
    assert math.isnan(calibrated([None, cells[0]])[0])
