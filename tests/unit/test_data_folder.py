"""A folder is a dataset when every image has a map; everything that does not fit is named."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msinet_core.data.dataset import open_dataset, survey
from msinet_core.data.published import PUBLISHED, split
from msinet_core.errors import DataError, UsageError
from msinet_core.evaluation.map_files import MapFolder

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write empty files (pairing reads names only) and return the dataset's folder."""

    def write(*names: str, folder: str = "mine") -> Path:
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / folder

    return write


def names(samples) -> list[str]:
    return [sample.name for sample in samples]


def flat(count: int) -> list[str]:
    return [
        name
        for number in range(count)
        for name in (f"stimuli/{number:04d}.jpg", f"saliency/{number:04d}.png")
    ]


def test_letters_are_paired_in_either_form(make):
    one, two = (unicodedata.normalize(form, "gr\u00fcn") for form in ("NFC", "NFD"))
    assert one != two
    folder = make(
        *(f"stimuli/train/{two}.jpg", f"saliency/train/{one}.png", f"fixations/train/{two}.csv"),
        *(f"stimuli/val/{one}2.jpg", f"saliency/val/{two}2.png"),
    )
    (sample,) = open_dataset(str(folder)).train
    assert sample.stimulus == folder / f"stimuli/train/{two}.jpg"
    assert sample.map == folder / f"saliency/train/{one}.png"
    assert sample.fixations == folder / f"fixations/train/{two}.csv"
    maps = make(f"{two}2.png", folder="maps")
    assert MapFolder(maps, open_dataset(str(folder)).valid)


def test_a_split_folder_is_taken_as_it_is(make):
    folder = make(
        *("stimuli/train/b.jpg", "stimuli/train/a.JPG", "stimuli/val/c.png"),
        *("saliency/train/a.png", "saliency/train/b.PNG", "saliency/val/c.jpeg"),
        "fixations/train/a.csv",
    )
    dataset = open_dataset(str(folder))
    assert names(dataset.train) == ["a", "b"]
    assert names(dataset.valid) == ["c"]
    assert dataset.name == "mine"
    assert dataset.image_size == (240, 320)
    first = dataset.train[0]
    assert first.stimulus == folder / "stimuli/train/a.JPG"
    assert first.map == folder / "saliency/train/a.png"
    assert first.fixations == folder / "fixations/train/a.csv"
    assert dataset.train[1].read_fixations() is None


def test_a_flat_folder_is_split_80_to_20_by_the_seed(make):
    folder = make(*flat(50))
    dataset, again = (
        open_dataset(str(folder), split_seed=1),
        open_dataset(str(folder), split_seed=1),
    )
    other = open_dataset(str(folder), split_seed=2)
    assert (len(dataset.train), len(dataset.valid)) == (40, 10)
    assert sorted(names(dataset.train) + names(dataset.valid)) == [f"{n:04d}" for n in range(50)]
    assert dataset == again
    assert names(dataset.valid) != names(other.valid)


def test_a_folder_test_is_kept_apart_from_a_flat_folder(make):
    apart = ("stimuli/test/x.jpg", "saliency/test/x.png", "stimuli/test/y.jpg")
    folder = make(*flat(5), *apart, "saliency/test/y.png")
    dataset = open_dataset(str(folder))
    assert names(dataset.test) == ["x", "y"]
    assert sorted(names(dataset.train + dataset.valid)) == [f"{n:04d}" for n in range(5)]
    assert {sample.file for sample in dataset.test} == {"test/x.jpg", "test/y.jpg"}
    (folder / "saliency/test/y.png").unlink()
    with pytest.raises(DataError, match=r"test/y\.jpg"):
        open_dataset(str(folder))


@pytest.mark.parametrize("name", ["training", "Train", "validation", "valid", "dev", "tst", "TEST"])
def test_folders_that_look_like_splits_are_not_pooled(make, name):
    folder = make(*(f"{part.split('/')[0]}/{name}/{part.split('/')[1]}" for part in flat(4)))
    with pytest.raises(DataError, match=f"stimuli/{name}/.*rename"):
        open_dataset(str(folder))


def test_two_images_are_enough_and_one_is_not(make):
    two = open_dataset(str(make(*flat(2), folder="two")))
    assert (len(two.train), len(two.valid)) == (1, 1)
    with pytest.raises(DataError, match="stimuli"):
        open_dataset(str(make(*flat(1), folder="one")))


def test_hidden_files_and_files_of_the_system_are_ignored(make):
    folder = make(
        *flat(2),
        *("stimuli/.DS_Store", "stimuli/Thumbs.db", "stimuli/._0000.jpg", "saliency/desktop.ini"),
        *("stimuli/.cache/x.jpg", "saliency/notes.txt"),
    )
    assert len(open_dataset(str(folder)).train) == 1


def test_every_file_that_does_not_match_is_listed(make):
    folder = make(
        *("stimuli/a.jpg", "stimuli/b.jpg", "stimuli/d.jpg", "stimuli/d.png", "stimuli/e.jpg"),
        *("saliency/b.png", "saliency/c.png", "saliency/d.png", "saliency/e.png", "saliency/e.jpg"),
    )
    with pytest.raises(DataError) as caught:
        open_dataset(str(folder))
    text = str(caught.value)
    listed = [line for line in text.splitlines() if line.startswith("  - ")]
    assert len(listed) == 4
    for expected in (
        ("stimuli/a.jpg", "saliency/a.png"),
        ("saliency/c.png", "stimuli/c.jpg"),
        ("stimuli/d.jpg", "stimuli/d.png"),
        ("saliency/e.jpg", "saliency/e.png"),
    ):
        assert any(all(file in line for file in expected) for line in listed)


def test_the_message_fits_a_folder_with_fixations_only(make):
    folder = make("stimuli/a.jpg", "stimuli/b.jpg", "fixations/a.csv")
    with pytest.raises(DataError, match=r"b\.jpg: no fixations") as caught:
        open_dataset(str(folder))
    (advice,) = (line for line in str(caught.value).splitlines() if line.startswith("Every image"))
    assert "fixations/" in advice


def test_problems_are_listed_although_sigma_needs_fixations(make):
    for folder in (make("stimuli/notes.txt", "saliency/a.png"), make(*flat(2), "stimuli/x.jpg")):
        with pytest.raises(DataError, match=r"  - \S+: no (images|map)"):
            open_dataset(str(folder), sigma=8)


def test_no_name_is_not_the_current_folder(make, monkeypatch):
    monkeypatch.chdir(make(*flat(2)))
    with pytest.raises(UsageError, match="No such dataset"):
        open_dataset("")


def test_a_hundred_images_without_maps_are_all_named(make):
    folder = make(*(f"stimuli/{number}.jpg" for number in range(100)), "saliency/0.png")
    with pytest.raises(DataError) as caught:
        open_dataset(str(folder))
    assert all(f"stimuli/{number}.jpg: no map" in str(caught.value) for number in range(1, 100))


def test_the_usable_part_can_still_be_checked(make):
    dataset, problems = survey(str(make(*flat(3), "stimuli/extra.jpg")))
    assert names(dataset.train) == ["0000", "0001", "0002"]
    (problem,) = problems
    assert "stimuli/extra.jpg" in problem
    assert "saliency/extra.png" in problem


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["photo.jpg"], "stimuli/:"),
        (["stimuli/a.jpg"], "saliency/:"),
        (["stimuli/notes.txt", "saliency/a.png"], "stimuli/:"),
        (["stimuli/train/a.jpg", "saliency/train/a.png"], "stimuli/val/:"),
        (["stimuli/train/a.jpg", "stimuli/val/b.jpg", "saliency/a.png"], "saliency/train/a"),
    ],
)
def test_the_layout_is_shown_for_a_folder_that_is_not_a_dataset(make, files, problem):
    with pytest.raises(DataError) as caught:
        open_dataset(str(make(*files)))
    assert problem in str(caught.value)
    assert "saliency/train/NAME.png" in str(caught.value)


def test_an_unknown_name_gets_a_suggestion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="'salicon'"):
        open_dataset("salicom")
    with pytest.raises(UsageError, match="'nowhere/at/all'"):
        open_dataset("nowhere/at/all")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match=r"photo\.jpg"):
        open_dataset("photo.jpg")


def test_a_missing_published_dataset_is_shown_with_its_address_and_folder(tmp_path):
    for name, known in PUBLISHED.items():
        with pytest.raises(UsageError) as caught:
            open_dataset(name, tmp_path)
        assert str(tmp_path / name) in str(caught.value)
        assert all(source.address in str(caught.value) for source in known.sources)
        assert "--data-root" in str(caught.value)


def test_the_table_says_what_was_published():
    assert list(PUBLISHED) == [
        *("salicon", "mit1003", "cat2000", "dutomron", "pascals", "osie", "fiwi"),
    ]
    assert {known.image_size for known in PUBLISHED.values()} == {
        (240, 320),
        (360, 360),
        (216, 384),
    }
    sources = [source for known in PUBLISHED.values() for source in known.sources]
    assert all(source.address.startswith("https://") or source.checksum for source in sources)


def test_a_published_set_has_its_size_and_split(make, tmp_path):
    make(*flat(149), folder="fiwi")
    fiwi = open_dataset("fiwi", tmp_path, split_seed=7)
    assert fiwi.image_size == (216, 384)
    order = np.arange(149)
    np.random.RandomState(42).shuffle(order)
    assert names(fiwi.train) == [f"{number:04d}" for number in order[:99]]
    assert names(fiwi.valid) == [f"{number:04d}" for number in order[99:]]


def test_an_incomplete_published_dataset_is_only_valid_by_its_path(make, tmp_path):
    folder = make(*flat(20), folder="fiwi")
    with pytest.raises(DataError, match=r"20 .*FIWI.* 149"):
        open_dataset("fiwi", tmp_path)
    assert len(open_dataset(str(folder)).train) == 16


def test_salicon_must_be_split(make, tmp_path):
    make(*flat(4), folder="salicon")
    with pytest.raises(DataError, match="SALICON"):
        open_dataset("salicon", tmp_path)


def test_categories_are_split_alike():
    train, valid = split(2000, 1600, categories=20)
    order = np.arange(100)
    np.random.RandomState(42).shuffle(order)
    assert train[:80] == order[:80].tolist()
    assert train[80:160] == (order[:80] + 100).tolist()
    assert valid[-20:] == (order[80:] + 1900).tolist()


def test_names_in_categories_and_endings_of_published_maps_are_paired(make):
    folder = make(
        *("stimuli/Art/1.jpg", "stimuli/Art/2.jpg", "stimuli/Art/Output/1_SaliencyMap.jpg"),
        *("stimuli/Sketch/1.jpg", "saliency/Art/1.jpg", "saliency/Art/2_fixMap.jpg"),
        *("saliency/Sketch/1.jpg", "fixations/Art/2_fixPts.jpg"),
    )
    dataset = open_dataset(str(folder))
    samples = {sample.name: sample for sample in dataset.train + dataset.valid}
    assert sorted(samples) == ["Art/1", "Art/2", "Sketch/1"]
    assert samples["Art/2"].fixations == folder / "fixations/Art/2_fixPts.jpg"


def test_any_folder_is_also_found_in_the_root(make, tmp_path):
    make(*flat(5), folder="sets/birds")
    assert len(open_dataset("birds", tmp_path / "sets").valid) == 1


def test_a_map_of_another_shape_than_its_image_is_refused(tmp_path):
    folder = tmp_path / "askew"
    for name, size in (("0", (40, 30)), ("1", (30, 40)), ("2", (80, 60)), ("3", (27, 20))):
        for part, shape in (("stimuli", (40, 30)), ("saliency", size)):
            path = folder / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", shape, 9).save(path)
    dataset = open_dataset(str(folder))
    samples = {sample.name: sample for sample in dataset.train + dataset.valid}
    for fine in ("0", "2", "3"):
        image, map = samples[fine].load((24, 32))
        assert image.shape == (24, 32, 3) and map.shape == (24, 32, 1)
    with pytest.raises(DataError, match=r"1\.png.*40x30.*30x40"):
        samples["1"].load((24, 32))
