from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import msinet_core as msinet
from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.data.dataset import open_dataset
from msinet_core.data.images import read_image
from msinet_core.data.published import PUBLISHED
from msinet_core.data.sample import Sample
from msinet_core.errors import InterruptedRunError, UsageError
from msinet_core.evaluation.baselines import center_gaussian
from msinet_core.evaluation.fixation_bank import FixationBank, count
from msinet_core.evaluation.result import Evaluation
from msinet_core.evaluation.scoring import Scorer, predicted, score_samples
from msinet_core.metrics import auc, standard
from msinet_core.metrics.table import METRICS
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import Batch
from msinet_core.prediction.predictor import Predictor
from msinet_core.registry.registry import load_registry
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.training.initial_weights import random_state

if TYPE_CHECKING:
    from tests.conftest import Run

REFERENCE = ("--device", "reference")
SIZE = (32, 40)
MAP_METRICS = [metric.key for metric in METRICS.values() if not metric.needs_fixations]
FIXATION_METRICS = [metric.key for metric in METRICS.values() if metric.needs_fixations]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    graph = msinet_graph(0.02)
    path = tmp_path / "narrow.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 1), metadata={"image_size": SIZE}))
    return path


def open_predictor(weights: Path) -> Predictor:
    checkpoint = read_weights(weights)
    model = (
        load_registry()
        .spec("reference")
        .open()
        .compile(checkpoint.graph, checkpoint.state, loss=KLDivergence())
    )
    return Predictor(model, checkpoint.graph, SIZE, batch_size=2)


def score(
    predictor: Predictor,
    samples: tuple[Sample, ...],
    everything: tuple[Sample, ...] = (),
    interrupt: InterruptFlag | None = None,
) -> Evaluation:
    scorer = Scorer(FixationBank(everything or samples))
    return score_samples(samples, predicted(predictor, samples, scorer), scorer, None, interrupt)


def test_the_json_document_has_every_metric(run: Run, weights, looked_at):
    arguments = ("--data", looked_at, "--weights", weights, "--split", "train", "--json")
    result = run(*REFERENCE, "evaluate", *arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["split"], document["images"], document["device"]) == ("train", 5, "reference")
    assert document["image_size"] == list(SIZE)
    assert document["images_with_fixations"] == 5
    assert document["failures"] == []
    assert list(document["metrics"]) == list(METRICS)
    for metric, sources in document["metrics"].items():
        for source in ("model", "uniform", "center", "center_bias"):
            if metric == "loss" and source != "model":
                continue
            assert sources[source]["n"] == 5
            assert sources[source]["low"] <= sources[source]["mean"] <= sources[source]["high"]
    assert document["metrics"]["mit_information_gain"]["center"]["mean"] == pytest.approx(0)
    assert document["metrics"]["information_gain"]["center_bias"]["mean"] == pytest.approx(0)
    assert document["sigma"] is None
    assert document["scored_at"] == [list(SIZE)]
    assert document["constants"]["kld_epsilon"] == pytest.approx(2.2e-16, rel=0.01)


def test_the_function_returns_what_the_command_prints(run: Run, weights, looked_at):
    arguments = ("--data", looked_at, "--weights", weights, "--split", "train", "--json")
    printed = json.loads(run(*REFERENCE, "evaluate", *arguments).stdout)
    evaluation = msinet.evaluate(weights, looked_at, split="train", device="reference")
    assert evaluation.to_dict() == printed
    assert [image.name for image in evaluation.images] == [
        f"train/train{n:02d}.png" for n in range(5)
    ]
    mean = evaluation.summary()["cc"]["model"].mean
    assert mean == pytest.approx(np.mean([image.model["cc"] for image in evaluation.images]))


@pytest.mark.parametrize(
    ("metadata", "given", "expected"),
    [({}, None, (216, 384)), ({"image_size": SIZE}, None, SIZE), ({}, (24, 32), (24, 32))],
    ids=["of the dataset", "of the training", "given"],
)
def test_the_size_is_given_or_that_of_training_or_of_the_dataset(
    tmp_path, looked_at, monkeypatch, metadata, given, expected
):
    known = replace(PUBLISHED["fiwi"], train=5, valid=3)
    monkeypatch.setitem(PUBLISHED, "fiwi", known)
    looked_at.rename(tmp_path / "fiwi")
    graph = msinet_graph(0.01)
    path = tmp_path / "w.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 1), metadata=metadata))
    evaluation = msinet.evaluate(
        path, "fiwi", device="reference", data_root=tmp_path, image_size=given, limit=1
    )
    assert evaluation.image_size == expected


def test_the_function_is_silent_unless_progress_is_requested(weights, tiny_data, capfd):
    msinet.evaluate(weights, tiny_data, device="reference")
    assert capfd.readouterr() == ("", "")
    msinet.evaluate(weights, tiny_data, device="reference", progress=True)
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        *({"split": "all"}, {"sigma": -1}, {"maps": "."}, {"image_size": (33, 40)}),
        *({"batch_size": 0}, {"limit": -1}, {"limit": 0}, {"limit": 2.5}, {"limit": "2"}),
    ],
)
def test_the_function_refuses_wrong_arguments(weights, tiny_data, options):
    with pytest.raises(UsageError):
        msinet.evaluate(weights, tiny_data, device="reference", **options)


def test_unreadable_fixations_of_other_images_are_reported(weights, looked_at):
    before = msinet.evaluate(weights, looked_at, device="reference")
    (looked_at / "fixations" / "train" / "train01.csv").write_text("damaged")
    after = msinet.evaluate(weights, looked_at, device="reference")
    assert (len(after.images), after.failures) == (3, ())
    (note,) = set(after.notes) - set(before.notes)
    assert "1 other image" in note
    assert f"data check {looked_at}" in note


def test_the_loss_is_the_validation_loss_of_the_device(weights, looked_at):
    predictor = open_predictor(weights)
    samples = open_dataset(str(looked_at)).valid
    images, maps = (np.stack(part) for part in zip(*(s.load(SIZE) for s in samples), strict=True))
    expected = np.asarray(predictor.model.eval_step(Batch(images, maps)))
    found = [image.model["loss"] for image in score(predictor, samples).images]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_metrics_are_computed_at_the_size_of_the_image(weights, looked_at):
    predictor = open_predictor(weights)
    predictor.image_size = (16, 24)  # another shape than the images', so that there is padding
    samples = open_dataset(str(looked_at)).valid
    evaluation = score(predictor, samples)
    for sample, scores in zip(samples, evaluation.images, strict=True):
        assert scores.name == sample.file == f"val/{sample.stimulus.name}"
        saliency = predictor.predict(read_image(sample.stimulus))
        truth = sample.read_map()[..., 0]
        points = sample.read_fixations().points
        center = center_gaussian(SIZE)
        assert scores.model["cc"] == pytest.approx(standard.correlation(saliency, truth))
        assert scores.model["nss"] == pytest.approx(standard.nss(saliency, points))
        assert scores.scores["center"]["kld"] == pytest.approx(
            standard.kl_divergence(center, truth), rel=1e-4
        )
        assert scores.scores["center"]["auc_judd"] == pytest.approx(auc.auc_judd(center, points))


def test_the_order_and_the_number_of_threads_do_not_matter(weights, looked_at):
    samples = open_dataset(str(looked_at)).train
    predictor = open_predictor(weights)
    first = score(predictor, samples)
    predictor.workers, predictor.batch_size = 7, 1
    again = score(predictor, samples)
    assert [image.name for image in again.images] == [sample.file for sample in samples]
    for one, other in zip(first.images, again.images, strict=True):
        assert one.model == pytest.approx(other.model, rel=1e-5)


def test_negatives_are_the_fixations_of_the_whole_dataset_whatever_is_scored(weights, looked_at):
    dataset = open_dataset(str(looked_at))
    everything, points = dataset.samples, [one.read_fixations().points for one in dataset.samples]
    evaluation = score(open_predictor(weights), everything)
    for index, scores in enumerate(evaluation.images):
        others = count(np.concatenate(points[:index] + points[index + 1 :]), SIZE)
        expected = auc.shuffled_auc(center_gaussian(SIZE), points[index], others)
        assert scores.scores["center"]["shuffled_auc"] == pytest.approx(expected)
    few = msinet.evaluate(weights, looked_at, device="reference", split="train", limit=2)
    for one, other in zip(few.images, evaluation.images, strict=False):
        for key in ("shuffled_auc", "information_gain"):
            assert one.model[key] == pytest.approx(other.model[key], rel=1e-5)


def test_shuffled_auc_is_omitted_with_too_few_images(run: Run, weights, looked_at):
    for path in (looked_at / "fixations").glob("train/*.csv"):
        path.unlink()
    arguments = (*REFERENCE, "evaluate", "--data", looked_at, "--weights", weights, "--json")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "Shuffled AUC" in result.stderr
    values = json.loads(result.stdout)["metrics"]
    assert values["shuffled_auc"]["model"]["n"] == 0
    assert values["auc_judd"]["model"]["n"] == 3


def test_the_table_compares_with_the_baselines(run: Run, weights, looked_at):
    arguments = ("--data", looked_at, "--weights", weights, "--split", "train")
    result = run(*REFERENCE, "evaluate", *arguments)
    assert result.exit_code == 0, result.output
    for metric in METRICS.values():
        assert metric.title in result.stdout
    assert "centered Gaussian" in result.stdout
    assert "center bias" in result.stdout
    assert "evaluate  5/5 images" in result.stderr
    assert "center bias  " not in run(*REFERENCE, "evaluate", *arguments, "--no-baselines").stdout


def test_without_fixations_only_maps_are_compared(run: Run, weights, tiny_data):
    arguments = (*REFERENCE, "evaluate", "--data", tiny_data, "--weights", weights)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "0 of 3" in result.stderr
    assert "SIM" in result.stdout
    assert "NSS" not in result.stdout
    document = json.loads(run(*arguments, "--json").stdout)
    for key in FIXATION_METRICS:
        assert document["metrics"][key]["model"] == dict.fromkeys(("mean", "low", "high")) | {
            "n": 0
        }
    for key in MAP_METRICS:
        assert document["metrics"][key]["model"]["n"] == 3


def test_fixations_of_some_images_count_for_those(run: Run, weights, looked_at):
    (looked_at / "fixations" / "val" / "val01.csv").unlink()
    result = run(*REFERENCE, "evaluate", "--data", looked_at, "--weights", weights, "--json")
    assert "2 of 3" in result.stderr
    values = json.loads(result.stdout)["metrics"]
    assert (values["nss"]["model"]["n"], values["cc"]["model"]["n"]) == (2, 3)


def test_the_csv_file_has_a_row_for_each_image(run: Run, weights, looked_at):
    (looked_at / "fixations" / "val" / "val01.csv").unlink()
    arguments = ("--data", looked_at, "--weights", weights, "--out", "scores.csv", "--json")
    result = run(*REFERENCE, "evaluate", *arguments)
    assert result.exit_code == 0, result.output
    with Path("scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [
        "val/val00.png",
        "val/val01.png",
        "val/val02.png",
    ]
    assert rows[1]["nss"] == ""
    assert {(row["device"], row["precision"]) for row in rows} == {("reference", "float32")}
    document = json.loads(result.stdout)
    for key in ("loss", "cc"):
        mean = np.mean([float(row[key]) for row in rows])
        assert mean == pytest.approx(document["metrics"][key]["model"]["mean"], rel=1e-4)


def test_split_and_limit_select_the_images(run: Run, weights, tiny_data):
    arguments = (*REFERENCE, "evaluate", "--data", tiny_data, "--weights", weights, "--json")
    assert json.loads(run(*arguments, "--split", "train").stdout)["images"] == 5
    assert json.loads(run(*arguments, "--split", "val").stdout)["split"] == "valid"
    document = json.loads(run(*arguments, "--limit", "1").stdout)
    assert document["images"] == 1
    assert document["metrics"]["cc"]["model"]["low"] is None


def test_bad_images_are_listed_and_do_not_stop_the_rest(run: Run, weights, looked_at):
    stimulus = looked_at / "stimuli" / "val" / "val00.png"
    stimulus.write_bytes(stimulus.read_bytes()[:300])
    (looked_at / "saliency" / "val" / "val02.png").write_text("not an image")
    result = run(*REFERENCE, "evaluate", "--data", looked_at, "--weights", weights, "--json")
    assert result.exit_code == 1
    assert "2 of 3" in result.stderr
    assert result.stderr.count("val00.png") == 1
    document = json.loads(result.stdout)
    assert document["images"] == 1
    assert sorted(failure["image"] for failure in document["failures"]) == [
        "val/val00.png",
        "val/val02.png",
    ]


def test_only_bad_images_still_print_one_document(run: Run, weights, tiny_data):
    for path in (tiny_data / "stimuli" / "val").iterdir():
        path.write_text("not an image")
    result = run(*REFERENCE, "evaluate", "--data", tiny_data, "--weights", weights, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["metrics"]["cc"]["model"]["n"] == 0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--data", "nowhere"], 2, "nowhere"),
        (["--data", "tiny", "--image-size", "33x40"], 2, "33x40"),
        (["--data", "tiny", "--limit", "0"], 2, "limit"),
        (["--data", "tiny", "--split", "trian"], 2, "'train'"),
        (["--data", "tiny", "--device", "warp"], 2, "warp"),
        ([], 2, "--data"),
    ],
)
def test_wrong_arguments_are_refused(run: Run, weights, tiny_data, arguments, exit_code, message):
    result = run("evaluate", *arguments, "--weights", weights)
    assert result.exit_code == exit_code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_results_never_replace_images_or_weights(run: Run, weights, looked_at):
    before = {path: path.read_bytes() for path in [*looked_at.rglob("*.*"), weights]}
    for option, path in (
        ("--out", weights),
        ("--out", looked_at / "fixations" / "val" / "val00.csv"),
        ("--out", looked_at / "stimuli" / "scores.csv"),
        ("--report", looked_at / "stimuli" / "val" / "val00.png"),
        ("--report", "scores.csv"),
    ):
        result = run(
            *REFERENCE, "evaluate", "--data", looked_at, "--weights", weights, option, path
        )
        assert result.exit_code == 2, result.output
        assert str(path) in result.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_an_image_without_a_map_is_listed(run: Run, weights, tiny_data):
    (tiny_data / "saliency" / "val" / "val00.png").unlink()
    result = run(*REFERENCE, "evaluate", "--data", tiny_data, "--weights", weights)
    assert result.exit_code == 1
    assert "val00" in result.stderr


def test_a_dataset_without_maps_is_scored_by_its_fixations(run: Run, weights, looked_at):
    shutil.rmtree(looked_at / "saliency")
    arguments = (*REFERENCE, "evaluate", "--data", looked_at, "--weights", weights, "--json")
    values = json.loads(run(*arguments).stdout)["metrics"]
    assert (values["nss"]["model"]["n"], values["cc"]["model"]["n"]) == (3, 0)
    document = json.loads(run(*arguments, "--sigma", "3").stdout)
    assert (document["metrics"]["cc"]["model"]["n"], document["sigma"]) == (3, 3)
    refused = run(*REFERENCE, "train", "--data", looked_at, "--run", "r")
    assert refused.exit_code == 1
    assert "data maps" in refused.stderr


def test_true_maps_of_other_images_are_noted(weights, looked_at):
    def notes() -> str:
        return " ".join(msinet.evaluate(weights, looked_at, device="reference").notes)

    assert "do not fit" not in notes()
    for path in (looked_at / "saliency").glob("*/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert "do not fit" in notes()


def test_an_interrupted_evaluation_is_an_error(weights, looked_at):
    flag = InterruptFlag()
    flag.set()
    with pytest.raises(InterruptedRunError):
        score(open_predictor(weights), open_dataset(str(looked_at)).valid, interrupt=flag)


def test_a_summary_omits_undefined_values(weights, looked_at):
    evaluation = msinet.evaluate(weights, looked_at, device="reference")
    images = [
        replace(image, scores={"model": {"nss": value}})
        for image, value in zip(evaluation.images, (1.0, math.nan, 3.0), strict=True)
    ]
    summary = replace(evaluation, images=tuple(images)).summary()["nss"]["model"]
    assert (summary.mean, summary.n) == (2.0, 2)
    assert (summary.low, summary.high) == (1.0, 3.0)
    assert math.isnan(replace(evaluation, images=()).summary()["nss"]["model"].mean)
