"""What ``msinet-run data`` prints and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def test_list_shows_every_named_dataset_and_its_source(run):
    result = run("data", "list")
    assert result.exit_code == 0, result.output
    names = ["demo", "salicon", "mit1003", "cat2000", "dutomron", "pascals", "osie", "fiwi"]
    first_words = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert [word for word in first_words if word in names] == names
    assert "10000/5000" in result.stdout
    assert "http://saliency.mit.edu/trainSet.zip" in result.stdout


def test_list_as_json_has_the_folders(run, tmp_path):
    (tmp_path / "sets" / "osie").mkdir(parents=True)
    result = run("data", "list", "--data-root", "sets", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert len(rows) == 8
    assert (rows["demo"]["train"], rows["demo"]["valid"]) == (60, 15)
    assert rows["demo"]["sources"] == []
    assert rows["osie"]["folder"] == str(Path("sets/osie"))
    assert rows["mit1003"]["folder"] is None
    assert rows["cat2000"]["image_size"] == [216, 384]


def test_a_valid_dataset_passes_the_check(run, tiny_data):
    result = run("data", "check", tiny_data)
    assert result.exit_code == 0, result.output
    assert "240x320" in result.stdout
    assert "8/8" in result.stderr


@pytest.fixture
def broken_data(tiny_data: Path) -> Path:
    """One of each: a truncated image, a black map, a missing map, a bad table, a rotated map."""
    stimuli, saliency = tiny_data / "stimuli" / "train", tiny_data / "saliency" / "train"
    half = stimuli / "train00.png"
    half.write_bytes(half.read_bytes()[:90])
    Image.new("L", (40, 32)).save(saliency / "train01.png")
    (saliency / "train02.png").unlink()
    fixations = tiny_data / "fixations" / "train" / "train03.csv"
    fixations.parent.mkdir(parents=True)
    fixations.write_text("nothing of use\n")
    Image.fromarray(np.full((40, 32), 9, np.uint8)).save(saliency / "train04.png")
    return tiny_data


FAULTS = [
    "stimuli/train/train02.png",
    "stimuli/train/train00.png",
    "train01.png",
    "train03.csv",
    "train04.png",
]


def test_all_problems_are_listed_at_once(run, broken_data):
    result = run("data", "check", broken_data)
    assert result.exit_code == 1
    listed = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert len(listed) == 5
    for fault in FAULTS:
        assert any(fault in line for line in listed)


def test_the_problems_are_in_the_json_document_too(run, broken_data):
    result = run("data", "check", broken_data, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert len(document["problems"]) == 5
    assert (document["train"], document["valid"], document["images"]) == (4, 3, 7)
    for fault in FAULTS:
        assert any(fault in problem for problem in document["problems"])


def test_the_problems_of_a_dataset_that_is_not_split_are_sorted_by_name(run, tmp_path):
    for part in ("stimuli", "saliency"):
        (tmp_path / "flat" / part).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "flat" / part / f"{number:02d}.png").write_text("not an image")
    document = json.loads(run("data", "check", tmp_path / "flat", "--json").stdout)
    names = [re.search(r"\d+\.png", problem)[0] for problem in document["problems"]]
    assert names == [f"{number:02d}.png" for number in range(20) for _ in range(2)]


def test_an_unknown_name_is_wrong_usage(run):
    result = run("data", "check", "osei")
    assert result.exit_code == 2
    assert "'osie'" in result.stderr


def test_a_missing_published_dataset_is_wrong_usage_with_its_address(run):
    result = run("data", "check", "osie")
    assert result.exit_code == 2
    assert "predicting-human-gaze-beyond-pixels" in result.stderr
    assert str(Path("data/osie")) in result.stderr


def test_demo_creates_a_valid_dataset(run):
    made = run("data", "demo", "shapes", "--train", "3", "--valid", "2", "--image-size", "64x96")
    assert made.exit_code == 0, made.output
    assert "--data ./shapes" in made.stdout
    checked = run("data", "check", "./shapes", "--json")
    document = json.loads(checked.stdout)
    assert (document["train"], document["valid"], document["problems"]) == (3, 2, [])
    assert document["fixations"] > 0


def test_demo_refuses_a_folder_with_other_files(run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    result = run("data", "demo", "photos")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
