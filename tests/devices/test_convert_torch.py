"""PyTorch reads the files that msinet writes without it, and msinet reads PyTorch's."""

from __future__ import annotations

import os
import pickle
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from msinet_core import convert, inspect
from msinet_core.checkpoint import Checkpoint, read_weights
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.formats.torch import read_state_dict
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


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_weights(path, GRAPH)
    return str(error.value)


@pytest.mark.parametrize("mmap", [False, True])
def test_pytorch_reads_equal_weights_in_equal_memory(
    tmp_path: Path, original: Path, mmap: bool
) -> None:
    convert(original, tmp_path / "ours.pt")
    ours = torch.load(tmp_path / "ours.pt", weights_only=True, mmap=mmap)
    torch.save(ours, tmp_path / "theirs.pt")
    theirs = torch.load(tmp_path / "theirs.pt", weights_only=True)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert all(ours[key].stride() == theirs[key].stride() for key in theirs)
    assert not any(tensor.requires_grad for tensor in ours.values())


@pytest.mark.parametrize("is_zip", [True, False])
def test_network_and_checksums_survive_pytorch(
    tmp_path: Path, original: Path, is_zip: bool
) -> None:
    convert(original, tmp_path / "ours.pt")
    state = torch.load(tmp_path / "ours.pt", weights_only=True)
    torch.save(state, tmp_path / "theirs.pt", _use_new_zipfile_serialization=is_zip)
    found = inspect(tmp_path / "theirs.pt")
    assert found.graph is not None
    assert found.graph.fingerprint == GRAPH.fingerprint
    assert found.metadata["dataset"] == "salicon"
    assert {row.checksum for row in found.tensors} == {"ok"}


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


@pytest.mark.parametrize("name", ["zip.pt", "old.pth", "plain.pt"])
def test_a_pickle_that_runs_something_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    owned, path = tmp_path / "owned", tmp_path / name
    if name == "plain.pt":
        path.write_bytes(pickle.dumps(Evil(owned)))
    else:
        torch.save({"a": Evil(owned)}, path, _use_new_zipfile_serialization=name == "zip.pt")
    refusal(path)
    assert not owned.exists()


def test_what_training_keeps_beside_the_weights_is_ignored(tmp_path: Path, original: Path) -> None:
    convert(original, tmp_path / "x.pt")
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    parameters = [torch.nn.Parameter(tensor) for tensor in state.values()]
    optimizer = torch.optim.Adam(parameters, lr=0.0)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    torch.save(
        {
            "state_dict": dict(zip(state, map(torch.nn.Parameter, state.values()), strict=True)),
            "optimizer": optimizer.state_dict(),
            "epoch": 3,
            "loss": [0.5, None, True],
            "shape": torch.Size([1]),
            "arguments": Namespace(width=1.0),
        },
        tmp_path / "training.ckpt.pt",
    )
    found = read_weights(tmp_path / "training.ckpt.pt", GRAPH).state.weights
    assert all(found[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)


def test_tensors_that_share_a_storage_are_read(tmp_path: Path) -> None:
    values = torch.arange(10.0)
    torch.save({"a": values[2:5], "b": values[:6].view(2, 3).T}, tmp_path / "x.pt")
    tensors, _ = read_state_dict(tmp_path / "x.pt")
    np.testing.assert_array_equal(tensors["a"].read(), [2, 3, 4])
    np.testing.assert_array_equal(tensors["b"].read(), [[0, 3], [1, 4], [2, 5]])


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1).expand(2**40)}, tmp_path / "x.pt")
    assert str(2**40) in refusal(tmp_path / "x.pt")


def test_other_things_than_weights_are_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "a": torch.zeros(2)}, tmp_path / "x.pt")
    assert "'epoch'" in refusal(tmp_path / "x.pt")
    torch.save([1], tmp_path / "y.pt")
    refusal(tmp_path / "y.pt")


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
    archive = found.open(path)
    read = archive.read_state(encoder).weights
    assert archive.unused == ("classifier.0.weight",)
    for name, value in weights.items():
        if name == "conv1/conv1_1/kernel":
            deviation = np.array([0.229, 0.224, 0.225])[:, None] * 255
            np.testing.assert_allclose(read[name], value / deviation, rtol=1e-6)
        else:
            assert read[name].tobytes() == value.tobytes()
