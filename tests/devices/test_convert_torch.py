"""PyTorch's own files: written and read through PyTorch, never through Python's pickle."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, describe, read_weights
from msinet_core.checkpoint.convert import convert
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.native import save_checkpoint
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State
from msinet_core.training.initial_weights import random_state

torch = pytest.importorskip("torch")

GRAPH = msinet_graph(0.02)
WEIGHTS = {
    parameter.name: np.random.default_rng(3).normal(size=parameter.shape).astype(np.float32)
    for parameter in GRAPH.parameters
}


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original.msinet.h5"
    save_checkpoint(path, Checkpoint(GRAPH, State(WEIGHTS), metadata={"dataset": "salicon"}))
    return path


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_weights(path, GRAPH)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("x.msinet.h5", "msinet"),
        ("x.weights.h5", "keras"),
        ("x.h5", "keras2"),
        ("x.ckpt", "tf1"),
        ("x.pb", "frozen"),
        ("x", "savedmodel"),
        ("x.safetensors", "torch"),
        ("x.safetensors", "mlx"),
    ],
)
def test_there_and_back_is_bit_exact(tmp_path: Path, original: Path, name: str, to: str) -> None:
    first, second, third = tmp_path / "first.pt", tmp_path / name, tmp_path / "third.pt"
    convert(original, first)
    convert(first, second, to, force=to == "msinet")
    convert(second, third, network=original)
    found = read_weights(third, GRAPH)
    assert all(found.state.weights[key].tobytes() == WEIGHTS[key].tobytes() for key in WEIGHTS)
    assert find_format(third).name == "torch"
    assert {row["checksum"] for row in describe(third)["tensors"]} == {"ok"}


def test_pytorch_loads_it_into_modules_strictly(tmp_path: Path, original: Path) -> None:
    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in WEIGHTS.items():
                if value.ndim == 4:
                    block, layer, _ = name.split("/")
                    if not hasattr(self, block):
                        self.add_module(block, torch.nn.Module())
                    size, _, inputs, filters = value.shape
                    convolution = torch.nn.Conv2d(inputs, filters, size)
                    getattr(self, block).add_module(layer, convolution)

    path = tmp_path / "x.pt"
    convert(original, path)
    module = Encoder()
    module.load_state_dict(torch.load(path, weights_only=True), strict=True)
    kernel = module.aspp.conv1_2.weight.detach().numpy()
    np.testing.assert_array_equal(kernel, WEIGHTS["aspp/conv1_2/kernel"].transpose(3, 2, 0, 1))
    torch.save(module.state_dict(), tmp_path / "theirs.pt")
    found = read_weights(tmp_path / "theirs.pt", GRAPH).state.weights
    assert all(found[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)
    torch.save({"state_dict": module.to(memory_format=torch.channels_last).state_dict()}, path)
    found = read_weights(path, GRAPH).state.weights
    assert all(found[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    torch.save({"a": Evil(owned)}, tmp_path / "zip.pt")
    torch.save({"a": Evil(owned)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil(owned)))
    for name in ("zip.pt", "old.pth", "plain.pt"):
        assert "does not read it as weights alone" in message(tmp_path / name)
    assert not owned.exists()


def test_a_truncated_file_is_refused(tmp_path: Path, original: Path) -> None:
    path = tmp_path / "x.pt"
    convert(original, path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        message(path)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", bytes(2**24))
    assert "its members are compressed" in message(tmp_path / "x.pt")


def test_a_tensor_larger_than_what_is_stored_is_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1).expand(2**40)}, tmp_path / "x.pt")
    assert "holds more than weights: 'a.weight'" in message(tmp_path / "x.pt")


def test_other_things_than_weights_are_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "a": torch.zeros(2)}, tmp_path / "x.pt")
    assert "holds more than weights: 'epoch'" in message(tmp_path / "x.pt")
    torch.save([1], tmp_path / "y.pt")
    assert "holds no state_dict" in message(tmp_path / "y.pt")


@pytest.mark.parametrize("is_zip", [True, False])
def test_torchvisions_vgg16(tmp_path: Path, is_zip: bool) -> None:
    encoder = GRAPH.between("input", "pool5")
    weights = random_state(encoder, 2).weights
    indices = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for name, value in weights.items():
        if value.ndim == 4:
            index = next(indices)
            state[f"features.{index}.weight"] = torch.from_numpy(
                np.ascontiguousarray(value.transpose(3, 2, 0, 1))
            )
            state[f"features.{index}.bias"] = torch.from_numpy(
                weights[name.replace("/kernel", "/bias")]
            )
    path = tmp_path / "vgg16-397923af.pth"
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    found = find_format(path)
    assert found.encoder_only
    with found.open(path) as archive:
        read = archive.read_state(encoder).weights
        assert archive.unused == ("classifier.0.weight",)
    for name, value in weights.items():
        if name == "conv1/conv1_1/kernel":
            deviation = np.array([0.229, 0.224, 0.225])[:, None] * 255
            np.testing.assert_allclose(read[name], value / deviation, rtol=1e-6)
        else:
            assert read[name].tobytes() == value.tobytes()
