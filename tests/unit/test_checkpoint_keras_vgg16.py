"""Keras' VGG16 weights, in the names of the published file and in newer ones."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from msinet_core import inspect
from msinet_core.checkpoint import load_checkpoint, published, read_weights
from msinet_core.checkpoint.formats import vgg16
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph

ENCODER = msinet_graph(0.02).between("input", "pool5")


def write_vgg16(path: Path, encoder: Graph, newer: bool = False) -> dict[str, np.ndarray]:
    """Write a file as Keras does, with a constant in each tensor; return the constants by name."""
    expected = {}
    with h5py.File(path, "w") as file:
        for place, parameter in enumerate(encoder.parameters):
            block, layer = parameter.name.split("/")[1].removeprefix("conv").split("_")
            name = f"block{block}_conv{layer}"
            if newer:
                dataset = f"{name}/{name}/{parameter.role}:0"
            else:
                dataset = f"{name}/{name}_{'W' if parameter.role == 'kernel' else 'b'}_1:0"
            expected[parameter.name] = np.full(parameter.shape, place / 10, np.float32)
            file[dataset] = expected[parameter.name]
        for number in range(1, 6):
            file.create_group(f"block{number}_pool")
        file.create_group("input_1")
    return expected


@pytest.mark.parametrize("newer", [False, True])
def test_the_encoder_is_read_under_our_names(tmp_path: Path, newer: bool) -> None:
    path = tmp_path / "vgg16.h5"
    expected = write_vgg16(path, ENCODER, newer)
    assert len(expected) == 26
    archive = vgg16.open_keras(path)
    found = archive.read_state(ENCODER).weights
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, expected[name])


def test_it_is_described_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.h5"
    write_vgg16(path, ENCODER)
    found = inspect(path)
    assert found.format == "keras-vgg16"
    assert not found.published
    assert len(found.tensors) == 26
    assert {row.checksum for row in found.tensors} == {"none"}


def test_it_holds_neither_the_whole_network_nor_a_run(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.h5"
    write_vgg16(path, ENCODER)
    with pytest.raises(CheckpointError, match=f"--init {path}"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="--init"):
        load_checkpoint(path)


def test_mismatches_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.h5"
    write_vgg16(path, ENCODER)
    with h5py.File(path, "r+") as file:
        del file["block3_conv2"]
        del file["block1_conv1/block1_conv1_b_1:0"]
        file["block1_conv1/block1_conv1_b_1:0"] = np.zeros(64, "<f4")
    archive = vgg16.open_keras(path)
    assert archive.mismatches(ENCODER) == [
        "weight conv1/conv1_1/bias: has shape (64,), expected (1,)",
        "weight conv3/conv3_2/kernel: missing, expected shape (3, 3, 5, 5)",
        "weight conv3/conv3_2/bias: missing, expected shape (5,)",
    ]


def test_links_and_absurd_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.h5"
    write_vgg16(path, ENCODER)
    with h5py.File(path, "r+") as file:
        del file["block5_conv3"]
        file["block5_conv3"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(CheckpointError, match="external links"):
        inspect(path)
    write_vgg16(path, ENCODER)
    with h5py.File(path, "r+") as file:
        del file["block5_conv3"]
        file.create_dataset("block5_conv3/a", (2**20, 2**20), "<f4", chunks=(64, 64), compression=9)
    with pytest.raises(CheckpointError, match=r"\(1048576, 1048576\)"):
        inspect(path)


def test_other_types_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.h5"
    write_vgg16(path, ENCODER)
    with h5py.File(path, "r+") as file:
        del file["block5_conv3"]
        file["block5_conv3/b"] = np.zeros((1, 1, 1, 1), "<f8")
    (damage,) = inspect(path).damage
    assert "conv5/conv5_3/kernel" in damage
    assert "float64" in damage


def test_the_file_is_found_in_our_cache_and_then_in_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(
        "platformdirs.user_cache_path", lambda *_, **options: tmp_path / "cache" / "msinet"
    )
    ours = tmp_path / "cache" / "msinet" / "weights"
    theirs = tmp_path / "keras" / "models"
    assert published.folders() == (ours, theirs)
    assert published.find_vgg16() is None
    for folder in (theirs, ours):
        folder.mkdir(parents=True)
        (folder / published.VGG16_FILE).touch()
        assert published.find_vgg16() == folder / published.VGG16_FILE
