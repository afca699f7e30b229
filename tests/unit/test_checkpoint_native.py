"""The native format: checkpoints are read as they were saved, bit for bit."""

from __future__ import annotations

import hashlib
import json
import string
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_weights,
    save_checkpoint,
)
from msinet_core.checkpoint.read import read_network
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

WIDTH = 0.02


def trained_state(graph: Graph, seed: int = 0) -> State:
    m, v = (random_state(graph, seed + n).weights for n in (1, 2))
    return State(random_state(graph, seed).weights, OptimizerState(step=1234, m=m, v=v))


def bits(state: State) -> dict[str, tuple[tuple[int, ...], bytes]]:
    groups = {"weights": state.weights}
    if state.optimizer is not None:
        groups |= {"m": state.optimizer.m, "v": state.optimizer.v}
    return {
        f"{group}/{name}": (tensor.shape, tensor.tobytes())
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def test_a_training_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    state = trained_state(graph)
    training = {"epoch": 2, "history": [{"loss": 0.5, "valid": None}], "name": "Übung"}
    metadata = {"device": "cpu", "dataset": "osie", "image_size": [240, 320], "epoch": 2}
    path = tmp_path / "run" / "latest.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, state, training, metadata))
    found = load_checkpoint(path)
    assert found.graph == graph
    assert bits(found.state) == bits(state)
    assert found.state.optimizer is not None
    assert found.state.optimizer.step == 1234
    assert found.training == training
    assert {key: found.metadata[key] for key in metadata} == metadata


def test_weights_alone_come_back_without_an_optimizer(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    path = tmp_path / "weights.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0)))
    found = load_checkpoint(path)
    assert found.state.optimizer is None
    assert found.training is None
    assert bits(found.state) == bits(random_state(graph, 0))


def test_creation_time_and_version_are_noted_and_kept_when_saved_again(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    first, second = tmp_path / "a.msinet.h5", tmp_path / "b.msinet.h5"
    save_checkpoint(first, Checkpoint(graph, random_state(graph, 0)))
    metadata = load_checkpoint(first).metadata
    assert metadata["created"].endswith("+00:00")
    assert metadata["msinet"]
    save_checkpoint(second, Checkpoint(graph, random_state(graph, 0), metadata={"created": "then"}))
    assert load_checkpoint(second).metadata["created"] == "then"


def test_reading_weights_leaves_the_optimizer_alone(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    path = tmp_path / "latest.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, trained_state(graph), {"history": []}, {"epoch": 1}))
    with h5py.File(path, "r+") as file:
        file["optimizer/v/decoder/conv4/bias"][...] = 7  # damage that must not matter
    found = read_weights(path)
    assert found.graph == graph
    assert found.state.optimizer is None
    assert found.training is None
    assert found.metadata["epoch"] == 1
    assert bits(found.state) == bits(random_state(graph, 0))


def test_reading_the_graph_reads_no_tensor(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    path = tmp_path / "latest.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0)))
    with h5py.File(path, "r+") as file:
        file["weights/decoder/conv4/bias"][...] = 7
    assert read_network(path)[0] == graph


def test_a_long_history_and_a_large_graph_are_not_cut(tmp_path: Path) -> None:
    net = GraphBuilder()
    x = net.input
    for layer in range(400):
        x = net.add(f"layer{layer}", Conv2D(1, kernel_size=1), x)
    graph = net.build()
    assert len(graph.to_json()) > 2**16
    training = {"history": [{"step": step, "loss": 1 / (step + 1)} for step in range(5000)]}
    path = tmp_path / "long.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0), training))
    found = load_checkpoint(path)
    assert found.graph == graph
    assert found.training == training


def test_wide_groups_names_in_any_script_and_large_metadata_need_no_heap(tmp_path: Path) -> None:
    net = GraphBuilder()
    x = net.input
    for layer in range(40):
        x = net.add(f"層/größe{layer}", Conv2D(1, kernel_size=1), x)
    graph = net.build()
    path = tmp_path / "wide.msinet.h5"
    metadata = {f"ключ{number}": "x" * 1_000 for number in range(200)}
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0), metadata=metadata))
    assert not any(mark in path.read_bytes() for mark in (b"FRHP", b"BTHD", b"GCOL"))
    found = load_checkpoint(path)
    assert found.graph == graph
    assert metadata.items() <= found.metadata.items()
    with h5py.File(path, "r") as file:
        assert len(file["weights/層"]) == 40


def test_special_numbers_survive(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    state = random_state(graph, 0)
    bias = state.weights["conv5/conv5_3/bias"]
    bias[:6] = [np.nan, np.inf, -np.inf, -0.0, np.float32(1e-45), np.finfo(np.float32).max]
    path = tmp_path / "special.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, state))
    assert bits(load_checkpoint(path).state) == bits(state)


names = st.text(string.ascii_letters + string.digits + "_-. äß", min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Chains of convolutions with any names and shapes."""
    net = GraphBuilder(draw(st.integers(1, 4)))
    x = net.input
    for number in range(draw(st.integers(1, 4))):
        folder = draw(st.sampled_from(["", "a/", "a/b/"]))
        op = Conv2D(
            draw(st.integers(1, 5)),
            kernel_size=draw(st.integers(1, 3)),
            use_bias=draw(st.booleans()),
            activation=draw(st.sampled_from(["relu", "linear"])),
        )
        x = net.add(f"{folder}{number}{draw(names)}", op, x)
    return net.build()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    graph=graphs(),
    seed=st.integers(0, 2**32),
    optimizer=st.booleans(),
    training=st.none() | st.dictionaries(st.text(), json_values, max_size=3),
    metadata=st.dictionaries(st.text(), json_values, max_size=3),
)
def test_any_network_comes_back(
    graph: Graph, seed: int, optimizer: bool, training: object, metadata: dict[str, object]
) -> None:
    state = trained_state(graph, seed)
    if not optimizer:
        state = State(state.weights)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.msinet.h5"
        save_checkpoint(path, Checkpoint(graph, state, training, metadata))  # type: ignore[arg-type]
        found = load_checkpoint(path)
    assert found.graph == graph
    assert bits(found.state) == bits(state)
    assert found.training == training
    assert metadata.items() <= found.metadata.items()


def test_the_file_is_laid_out_as_documented(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    state = trained_state(graph)
    path = tmp_path / "latest.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, state, {"epoch": 1}, {"dataset": "osie"}))
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == b"msinet checkpoint"
        assert file.attrs["format_version"] == 2
        assert file.attrs["kernel_layout"] == b"HWIO"
        assert file.attrs["graph_fingerprint"].decode() == graph.fingerprint
        assert json.loads(file["metadata"][()])["dataset"] == "osie"
        assert json.loads(file["graph"][()]) == json.loads(graph.to_json())
        assert int(file["optimizer/step"][()]) == 1234
        assert json.loads(file["training"][()]) == {"epoch": 1}
        dataset = file["weights/conv1/conv1_1/kernel"]
        assert dataset.dtype == np.dtype("<f4")
        assert dataset.shape == (3, 3, 3, 1)
        assert dataset.chunks is None
        digest = hashlib.sha256(b"/weights/conv1/conv1_1/kernel float32 3x3x3x1\n")
        digest.update(state.weights["conv1/conv1_1/kernel"].tobytes())
        assert dataset.attrs["sha256"].decode() == digest.hexdigest()


def test_tensors_that_do_not_fit_the_graph_are_not_saved(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    weights = dict(random_state(graph, 0).weights)
    del weights["conv1/conv1_1/bias"]
    weights["conv1/conv1_2/bias"] = weights["conv1/conv1_2/bias"].astype(np.float64)
    path = tmp_path / "x.msinet.h5"
    with pytest.raises(CheckpointError) as error:
        save_checkpoint(path, Checkpoint(graph, State(weights)))
    assert "weight conv1/conv1_1/bias: missing" in str(error.value)
    assert "conv1/conv1_2/bias: is float64, expected float32" in str(error.value)
    assert not path.exists()


@pytest.mark.parametrize("name", [".", "a//b", "a/..", "nul\0"])
def test_names_that_hdf5_would_change_are_refused(tmp_path: Path, name: str) -> None:
    net = GraphBuilder()
    net.add(name, Conv2D(1), net.input)
    graph = net.build()
    with pytest.raises(CheckpointError, match="control character"):
        save_checkpoint(tmp_path / "x.msinet.h5", Checkpoint(graph, random_state(graph, 0)))


def test_a_name_inside_another_is_refused(tmp_path: Path) -> None:
    net = GraphBuilder()
    x = net.add("a", Conv2D(1), net.input)
    net.add("a/kernel", Conv2D(1), x)
    graph = net.build()
    with pytest.raises(CheckpointError, match="a/kernel/kernel"):
        save_checkpoint(tmp_path / "x.msinet.h5", Checkpoint(graph, random_state(graph, 0)))


def test_training_that_is_not_json_is_refused(tmp_path: Path) -> None:
    graph = msinet_graph(WIDTH)
    training = {"when": object()}
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(
            tmp_path / "x.msinet.h5", Checkpoint(graph, random_state(graph, 0), training)
        )
