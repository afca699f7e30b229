"""The resize coordinates of weights: stored, requested, assumed with a note, never mixed up."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import msinet_core as msinet
from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.formats import frozen, tf1
from msinet_core.checkpoint.origin import read_origin
from msinet_core.checkpoint.read import read_network
from msinet_core.network.state import State
from msinet_core.system.progress import Progress
from msinet_core.training.initial_weights import random_state

HALF = msinet.msinet_graph(resize="half_pixel")
NARROW = msinet.msinet_graph(0.02, "half_pixel")


def coordinates(model: msinet.Predictor) -> set[str]:
    resizes = (msinet.ops.Resize, msinet.ops.ResizeLike)
    return {node.op.coordinates for node in model.graph.nodes if isinstance(node.op, resizes)}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the published size in a format that holds no network."""
    path = tmp_path_factory.mktemp("foreign") / "port.ckpt"
    zeros = {one.name: np.zeros(one.shape, np.float32) for one in HALF.parameters}
    tf1.write(path, Checkpoint(HALF, State(zeros)))
    return path


def write_half_pixel(path: Path) -> Path:
    save_checkpoint(path, Checkpoint(NARROW, random_state(NARROW, 0)))
    return path


def test_what_a_file_does_not_store_is_assumed_with_a_note(foreign: Path) -> None:
    with pytest.warns(UserWarning, match="asymmetric") as notes:
        model = msinet.load(foreign, "reference")
    assert coordinates(model) == {"asymmetric"}
    (note,) = notes
    assert str(foreign) in str(note.message)
    assert "--resize half_pixel" in str(note.message)
    assert "\n" not in str(note.message)


def test_what_is_requested_is_stored_in_what_is_written(foreign: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert coordinates(msinet.load(foreign, "reference", resize="half_pixel")) == {"half_pixel"}
        done = msinet.convert(foreign, tmp_path / "port.pt", resize="half_pixel")
        assert done.checkpoint.graph == HALF
        assert read_network(tmp_path / "port.pt")[0] == HALF
        again = msinet.convert(tmp_path / "port.pt", tmp_path / "again.ckpt")
    assert any("--resize half_pixel" in item for item in again.left_behind)


@pytest.mark.parametrize("suffix", ["msinet.h5", "weights.h5", "pt", "pb"])
def test_a_conflict_names_both(tmp_path: Path, suffix: str) -> None:
    path = write_half_pixel(tmp_path / "half.msinet.h5")
    if suffix != "msinet.h5":
        path = tmp_path / f"half.{suffix}"
        msinet.convert(tmp_path / "half.msinet.h5", path)
    with pytest.raises(msinet.CheckpointError, match=r"half_pixel.*asymmetric"):
        msinet.load(path, "reference", resize="asymmetric")
    with pytest.raises(msinet.CheckpointError, match=r"half_pixel.*asymmetric"):
        msinet.convert(path, tmp_path / "out.msinet.h5", resize="asymmetric")
    assert not (tmp_path / "out.msinet.h5").exists()
    assert coordinates(msinet.load(path, "reference")) == {"half_pixel"}


def test_a_conflict_with_the_network_that_convert_is_given(tmp_path: Path) -> None:
    native = write_half_pixel(tmp_path / "half.msinet.h5")
    msinet.convert(native, tmp_path / "half.ckpt")
    with pytest.raises(msinet.CheckpointError, match=r"half_pixel.*asymmetric"):
        msinet.convert(
            tmp_path / "half.ckpt", tmp_path / "x.msinet.h5", network=native, resize="asymmetric"
        )


def test_published_weights_need_asymmetric_and_no_network_to_say_so() -> None:
    with pytest.raises(msinet.UsageError, match=r"asymmetric.*half_pixel"):
        msinet.load("published:salicon", "reference", resize="half_pixel")
    with pytest.raises(msinet.UsageError, match="half_pixel"):
        msinet.load("published:salicon", "reference", resize="half")  # type: ignore[arg-type]


def test_training_keeps_the_coordinates_of_its_initial_weights(tmp_path: Path) -> None:
    native = write_half_pixel(tmp_path / "half.msinet.h5")
    msinet.convert(native, tmp_path / "half.ckpt")
    assert read_network(native, width=0.02)[0] == NARROW
    assert read_network(tmp_path / "half.ckpt", "half_pixel", 0.02)[0] == NARROW
    with pytest.raises(msinet.CheckpointError, match=r"half_pixel.*asymmetric"):
        read_network(native, "asymmetric", 0.02)


@pytest.mark.parametrize("resize", ["asymmetric", "half_pixel"])
def test_graphs_of_tensorflow_show_their_coordinates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: msinet.ops.Coordinates
) -> None:
    graph = msinet.msinet_graph(0.02, resize)
    # As another program writes it: without msinet's own description of the network.
    monkeypatch.setattr(frozen, "origin_json", lambda checkpoint: "")
    monkeypatch.setattr(frozen, "parse_origin", lambda text, path: read_origin({}, path))
    frozen.write_graph(tmp_path / "port.pb", Checkpoint(graph, random_state(graph, 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = read_network(tmp_path / "port.pb", width=0.02, progress=Progress())
    assert found == graph


def test_aligned_corners_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "read_resize_flags", lambda node: (True, False))
    frozen.write_graph(tmp_path / "port.pb", Checkpoint(NARROW, random_state(NARROW, 0)))
    with pytest.raises(msinet.CheckpointError, match="align_corners"):
        read_weights(tmp_path / "port.pb")


def test_keras_models_show_half_pixels(tmp_path: Path) -> None:
    msinet.convert(write_half_pixel(tmp_path / "half.msinet.h5"), tmp_path / "half.weights.h5")
    layer = {"class_name": "UpSampling2D", "config": {"interpolation": "bilinear"}}
    with zipfile.ZipFile(tmp_path / "half.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": [layer]}}))
        archive.writestr("metadata.json", "{}")
        archive.write(tmp_path / "half.weights.h5", "model.weights.h5")
    opened = find_format(tmp_path / "half.keras").open(tmp_path / "half.keras")
    assert opened.resize == {"half_pixel"}
