"""OSIE: one MATLAB file of fixations; maps are blurred from it once and kept."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from msinet_core.data import maps
from msinet_core.data.dataset import open_dataset, survey
from msinet_core.data.fixations import Fixations
from msinet_core.data.images import read_map
from msinet_core.data.maps import saliency_map
from msinet_core.data.osie import OSIE_SIGMA, read_osie, scan_osie
from msinet_core.errors import DataError

REAL = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared")) / "data"
SIZE = (48, 64)


def write_osie(folder: Path, images: dict[str, list[tuple[list[float], list[float]]]]) -> Path:
    """Write stimuli and fixations.mat: for each image the observers' x and y, from 1."""
    (folder / "stimuli").mkdir(parents=True, exist_ok=True)
    entries = np.zeros((len(images), 1), dtype=[("img", object), ("subjects", object)])
    for entry, (name, observers) in zip(entries[:, 0], images.items(), strict=True):
        subjects = np.zeros((len(observers), 1), dtype=[("fix_x", object), ("fix_y", object)])
        for subject, (x, y) in zip(subjects[:, 0], observers, strict=True):
            subject["fix_x"], subject["fix_y"] = np.array([x]), np.array([y])
        entry["img"], entry["subjects"] = name, subjects
        Image.new("RGB", SIZE[::-1]).save(folder / "stimuli" / name)
    savemat(folder / "fixations.mat", {"fixations": entries})
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    points = {
        "1.jpg": [([1.0, 64.4, 65.0], [1.0, 48.4, 3.0]), ([10.5], [20.0])],
        "2.jpg": [([30.0], [30.0])],
    }
    return write_osie(tmp_path / "osie", points)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(maps, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def samples(folder: Path, sigma: float = OSIE_SIGMA):
    return {sample.name: sample for sample in scan_osie(folder, sigma).train}


def test_fixations_are_counted_from_zero_and_those_outside_are_dropped(small, tmp_path):
    sample = samples(small)["1"]
    fixations = sample.read_fixations()
    found = [points.tolist() for points in fixations.observers]
    assert found == [[[0, 0], [47, 63]], [[19, 10]]]
    assert fixations.outside == 1


def test_a_map_is_a_gaussian_of_16_pixels_whose_peak_is_1():
    map = saliency_map(Fixations((np.array([[100, 150]]),)), (200, 300), 16)
    assert map.shape == (200, 300, 1)
    assert map.dtype == np.float32
    assert map[100, 150, 0] == map.max() == 1
    for distance in (8, 16, 32):
        expected = np.exp(-(distance**2) / (2 * 16**2))
        assert map[100, 150 + distance, 0] == pytest.approx(expected, abs=1 / 255)
        assert map[100 - distance, 150, 0] == pytest.approx(expected, abs=1 / 255)
    np.testing.assert_array_equal(np.rint(map * 255) / np.float32(255), map)


def test_two_observers_at_a_pixel_weigh_twice_as_much_as_one():
    points = [np.array([[40, 40]]), np.array([[40, 40]]), np.array([[40, 240]])]
    map = saliency_map(Fixations(tuple(points)), (80, 280), 16)
    assert map[40, 240, 0] == pytest.approx(0.5, abs=1 / 255)


def test_no_fixations_make_a_black_map():
    assert not saliency_map(Fixations((np.zeros((0, 2), np.int64),)), (20, 30), 16).any()


def test_a_map_is_made_once_and_is_the_same_from_the_cache(small, cache, monkeypatch):
    sample = samples(small)["1"]
    made = sample.read_map()
    assert len(list(cache.rglob("*.png"))) == 1
    monkeypatch.setattr(maps, "saliency_map", None)
    kept = samples(small)["1"].read_map()
    assert kept.tobytes() == made.tobytes()
    assert (kept.shape, kept.dtype) == (made.shape, made.dtype) == ((48, 64, 1), np.float32)


def test_maps_are_cached_by_fixations_sigma_and_size(small, tmp_path, cache):
    first = samples(small)["1"].read_map()
    other = write_osie(tmp_path / "b" / "osie", {"1.jpg": [([60.0], [40.0])]})
    assert not np.array_equal(samples(other)["1"].read_map(), first)
    Image.new("RGB", (32, 24)).save(small / "stimuli" / "1.jpg")
    assert samples(small)["1"].read_map().shape == (24, 32, 1)
    samples(small, sigma=4.0)["1"].read_map()
    assert len(list(cache.rglob("*.png"))) == 4


def test_changed_fixations_are_read_again(small, tmp_path):
    before = samples(small)["2"].read_map()
    write_osie(small, {"1.jpg": [([1.0], [1.0])], "2.jpg": [([3.0], [3.0])]})
    os.utime(small / "fixations.mat", ns=(1, 1))
    assert not np.array_equal(samples(small)["2"].read_map(), before)


def test_a_damaged_map_in_the_cache_is_created_again(small, cache):
    made = samples(small)["1"].read_map()
    (kept,) = cache.rglob("*.png")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:40])
    np.testing.assert_array_equal(samples(small)["1"].read_map(), made)
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(small, cache, caplog):
    cache.touch()
    found = samples(small)
    with caplog.at_level(logging.WARNING):
        assert found["1"].read_map().max() == 1
        assert found["2"].read_map().max() == 1
    assert len(caplog.records) == 1, "said once, not for every image"
    assert "cache" in caplog.text


def test_existing_maps_are_used(small, tmp_path):
    (small / "saliency").mkdir()
    Image.new("L", SIZE[::-1], 51).save(small / "saliency" / "1.png")
    found = samples(small)
    np.testing.assert_allclose(found["1"].read_map(), 0.2)
    assert len(found["1"].read_fixations().observers) == 2


def test_the_sigma_of_maps_in_the_folder_is_not_known(small, tmp_path):
    assert survey("osie", tmp_path)[0].sigma == OSIE_SIGMA
    (small / "saliency").mkdir()
    Image.new("L", SIZE[::-1], 51).save(small / "saliency" / "1.png")
    assert survey("osie", tmp_path)[0].sigma is None
    assert survey("osie", tmp_path, sigma=8)[0].sigma == 8


def test_images_without_fixations_and_fixations_without_images_are_listed(small, tmp_path):
    (small / "stimuli" / "2.jpg").unlink()
    Image.new("RGB", SIZE).save(small / "stimuli" / "3.jpg")
    problems = scan_osie(small).problems
    assert problems == [
        "stimuli/3.jpg: no fixations for it in fixations.mat",
        "fixations.mat, '2': no image stimuli/2.jpg",
    ]


def test_an_incomplete_set_is_refused(small, tmp_path):
    with pytest.raises(DataError, match=r"2 .*OSIE.* 700"):
        open_dataset("osie", tmp_path)
    assert len(open_dataset(str(small)).samples) == 2, "by its path it is anyone's dataset"


def test_files_that_are_not_osies_are_refused(tmp_path):
    path = tmp_path / "fixations.mat"
    with pytest.raises(DataError, match=r"fixations\.mat"):
        read_osie(path)
    savemat(path, {"other": 1})
    with pytest.raises(DataError, match="OSIE"):
        read_osie(path)
    write_osie(tmp_path, {"1.jpg": [([1.0, 2.0], [1.0])]})
    with pytest.raises(DataError, match="fix_x"):
        read_osie(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"fixations\.mat"):
        read_osie(path)


def test_one_observer_with_one_fixation_is_no_special_case(tmp_path):
    folder = write_osie(tmp_path, {"1.jpg": [([5.0], [7.0])]})
    assert [points.tolist() for points in read_osie(folder / "fixations.mat")["1"]] == [[[6, 4]]]


@pytest.mark.skipif(not (REAL / "osie").is_dir(), reason="the real OSIE set is not here")
def test_the_real_set_has_its_published_split_and_all_its_fixations(cache):
    dataset, problems = survey("osie", REAL)
    assert problems == []
    assert (len(dataset.train), len(dataset.valid)) == (500, 200)
    assert dataset.image_size == (240, 320)
    order = np.arange(700)
    np.random.RandomState(42).shuffle(order)
    assert dataset.train[0].name == str(1001 + order[0])
    assert dataset.valid[0].name == str(1001 + order[500])
    tables = [sample.fixations for sample in dataset.train + dataset.valid]
    assert {len(observers) for observers in tables} == {15}
    assert sum(len(points) for observers in tables for points in observers) == 98_321
    image, map = dataset.train[0].load(dataset.image_size)
    assert image.shape == (240, 320, 3)
    assert map.max() > 0.9
    kept = next(cache.rglob("*.png"))
    assert read_map(kept).shape == (600, 800, 1)
