"""Fitted samples from the cache: the same bits, keyed by content, bounded, safe to share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from msinet_core.data import cache as cache_module
from msinet_core.data import sample as sample_module
from msinet_core.data.cache import FittedCache, cache_sizes, clear_cache
from msinet_core.data.dataset import open_dataset
from msinet_core.data.pipeline import BatchPipeline
from msinet_core.data.sample import Sample
from msinet_core.errors import UsageError

if TYPE_CHECKING:
    from tests.conftest import Run

SIZE = (24, 32)
ENTRY = 4 * 4 * 24 * 32


@pytest.fixture
def samples(tiny_data: Path) -> tuple[Sample, ...]:
    return open_dataset(str(tiny_data)).train


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that were decoded, in order."""
    read, paths = sample_module.read_image, []

    def count(path: Path) -> np.ndarray:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(sample_module, "read_image", count)
    return paths


def epoch(samples: tuple[Sample, ...], cache: FittedCache | None) -> list[bytes]:
    pipeline = BatchPipeline(samples, SIZE, 2, seed=1, shuffle=True, workers=3, cache=cache)
    return [batch.images.tobytes() + batch.maps.tobytes() for batch in pipeline.batches()]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.f32"))


def test_a_later_epoch_and_a_later_run_decode_nothing(
    samples: tuple[Sample, ...], tmp_path: Path, decoded: list[Path]
) -> None:
    expected = epoch(samples, None)
    assert len(decoded) == len(samples)
    cache = FittedCache(tmp_path / "cache")
    assert epoch(samples, cache) == expected
    assert len(decoded) == 2 * len(samples)
    assert epoch(samples, cache) == expected
    assert epoch(samples, FittedCache(tmp_path / "cache")) == expected
    assert len(decoded) == 2 * len(samples)


def test_an_entry_belongs_to_content_and_size(
    samples: tuple[Sample, ...], tmp_path: Path, decoded: list[Path]
) -> None:
    cache = FittedCache(tmp_path / "cache")

    def load(size: tuple[int, int]) -> np.ndarray:
        image, map = np.empty((*size, 3), np.float32), np.empty((*size, 1), np.float32)
        cache.load(samples[0], size, image, map)
        return np.concatenate([image, map], axis=-1)

    first = load(SIZE)
    load((48, 64))
    assert len(decoded) == 2
    for path in (samples[0].stimulus, samples[0].map):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        os.utime(path, ns=(1, 1))
        changed = load(SIZE)
        assert not np.array_equal(changed, first)
        first = changed
    assert len(decoded) == 4


def test_a_damaged_entry_is_replaced(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    expected = epoch(samples, FittedCache(tmp_path / "cache"))
    broken = entries(tmp_path / "cache")[0]
    broken.write_bytes(b"half")
    assert epoch(samples, FittedCache(tmp_path / "cache")) == expected
    assert broken.stat().st_size == ENTRY


def test_the_cache_is_bounded_and_older_runs_make_room(
    samples: tuple[Sample, ...], tiny_data: Path, tmp_path: Path, decoded: list[Path]
) -> None:
    folder, limit = tmp_path / "cache", 3 * ENTRY
    epoch(samples, FittedCache(folder, limit))
    assert len(entries(folder)) == 3, "the rest is read each time: an epoch would evict itself"
    valid = open_dataset(str(tiny_data)).valid
    cache = FittedCache(folder, limit)
    epoch(valid, cache)
    decoded.clear()
    epoch(valid, cache)
    assert decoded == []
    assert len(entries(folder)) == 3


def test_an_entry_that_is_just_written_counts_once(
    samples: tuple[Sample, ...], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, limit = tmp_path / "cache", 3 * ENTRY
    epoch(samples, FittedCache(folder, limit))
    first, second, third = open_dataset(str(tiny_data)).valid
    cache = FittedCache(folder, limit)
    write, waiting = cache_module.atomic_path, []

    def load(sample: Sample) -> None:
        image, map = (np.empty((*SIZE, channels), np.float32) for channels in (3, 1))
        cache.load(sample, SIZE, image, map)

    @contextmanager
    def write_and_load(path: Path) -> Iterator[Path]:
        with write(path) as temporary:
            yield temporary
        while waiting:  # as another thread may
            load(waiting.pop())

    monkeypatch.setattr(cache_module, "atomic_path", write_and_load)
    load(first)
    waiting.append(third)
    load(second)
    assert len(entries(folder)) == 3


def test_a_cache_in_use_is_searched_once(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FittedCache(tmp_path / "cache", 2 * ENTRY)
    searches, search = [], cache._remove_oldest
    monkeypatch.setattr(cache, "_remove_oldest", lambda wanted: searches.append(search(wanted)))
    for _ in range(2):
        epoch(samples, cache)
    assert len(searches) == 1
    assert len(entries(tmp_path / "cache")) == 2


def test_entries_that_another_process_removes_are_no_failure(
    samples: tuple[Sample, ...], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, limit = tmp_path / "cache", 3 * ENTRY
    epoch(samples, FittedCache(folder, limit))
    cache, glob = FittedCache(folder, limit), Path.glob

    def vanishing(path: Path, pattern: str) -> list[Path]:
        found = list(glob(path, pattern))
        for entry in found[:2]:
            entry.unlink()
        return found

    monkeypatch.setattr(Path, "glob", vanishing)
    monkeypatch.setattr("msinet_core.data.cache.cache_folder", lambda: folder)
    valid = open_dataset(str(tiny_data)).valid
    assert epoch(valid, cache) == epoch(valid, None)
    cache_sizes()


def test_a_full_or_read_only_disk_costs_time_only(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    assert epoch(samples, FittedCache(tmp_path / "cache")) == epoch(samples, None)


def test_several_caches_share_a_folder(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    expected = epoch(samples, None)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: epoch(samples, FittedCache(tmp_path / "cache")), range(8)))
    assert runs == [expected] * 8
    assert {path.stat().st_size for path in entries(tmp_path / "cache")} == {ENTRY}
    assert len(entries(tmp_path / "cache")) == len(samples)


def test_the_limit_is_a_number_of_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: tuple[Sample, ...]
) -> None:
    monkeypatch.setenv("MSINET_CACHE_GB", "0")
    epoch(samples, FittedCache(tmp_path))
    assert entries(tmp_path) == []
    for invalid in ("many", "-1", "nan", "inf"):
        monkeypatch.setenv("MSINET_CACHE_GB", invalid)
        with pytest.raises(UsageError, match="MSINET_CACHE_GB"):
            FittedCache(tmp_path)


def test_clearing_frees_the_space_and_keeps_downloads(
    run: Run, samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setattr("msinet_core.data.cache.cache_folder", lambda: folder)
    epoch(samples, FittedCache(folder))
    (folder / "weights").mkdir()
    (folder / "weights" / "vgg16.h5").write_text("kept")
    assert cache_sizes()["fitted"] == len(samples) * ENTRY
    assert "fitted" in run("data", "cache", "show").stdout
    assert run("data", "cache", "clear").exit_code == 0
    assert clear_cache() == 0
    assert [path.name for path in folder.iterdir()] == ["weights"]
