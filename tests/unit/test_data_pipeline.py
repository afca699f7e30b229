"""Batches are the same for any number of threads, in order, from anywhere in an epoch."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msinet_core.data.dataset import open_dataset
from msinet_core.data.pipeline import PREFETCH, BatchPipeline
from msinet_core.errors import DataError

SIZE = (2, 3)


@dataclass
class Recorder:
    """Samples whose pixels say which they are; it notes what is read, and can fail or dawdle."""

    read: list[int] = field(default_factory=list)
    fails_at: int | None = None
    delay: float = 0.0

    def samples(self, count: int) -> list[Numbered]:
        return [Numbered(number, self) for number in range(count)]


@dataclass
class Numbered:
    number: int
    recorder: Recorder

    def load(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        self.recorder.read.append(self.number)
        time.sleep(self.recorder.delay * (1 + self.number % 3))
        if self.number == self.recorder.fails_at:
            raise DataError(f"Image {self.number}.jpg is damaged.")
        return np.full((*size, 3), self.number), np.full((*size, 1), self.number / 1000)


def numbers(batches) -> list[list[int]]:
    return [batch.images[:, 0, 0, 0].astype(int).tolist() for batch in batches]


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("msinet-data")]


def pipeline(count: int, batch_size: int = 1, recorder: Recorder | None = None, **options):
    return BatchPipeline((recorder or Recorder()).samples(count), SIZE, batch_size, **options)


def test_without_shuffling_every_epoch_has_the_same_order():
    batches = pipeline(7, 3)
    for epoch in (0, 5):
        assert numbers(batches.batches(epoch)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_are_canonical_arrays():
    (batch,) = pipeline(2, 2).batches()
    assert batch.images.shape == (2, *SIZE, 3)
    assert batch.maps.shape == (2, *SIZE, 1)
    for array in batch:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
    np.testing.assert_allclose(batch.maps[1], 0.001)


def test_the_order_comes_from_seed_and_epoch_alone():
    shuffled = pipeline(50, 50, seed=9, shuffle=True)
    for epoch in (0, 1, 7):
        expected = np.random.Generator(np.random.PCG64([9, epoch])).permutation(50)
        assert numbers(shuffled.batches(epoch)) == [expected.tolist()]
    assert numbers(shuffled.batches(0)) != numbers(shuffled.batches(1))
    assert numbers(shuffled.batches(0)) != numbers(pipeline(50, 50, shuffle=True).batches(0))


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(0, 20),
    batch_size=st.integers(1, 6),
    workers=st.integers(1, 12),
    epoch=st.integers(0, 3),
    start=st.integers(0, 8),
    seed=st.integers(0, 2**32),
)
def test_threads_change_nothing_and_an_epoch_resumes_exactly(
    count, batch_size, workers, epoch, start, seed
):
    plain = pipeline(count, batch_size, seed=seed, shuffle=True, workers=1)
    recorder = Recorder()
    other = pipeline(count, batch_size, recorder, seed=seed, shuffle=True, workers=workers)
    whole = numbers(plain.batches(epoch))
    assert len(whole) == -(-count // batch_size)
    assert sorted(number for batch in whole for number in batch) == list(range(count))
    assert numbers(other.batches(epoch, start)) == whole[start:]
    skipped = {number for batch in whole[:start] for number in batch}
    assert not skipped & set(recorder.read), "batches before the start are not read"


def test_slow_and_quick_files_come_out_in_order():
    batches = pipeline(20, 2, Recorder(delay=0.002), workers=4)
    assert numbers(batches.batches()) == [[n, n + 1] for n in range(0, 20, 2)]


@pytest.mark.parametrize(("workers", "prefetch"), [(4, PREFETCH), (12, 6)])
def test_no_more_than_the_prefetched_batches_are_read_ahead(workers, prefetch):
    recorder = Recorder()
    batches = pipeline(40, 2, recorder, workers=workers).batches()
    for used in range(1, 6):
        next(batches)
        time.sleep(0.02)
        assert len(recorder.read) <= 2 * (used + prefetch)
    batches.close()


@pytest.mark.parametrize(("batch_size", "shards"), [(1, 1), (4, 1), (4, 2)])
def test_every_thread_is_busy_with_small_batches(batch_size, shards):
    recorder = Recorder(delay=0.05)
    batches = pipeline(100, batch_size, recorder, workers=16, shard=(0, shards)).batches()
    next(batches)
    assert len(set(recorder.read)) > 16
    batches.close()


def test_a_bad_file_is_raised_instead_of_its_batch_and_the_threads_end():
    batches = pipeline(30, 1, Recorder(fails_at=6), workers=3).batches()
    assert numbers(islice(batches, 6)) == [[n] for n in range(6)]
    with pytest.raises(DataError, match=r"6\.jpg"):
        next(batches)
    assert not reading_threads()


def test_closing_early_stops_the_threads_without_reading_the_rest():
    recorder = Recorder(delay=0.005)
    batches = pipeline(1000, 1, recorder, workers=4).batches()
    next(batches)
    assert reading_threads()
    batches.close()
    assert not reading_threads()
    assert len(recorder.read) < 20


def test_an_exception_or_an_interrupt_in_the_loop_leaves_no_thread():
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            consume_one(pipeline(100).batches(), error)
        assert not reading_threads()


def consume_one(batches, error: type[BaseException]) -> None:
    for _ in batches:
        raise error


def test_an_epoch_that_is_used_up_leaves_no_thread():
    assert len(list(pipeline(5).batches())) == 5
    assert not reading_threads()


def test_a_truncated_file_of_a_folder_is_named(tiny_data: Path):
    broken = tiny_data / "stimuli" / "train" / "train02.png"
    broken.write_bytes(broken.read_bytes()[:100])
    dataset = open_dataset(str(tiny_data))
    batches = BatchPipeline(dataset.train, (32, 40), 1).batches()
    assert len(list(islice(batches, 2))) == 2
    with pytest.raises(DataError, match=r"train02\.png"):
        next(batches)


def test_images_and_maps_at_their_own_size_are_unchanged(tiny_data: Path):
    dataset = open_dataset(str(tiny_data))
    (batch,) = BatchPipeline(dataset.train, (32, 40), 5).batches()
    for row, sample in enumerate(dataset.train):
        np.testing.assert_array_equal(batch.images[row], np.asarray(Image.open(sample.stimulus)))
        np.testing.assert_array_equal(batch.maps[row], sample.read_map())
