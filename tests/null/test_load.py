"""The front door to prediction: load weights onto a device, and predict."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import msinet_core as msinet
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.training.initial_weights import random_state


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    graph = msinet.msinet_graph(0.02)
    path = tmp_path / "narrow.msinet.h5"
    save_checkpoint(
        path, Checkpoint(graph, random_state(graph, 1), metadata={"image_size": [24, 32]})
    )
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (36, 50, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_photo_gets_a_map_of_its_own_size(weights: Path, photo: Path, capfd) -> None:
    model = msinet.load(weights, device="reference")
    saliency = model.predict(photo)
    assert (saliency.shape, saliency.dtype) == ((36, 50), np.float32)
    assert 0 <= saliency.min() < saliency.max() <= 1
    np.testing.assert_array_equal(model.predict(np.asarray(Image.open(photo))), saliency)
    for found in model.predict([photo, Image.open(photo)]):
        np.testing.assert_allclose(found, saliency, atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_the_size_is_that_of_training_unless_given(weights: Path) -> None:
    def size(**options):
        return msinet.load(str(weights), "reference", **options).image_size

    assert size() == (24, 32)
    assert size(image_size=(16, 24)) == (16, 24)
    assert size(image_size=[16, 24]) == (16, 24)
    assert size(image_size="original") is None


def test_batches_have_one_image_at_original_size_unless_given(weights: Path) -> None:
    assert msinet.load(weights, "reference").batch_size > 1
    assert msinet.load(weights, "reference", image_size="original").batch_size == 1
    assert msinet.load(weights, "reference", image_size="original", batch_size=3).batch_size == 3


def test_the_predictor_names_its_device_and_precision(weights: Path) -> None:
    model = msinet.load(weights, "reference", precision="float32")
    assert (model.device, model.precision) == ("reference", "float32")


def test_the_device_comes_from_the_environment_unless_given(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSINET_DEVICE", "reference")
    assert msinet.load(weights).device == "reference"
    monkeypatch.setenv("MSINET_DEVICE", "warp")
    with pytest.raises(msinet.UsageError, match="warp"):
        msinet.load(weights)
    assert msinet.load(weights, "reference").device == "reference"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "warp"}, msinet.UsageError),
        ({"precision": "float16"}, msinet.UsageError),
        ({"image_size": (20, 32)}, msinet.UsageError),
        ({"image_size": "large"}, msinet.UsageError),
        ({"image_size": 240}, msinet.UsageError),
        ({"batch_size": 0}, msinet.UsageError),
        ({"workers": 0}, msinet.UsageError),
        ({"device_options": {"warp": "9"}}, msinet.UsageError),
        ({"weights": "published:nowhere"}, msinet.UsageError),
        ({"weights": "missing.msinet.h5"}, msinet.MsinetError),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(weights: Path, options, error) -> None:
    with pytest.raises(error):
        msinet.load(**{"weights": weights, "device": "reference", **options})


def test_help_names_every_argument() -> None:
    for function in (msinet.load, msinet.evaluate, msinet.Predictor.predict):
        text = inspect.getdoc(function) or ""
        for name in inspect.signature(function).parameters:
            assert name == "self" or f"{name}:" in text, (function, name)
