from __future__ import annotations

import pickle
import threading
from collections.abc import Generator
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msinet_core.device import Model
from msinet_core.errors import DataError, MsinetError, UsageError
from msinet_core.network.msinet import msinet_graph
from msinet_core.prediction.predictor import Done, Failed, Predictor

GRAPH = msinet_graph(0.01)


class RedChannel(Model):
    """Predict that red is salient, lazily, and record the order of events."""

    device_name = "red"

    def __init__(
        self, too_large: int | None = None, error: str = "out of memory on the device"
    ) -> None:
        self.events: list[tuple[str, tuple[int, ...]]] = []
        self.too_large = too_large
        self.error = error

    def predict(self, images):
        return self.forward(images)  # of any size: there is no graph

    def forward(self, images):
        self.events.append(("dispatch", images.shape))
        return Lazy(self, images)

    def state(self):
        raise AssertionError("prediction only")


class Lazy:
    def __init__(self, model, images):
        self.model, self.images = model, images

    def __array__(self, dtype=None, copy=None):
        self.model.events.append(("fetch", self.images.shape))
        if self.model.too_large is not None and self.images.shape[1] >= self.model.too_large:
            raise RuntimeError(self.model.error)
        return (self.images[..., :1] / 255).astype(dtype or np.float32)


def image(height=24, width=32, red=255.0):
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    pixels[..., 0] = red
    return pixels


def mean(item, prediction):
    return float(prediction.restored().mean())


def forms(tmp_path):
    """One image in every form that `predict` accepts."""
    pixels = image(48, 64).astype(np.uint8)
    pixels[:, :32, 0] = 0
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "photo.png")
    path = tmp_path / "photo.png"
    return [pixels, pixels.astype(np.float64), picture, path, str(path)]


def test_every_form_of_an_image_gets_the_same_map_at_its_own_size(tmp_path):
    predictor = Predictor(RedChannel(), GRAPH, (24, 32))
    maps = [predictor.predict(form) for form in forms(tmp_path)]
    assert maps[0].shape == (48, 64)
    assert maps[0].dtype == np.float32
    assert maps[0][:, :28].max() < 0.1
    assert maps[0][:, 36:].min() > 0.9
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_an_iterable_of_images_yields_a_map_of_each(tmp_path, kind):
    predictor = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=2)
    expected = predictor.predict(forms(tmp_path)[0])
    found = predictor.predict(kind(forms(tmp_path)))
    assert isinstance(found, Generator)
    found = list(found)
    assert len(found) == 5
    for saliency in found:
        np.testing.assert_array_equal(saliency, expected)
    assert list(predictor.predict([])) == []


def test_maps_come_in_the_order_of_images_of_many_sizes():
    sizes = [(8, 8 * (1 + index * 7 % 11)) for index in range(60)]
    predictor = Predictor(RedChannel(), GRAPH, None, batch_size=4, workers=3)
    found = predictor.predict(image(*size, red=index) for index, size in enumerate(sizes))
    for index, (size, saliency) in enumerate(zip(sizes, found, strict=True)):
        assert saliency.shape == size
        assert saliency[0, 0] == pytest.approx(index / 255, abs=1e-6)


def test_an_image_that_cannot_be_read_is_raised_in_its_turn(tmp_path):
    predictor = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=2)
    found = predictor.predict([image(), image(), tmp_path / "missing.png", image()])
    assert next(found).shape == next(found).shape == (24, 32)
    with pytest.raises(DataError, match=r"missing\.png"):
        next(found)


def test_an_error_of_the_iterable_is_raised_after_the_maps_before_it():
    def photos():
        yield from (image(red=index) for index in range(4))
        raise LookupError("the fifth")

    found = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=3).predict(photos())
    assert [round(255 * float(next(found)[0, 0])) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(LookupError, match="the fifth"):
        next(found)


def test_a_generator_that_is_closed_stops_reading():
    read = []

    def photos():
        for index in range(500):
            read.append(index)
            yield image()

    found = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=1, workers=1).predict(photos())
    next(found)
    found.close()
    assert len(read) < 50
    assert not [t for t in threading.enumerate() if t.name.startswith("msinet-images")]


@pytest.mark.parametrize("value", [None, 3, b"photo.png"])
def test_what_is_not_an_image_is_refused(value):
    predictor = Predictor(RedChannel(), GRAPH, (24, 32))
    with pytest.raises(UsageError, match=type(value).__name__):
        predictor.predict(value)
    with pytest.raises(UsageError, match=type(value).__name__):
        list(predictor.predict([value]))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([8, 16, 20, 24]), st.sampled_from([8, 31, 32])), max_size=25
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([None, (16, 24)]),
)
def test_every_image_gets_its_own_map_in_order(sizes, batch_size, workers, image_size):
    model = RedChannel()
    predictor = Predictor(model, GRAPH, image_size, batch_size, workers)

    def load(index):
        return image(*sizes[index], red=index * 10)

    outcomes = list(predictor.stream(range(len(sizes)), load, lambda _, found: found.restored()))
    assert [outcome.item for outcome in outcomes] == list(range(len(sizes)))
    for outcome in outcomes:
        assert isinstance(outcome, Done)
        assert outcome.result.shape == sizes[outcome.item]
        np.testing.assert_allclose(outcome.result[4, 4], outcome.item * 10 / 255, atol=1e-6)
    for _, (count, height, width, channels) in model.events:
        assert 1 <= count <= batch_size
        assert (height % 8, width % 8, channels) == (0, 0, 3)
        assert image_size in (None, (height, width))


def test_images_of_one_size_share_full_batches_whatever_is_between():
    model = RedChannel()
    sizes = [(8, 8), (16, 16)] * 6
    predictor = Predictor(model, GRAPH, None, batch_size=3)
    list(predictor.stream(range(12), lambda index: image(*sizes[index]), mean))
    assert sorted(shape for name, shape in model.events if name == "dispatch") == [
        (3, 8, 8, 3),
        (3, 8, 8, 3),
        (3, 16, 16, 3),
        (3, 16, 16, 3),
    ]


def test_an_image_of_a_lone_size_does_not_hold_the_others_back():
    read = []

    def images():
        for number in range(200):
            read.append(number)
            yield image(16, 16) if number == 0 else image(8, 8)

    maps = Predictor(RedChannel(), GRAPH, None, batch_size=8, workers=2).predict(images())
    next(maps)
    assert len(read) < 80
    assert len(list(maps)) == 199


def test_an_iterable_may_yield_one_buffer_or_picture_again_and_again():
    buffer, picture = image(), Image.new("RGB", (32, 24))

    def frames():
        for value in range(20):
            buffer[..., 0] = 10 * value
            yield buffer

    def pictures():
        for value in range(20):
            picture.paste((10 * value, 0, 0), (0, 0, 32, 24))
            yield picture

    predictor = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=3, workers=2)
    for images in (frames(), pictures()):
        reds = [float(saliency.max()) * 255 for saliency in predictor.predict(images)]
        np.testing.assert_allclose(reds, [10 * value for value in range(20)], atol=1e-3)


def test_relative_paths_are_those_of_when_they_were_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 24), "red").save("a.png")
    maps = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=1).predict(["a.png"] * 3)
    next(maps)
    monkeypatch.chdir("/")
    assert len(list(maps)) == 2


def test_a_predictor_shows_what_it_is_and_cannot_be_pickled():
    predictor = Predictor(RedChannel(), GRAPH, (24, 32))
    assert "red" in repr(predictor)
    assert "24x32" in repr(predictor)
    with pytest.raises(TypeError, match="load"):
        pickle.dumps(predictor)


def test_own_size_is_rounded_up_to_what_the_network_accepts():
    predictor = Predictor(RedChannel(), GRAPH, None)
    assert predictor.network_size((601, 800)) == (608, 800)
    assert predictor.network_size((1, 8)) == (8, 8)


def test_a_batch_is_fetched_after_the_next_one_was_submitted():
    model = RedChannel()
    list(Predictor(model, GRAPH, (24, 32), 1).stream(range(3), lambda _: image(), mean))
    assert [name for name, _ in model.events] == [
        "dispatch",
        "dispatch",
        "fetch",
        "dispatch",
        "fetch",
        "fetch",
    ]


@pytest.mark.parametrize("image_size", [(24, 32), None], ids=["one size", "never a full batch"])
def test_images_are_read_ahead_within_bounds(image_size):
    requested = []

    def items():
        for index in range(1000):
            requested.append(index)
            yield index

    predictor = Predictor(RedChannel(), GRAPH, image_size, batch_size=2, workers=2)
    stream = predictor.stream(items(), lambda index: image(8, 8 * (index % 100 + 1)), mean)
    with closing(stream) as outcomes:
        for done, _ in zip(range(1, 90), outcomes, strict=False):
            assert len(requested) - done < 30


def test_closing_early_drops_what_has_not_begun():
    finished = []
    predictor = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=1, workers=1)
    outcomes = predictor.stream(range(50), lambda _: image(), lambda item, _: finished.append(item))
    next(outcomes)
    outcomes.close()
    count = len(finished)
    assert 1 <= count < 50
    assert not [t for t in threading.enumerate() if t.name.startswith("msinet-images")]


@pytest.mark.parametrize("error", [DataError("cut off"), ValueError("odd decoder"), MemoryError()])
def test_an_image_that_cannot_be_read_fails_alone(error):
    def load(index):
        if index == 3:
            raise error
        return image()

    outcomes = list(Predictor(RedChannel(), GRAPH, (24, 32), 2).stream(range(8), load, mean))
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert [(outcome.item, outcome.error) for outcome in failed] == [(3, error)]
    assert failed[0].reason.startswith(("cut off", "ValueError: odd", "MemoryError"))
    assert len(outcomes) == 8


def test_a_map_that_cannot_be_used_fails_alone():
    def finish(index, prediction):
        if index == 2:
            raise DataError("no such map")
        return index

    outcomes = list(
        Predictor(RedChannel(), GRAPH, (24, 32), 2).stream(range(5), lambda _: image(), finish)
    )
    assert [outcome.item for outcome in outcomes if isinstance(outcome, Failed)] == [2]


def test_an_error_of_the_file_system_stops_everything():
    written = []

    def finish(index, prediction):
        if len(written) == 3:
            raise MsinetError("the disk is full")
        written.append(index)

    predictor = Predictor(RedChannel(), GRAPH, (24, 32), batch_size=1, workers=1)
    with pytest.raises(MsinetError, match="the disk is full"):
        list(predictor.stream(range(500), lambda _: image(), finish))
    assert len(written) == 3


def test_a_device_that_fails_stops_everything():
    predictor = Predictor(RedChannel(too_large=1), GRAPH, (24, 32))
    with pytest.raises(MsinetError, match=r"24x32: RuntimeError: out of memory.*--batch-size"):
        list(predictor.stream(range(5), lambda _: image(), mean))


def test_a_failure_that_is_not_about_memory_does_not_speak_of_it():
    predictor = Predictor(RedChannel(1, "no such kernel"), GRAPH, (24, 32))
    with pytest.raises(MsinetError, match=r"no such kernel.*plugins check red") as caught:
        list(predictor.stream(range(5), lambda _: image(), mean))
    assert "memory" not in str(caught.value)


def test_an_image_too_large_for_the_device_fails_alone_when_sizes_are_their_own():
    predictor = Predictor(RedChannel(too_large=100), GRAPH, None, batch_size=1)
    sizes = [(16, 16), (100, 16), (16, 16)]
    outcomes = list(predictor.stream(range(3), lambda index: image(*sizes[index]), mean))
    assert {outcome.item: isinstance(outcome, Done) for outcome in outcomes} == {
        0: True,
        1: False,
        2: True,
    }


def test_a_size_that_the_network_does_not_accept_is_refused():
    with pytest.raises(UsageError, match="20x32"):
        Predictor(RedChannel(), GRAPH, (20, 32))


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(UsageError, match=name):
        Predictor(RedChannel(), GRAPH, (24, 32), **{name: 0})
