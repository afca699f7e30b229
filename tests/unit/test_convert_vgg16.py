"""VGG16 in the formats that need no framework, for ``--init``."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from msinet_core import convert, inspect
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.formats import tf1
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State
from msinet_core.training.initial_weights import initial_state, random_state

INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def encoder(width: float) -> dict[str, np.ndarray]:
    graph = msinet_graph(width).between("input", "pool5")
    return dict(random_state(graph, 2).weights)


def write_torchvision(path: Path, weights: dict[str, np.ndarray]) -> None:
    header: dict[str, object] = {}
    data = b""
    layers = dict.fromkeys(name.rsplit("/", 1)[0] for name in weights)
    for index, layer in zip(INDICES, layers, strict=True):
        for theirs, ours, axes in (("weight", "kernel", (3, 2, 0, 1)), ("bias", "bias", (0,))):
            value = np.ascontiguousarray(weights[f"{layer}/{ours}"].transpose(axes))
            end = len(data) + value.nbytes
            header[f"features.{index}.{theirs}"] = {
                "dtype": "F32",
                "shape": value.shape,
                "data_offsets": [len(data), end],
            }
            data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_torchvision_safetensors_start_the_encoder(tmp_path: Path) -> None:
    weights = encoder(1.0)
    path = tmp_path / "vgg16.safetensors"
    write_torchvision(path, weights)
    assert find_format(path).name == "torch-vgg16"
    state, sentence = initial_state(msinet_graph(), str(path), seed=1)
    assert str(path) in sentence
    for name, value in weights.items():
        if name == "conv1/conv1_1/kernel":
            # torchvision's images are in 0..1, over the deviation; ours are in 0..255.
            deviation = np.array([0.229, 0.224, 0.225])[:, None] * 255
            np.testing.assert_allclose(state.weights[name], value / deviation, rtol=1e-6)
        else:
            assert state.weights[name].tobytes() == value.tobytes()


def test_the_published_hybrid_checkpoint_is_recognized(tmp_path: Path) -> None:
    weights = encoder(0.02)
    names = {"kernel": "weights", "bias": "biases"}
    stored = {
        f"{layer}/{names[role]}": value
        for (layer, role), value in (
            (name.rsplit("/", 1), value) for name, value in weights.items()
        )
    }
    stored["fc6/weights"] = np.zeros((2, 2), np.float32)
    prefix = tmp_path / "vgg16_hybrid.ckpt"
    tf1.write(prefix, Checkpoint(msinet_graph(), State(stored)))
    found = find_format(prefix)
    assert (found.name, found.encoder_only) == ("tf1-vgg16", True)
    archive = found.open(prefix)
    read = archive.read_state(msinet_graph(0.02).between("input", "pool5")).weights
    assert archive.unused == ("fc6/weights",)
    assert all(read[name].tobytes() == value.tobytes() for name, value in weights.items())
    with pytest.raises(CheckpointError, match="--init"):
        convert(prefix, tmp_path / "x.msinet.h5")


def test_of_many_missing_layers_three_are_shown(tmp_path: Path) -> None:
    weights = encoder(0.02)
    path = tmp_path / "vgg16.safetensors"
    write_torchvision(path, weights)
    archive = find_format(path).open(path)
    with pytest.raises(CheckpointError) as error:
        archive.read_state(msinet_graph(0.1).between("input", "pool5"))
    assert str(error.value).count("expected (") == 3
    assert "--network" not in str(error.value)


def test_a_pytorch_file_is_vgg16_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    graph = msinet_graph(1 / 64)
    source, path = tmp_path / "a.msinet.h5", tmp_path / "vgg16_fine_tuned.pt"
    save_checkpoint(source, Checkpoint(graph, random_state(graph, 1)))
    convert(source, path)
    assert find_format(path).name == "torch"
    names = {tensor.name for tensor in inspect(path).tensors}
    assert names == {parameter.name for parameter in graph.parameters}
