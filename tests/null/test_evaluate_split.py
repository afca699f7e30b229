"""No image that weights were trained on is scored as a validation image."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import msinet_core as msinet
from msinet_core.checkpoint import load_checkpoint, save_checkpoint
from msinet_core.data.dataset import open_dataset
from msinet_core.data.split import StoredSplit
from msinet_core.errors import CheckpointError, DataError, UsageError
from msinet_core.system.settings import SPLIT_SEED

if TYPE_CHECKING:
    from tests.conftest import Run

SMALL: dict[str, Any] = {
    "device": "reference",
    "init": "random",
    "width": 0.02,
    "image_size": (32, 40),
    "epochs": 1,
}


def write_flat(folder: Path, count: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(count):
        for part, pixels in (("stimuli", (16, 24, 3)), ("saliency", (16, 24))):
            path = folder / part / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, pixels, dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flat(tmp_path_factory.mktemp("flat") / "own", 12)


@pytest.fixture(scope="module")
def best(flat: Path) -> Path:
    """Weights of `train --seed 7 --split-seed 3` on a folder that is not split."""
    run = flat.parent / "run"
    return msinet.train(flat, run=run, seed=7, split_seed=3, **SMALL).best


def names(evaluation: msinet.Evaluation) -> set[str]:
    return {Path(image.name).name for image in evaluation.images}


def files(folder: Path, part: str, seed: int) -> set[str]:
    dataset = open_dataset(str(folder), split_seed=seed)
    return {sample.stimulus.name for sample in dataset.part(part)}  # type: ignore[arg-type]


def test_the_seed_of_training_does_not_choose_the_split(flat: Path, tmp_path: Path) -> None:
    run = msinet.train(flat, run=tmp_path / "r", seed=7, **SMALL)
    evaluation = msinet.evaluate(run.best, flat, device="reference")
    assert names(evaluation) == files(flat, "valid", SPLIT_SEED)
    assert not names(evaluation) & files(flat, "train", SPLIT_SEED)


def test_the_split_of_the_checkpoint_is_used_whatever_is_given(best: Path, flat: Path) -> None:
    trained, valid = files(flat, "train", 3), files(flat, "valid", 3)
    assert trained != files(flat, "train", SPLIT_SEED)
    for seed in (None, 3, SPLIT_SEED):
        evaluation = msinet.evaluate(best, flat, device="reference", split_seed=seed)
        assert names(evaluation) == valid
    evaluation = msinet.evaluate(best, flat, device="reference", split="train")
    assert names(evaluation) == trained


def test_images_are_known_by_their_content_not_their_names(
    best: Path, flat: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    trained = sorted(files(flat, "train", 3))
    for part in ("stimuli", "saliency"):
        for split, chosen in (("train", trained[:2]), ("val", trained[2:5])):
            (copy / part / split).mkdir(parents=True)
            for number, name in enumerate(chosen):
                shutil.copy(flat / part / name, copy / part / split / f"new-{number}.png")
    with pytest.raises(DataError, match="3 images"):
        msinet.evaluate(best, copy, device="reference")
    for part in ("stimuli", "saliency"):
        size = (16, 24, 3) if part == "stimuli" else (16, 24)
        Image.fromarray(np.full(size, 77, np.uint8)).save(copy / part / "val" / "unseen.png")
    evaluation = msinet.evaluate(best, copy, device="reference")
    assert names(evaluation) == {"unseen.png"}
    assert any("3 images" in note for note in evaluation.notes)


def make_split(folder: Path, flat: Path, parts: dict[str, list[str]]) -> Path:
    for kind in ("stimuli", "saliency"):
        for split, chosen in parts.items():
            (folder / kind / split).mkdir(parents=True)
            for name in chosen:
                shutil.copy(flat / kind / name, folder / kind / split)
    return folder


def test_the_notes_say_what_was_left_out_and_added(best: Path, flat: Path, tmp_path: Path) -> None:
    trained, valid = (sorted(files(flat, part, 3)) for part in ("train", "valid"))
    unknown = write_flat(tmp_path / "unknown", 3, seed=9)
    parts = {"train": [valid[0], *trained[:2]], "val": trained[2:5], "test": [valid[1]]}
    data = make_split(tmp_path / "own", flat, parts)
    for kind in ("stimuli", "saliency"):
        for path in (unknown / kind).iterdir():
            shutil.copy(path, data / kind / "val" / f"unknown-{path.name}")
    evaluation = msinet.evaluate(best, data, device="reference", baselines=False)
    assert names(evaluation) == {*valid, *(f"unknown-{number:02d}.png" for number in range(3))}
    assert evaluation.notes[:3] == (
        "Left out of the split 'valid': 3 images that the weights were trained on.",
        "Added to the split 'valid': 2 images that the training run had in it.",
        "The checkpoint knows 7 of 10 images by content, which have the split of the training "
        "run; the others have that of the dataset.",
    )
    with pytest.raises(DataError, match="1 image that the training run had in another"):
        msinet.evaluate(best, data, device="reference", split="test")


def test_a_split_seed_that_is_not_used_is_noted(best: Path, flat: Path) -> None:
    def notes(seed: int | None) -> str:
        options: dict[str, Any] = {"device": "reference", "baselines": False}
        return " ".join(msinet.evaluate(best, flat, split_seed=seed, **options).notes)

    assert "12 of 12 images" in notes(None)
    for seed in (None, 3):
        assert not any(word in notes(seed) for word in ("--split-seed", "Left out", "Added"))
    both = files(flat, "valid", 3), files(flat, "valid", SPLIT_SEED)
    added, left_out = len(both[0] - both[1]), len(both[1] - both[0])
    assert f"not of --split-seed {SPLIT_SEED}." in notes(SPLIT_SEED)
    assert f"Left out of the split 'valid': {left_out} image" in notes(SPLIT_SEED)
    assert f"Added to the split 'valid': {added} image" in notes(SPLIT_SEED)


def test_images_of_an_earlier_training_do_not_have_its_split(best: Path, tmp_path: Path) -> None:
    flat = best.parents[2] / "own"
    other = write_flat(tmp_path / "other", 6, seed=5)
    tuned = msinet.train(other, run=tmp_path / "r", **{**SMALL, "init": best, "width": None})
    evaluation = msinet.evaluate(tuned.best, flat, device="reference", split_seed=3, limit=1)
    assert not any("knows" in note or "None of" in note for note in evaluation.notes)


def test_a_dataset_of_test_images_can_be_scored_but_not_trained_on(
    run: Run, best: Path, tmp_path: Path
) -> None:
    source = write_flat(tmp_path / "other", 3, seed=5)
    images = sorted(path.name for path in (source / "stimuli").iterdir())
    data = make_split(tmp_path / "only", source, {"test": images})
    assert run("data", "check", data).exit_code == 0
    assert len(msinet.evaluate(best, data, device="reference", split="test").images) == 3
    with pytest.raises(DataError, match="use --split test"):
        msinet.evaluate(best, data, device="reference")
    with pytest.raises(DataError, match="no images in stimuli/train/"):
        msinet.train(data, run=tmp_path / "r", **SMALL)
    for kind in ("stimuli", "saliency"):
        (data / kind / "test").rename(data / kind / "val")
    assert len(msinet.evaluate(best, data, device="reference").images) == 3
    (data / "stimuli" / "val").rename(data / "stimuli" / "test")
    with pytest.raises(DataError, match="stimuli/val/: no images"):
        msinet.evaluate(best, data, device="reference", split="test")


def test_other_images_are_scored_as_they_are_split(best: Path, tmp_path: Path) -> None:
    other = write_flat(tmp_path / "other", 6, seed=5)
    evaluation = msinet.evaluate(best, other, device="reference")
    assert names(evaluation) == files(other, "valid", 3)
    assert any("None of these images" in note for note in evaluation.notes)


def test_fine_tuned_weights_know_the_images_of_the_first_training(
    best: Path, flat: Path, tmp_path: Path
) -> None:
    other = write_flat(tmp_path / "other", 6, seed=5)
    settings = {**SMALL, "init": best, "width": None}
    tuned = msinet.train(other, run=tmp_path / "tuned", **settings)
    stored = StoredSplit.from_metadata(load_checkpoint(tuned.latest).metadata)
    assert stored is not None
    assert (len(stored.train), len(stored.earlier)) == (5, 10)
    assert files(flat, "valid", SPLIT_SEED) <= files(flat, "train", 3)
    with pytest.raises(DataError, match="2 images"):
        msinet.evaluate(tuned.best, flat, device="reference", split_seed=SPLIT_SEED)
    evaluation = msinet.evaluate(tuned.best, flat, device="reference", split_seed=3)
    assert names(evaluation) == files(flat, "valid", 3)


def test_initial_weights_without_a_record_are_reported(
    best: Path, flat: Path, tmp_path: Path
) -> None:
    unknown = tmp_path / "unknown.msinet.h5"
    save_checkpoint(unknown, replace(load_checkpoint(best), metadata={}))
    tuned = unknown
    for number in range(2):  # the second run starts from weights with an incomplete record
        other = write_flat(tmp_path / f"other-{number}", 6, seed=5 + number)
        settings = {**SMALL, "init": tuned, "width": None}
        tuned = msinet.train(other, run=tmp_path / f"tuned-{number}", **settings).best
        notes = msinet.evaluate(tuned, flat, device="reference", baselines=False).notes
        assert any("initial weights" in note for note in notes)
        assert not any("None of these images" in note for note in notes)


def test_a_resumed_run_keeps_its_record(flat: Path, tmp_path: Path) -> None:
    run = msinet.train(flat, run=tmp_path / "r", limit_train=4, **SMALL)
    before = load_checkpoint(run.latest).metadata["split"]
    msinet.train(resume=True, run=run.path, epochs=2)
    assert load_checkpoint(run.latest).metadata["split"] == before
    stored = StoredSplit.from_metadata({"split": before})
    assert stored is not None
    assert len(stored.train) == 4
    with pytest.raises(UsageError, match="split_seed"):
        msinet.train(resume=True, run=run.path, split_seed=9)


def test_a_test_folder_is_its_own_split(run: Run, tiny_data: Path, best: Path) -> None:
    for part in ("stimuli", "saliency"):
        shutil.copytree(tiny_data / part / "val", tiny_data / part / "test")
        (tiny_data / part / "test" / "val00.png").unlink()
    arguments = ("--data", tiny_data, "--weights", best, "--json", "--split")
    result = run("--device", "reference", "evaluate", *arguments, "test")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["split"], document["images"]) == ("test", 2)
    shutil.rmtree(tiny_data / "stimuli" / "test")
    shutil.rmtree(tiny_data / "saliency" / "test")
    refused = run("--device", "reference", "evaluate", *arguments, "test")
    assert refused.exit_code == 1
    assert "stimuli/test" in refused.stderr


def test_a_damaged_record_is_refused(best: Path, flat: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(best.with_name("latest.msinet.h5"))
    checkpoint.metadata["split"]["train"] = "not base64"  # type: ignore[index]
    save_checkpoint(tmp_path / "damaged.msinet.h5", checkpoint)
    with pytest.raises(CheckpointError, match="training images"):
        msinet.evaluate(tmp_path / "damaged.msinet.h5", flat, device="reference")


def test_inspect_shows_the_split_in_one_line(run: Run, best: Path) -> None:
    result = run("inspect", best)
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("split"))
    assert "10 training, 2 validation" in line
    assert "seed 3" in line


def test_a_split_has_the_same_names_in_python_as_on_the_command_line(
    best: Path, flat: Path
) -> None:
    of = {name: msinet.evaluate(best, flat, split=name, limit=1) for name in ("val", "valid")}
    assert of["val"].split == of["valid"].split == "valid"
    assert names(of["val"]) == names(of["valid"])
    with pytest.raises(UsageError, match="'half'"):
        msinet.evaluate(best, flat, split="half")


def test_what_is_not_a_metric_or_a_source_is_refused(best: Path, flat: Path) -> None:
    evaluation = msinet.evaluate(best, flat, limit=1)
    assert len(evaluation.values("cc")) == 1
    assert "images=" not in repr(evaluation)
    for arguments in (("CC",), ("cc", "nobody"), (None,)):
        with pytest.raises(UsageError):
            evaluation.values(*arguments)  # type: ignore[arg-type]


def test_images_that_cannot_be_scored_are_a_warning_and_an_error_if_they_are_all(
    flat: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(flat, tmp_path / "own")
    maps = tmp_path / "maps"
    maps.mkdir()
    for path in (data / "saliency").iterdir():
        np.save(maps / f"{path.stem}.npy", np.full((16, 24), np.nan))
    with pytest.raises(msinet.EvaluationError) as caught:
        msinet.evaluate(maps=maps, data=data)
    total = len(caught.value.evaluation.failures)
    assert total > 1
    name = Path(caught.value.evaluation.failures[0][0]).stem
    np.save(maps / f"{name}.npy", np.random.default_rng(0).random((16, 24)))
    with pytest.warns(UserWarning, match=f"{total - 1} of {total}"):
        evaluation = msinet.evaluate(maps=maps, data=data)
    assert len(evaluation.images) == 1
