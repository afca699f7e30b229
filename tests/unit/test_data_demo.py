"""The demo set is the same everywhere, is learnable, and never takes another folder's place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from msinet_core.data.check import check_dataset
from msinet_core.data.dataset import open_dataset
from msinet_core.data.demo import make_demo
from msinet_core.data.images import read_image
from msinet_core.errors import DataError
from msinet_core.system.progress import Progress

SMALL = {"train": 3, "valid": 2, "size": (96, 128)}


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("msinet_core.data.demo.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_it_is_a_valid_dataset_with_fixations(tmp_path):
    dataset = open_dataset(str(make_demo(tmp_path / "demo", **SMALL)))
    assert (len(dataset.train), len(dataset.valid)) == (3, 2)
    report = check_dataset(str(tmp_path / "demo"))
    assert report.problems == []
    assert report.images == 5
    assert report.fixations > 5 * 8 * 5
    assert report.outside == 0
    image, map = dataset.train[0].load((96, 128))
    assert image.shape == (96, 128, 3)
    assert map.max() == 1
    assert len(dataset.train[0].read_fixations().observers) == 8


def test_the_same_settings_give_the_same_files_and_others_do_not(tmp_path):
    first = digests(make_demo(tmp_path / "a", **SMALL))
    assert first == digests(make_demo(tmp_path / "b", **SMALL))
    assert len(first) == 3 * 5 + 1
    other = digests(make_demo(tmp_path / "c", **SMALL, seed=8))
    assert all(first[name] != other[name] for name in first)


def test_more_images_do_not_change_the_first(tmp_path):
    few = digests(make_demo(tmp_path / "few", **SMALL))
    many = digests(make_demo(tmp_path / "many", train=4, valid=2, size=(96, 128)))
    name = "stimuli/train/scene-0002.jpg"
    assert few[name] == many[name]


def test_the_odd_ones_are_brighter_than_the_rest_and_draw_the_eyes(tmp_path):
    dataset = open_dataset(str(make_demo(tmp_path / "demo", train=8, valid=1)))
    for sample in dataset.train:
        image, map = read_image(sample.stimulus), sample.read_map()[..., 0]
        brightness = image.max(axis=2)
        assert brightness[map > 0.8].mean() > brightness[map < 0.05].mean() + 50
        looks = sample.read_fixations().points
        assert map[looks[:, 0], looks[:, 1]].mean() > 5 * map.mean()


def test_what_is_made_already_is_left_as_it_is(tmp_path):
    folder = make_demo(tmp_path / "demo", **SMALL)
    marked = folder / "stimuli" / "train" / "scene-0000.jpg"
    marked.write_bytes(b"mine")
    make_demo(folder, **SMALL)
    assert marked.read_bytes() == b"mine"


def test_a_folder_with_other_content_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(DataError, match="photos"):
        make_demo(tmp_path / "photos", **SMALL)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    with pytest.raises(DataError, match=r"a\.jpg"):
        make_demo(tmp_path / "photos" / "a.jpg", **SMALL)
    folder = make_demo(tmp_path / "demo", **SMALL)
    with pytest.raises(DataError, match="seed"):
        make_demo(folder, **SMALL, seed=8)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "demo").mkdir()
    make_demo(tmp_path / "demo", **SMALL)
    assert (tmp_path / "demo" / "demo.json").is_file()


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(scene: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("msinet_core.data.demo.fixation_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_two_that_create_it_at_once_get_the_same(tmp_path):
    class Other(Progress):
        """Another process, which is done first."""

        def task(self, *args, **kwargs):
            make_demo(tmp_path / "demo", 2, 1, size=(32, 40))
            return super().task(*args, **kwargs)

    assert make_demo(tmp_path / "demo", 2, 1, size=(32, 40), progress=Other()).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="msinet-run data demo DIR"):
        make_demo(tmp_path / "file" / "demo", **SMALL)


def test_by_name_it_is_made_in_the_cache_when_it_is_not_under_the_root(tmp_path, cache):
    dataset = open_dataset("demo", tmp_path / "nowhere")
    assert (len(dataset.train), len(dataset.valid)) == (60, 15)
    assert dataset.name == "demo"
    assert dataset.image_size == (240, 320)
    assert cache in dataset.train[0].stimulus.parents


def test_by_name_the_one_under_the_root_is_taken(tmp_path, cache):
    make_demo(tmp_path / "sets" / "demo", **SMALL)
    assert len(open_dataset("demo", tmp_path / "sets").train) == 3
    assert not cache.exists()
