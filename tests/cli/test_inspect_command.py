from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

Run = Callable[..., Result]

TF1 = Path(__file__).parents[1] / "unit" / "data" / "checkpoints" / "tiny_tf1.ckpt"
METADATA = {
    "device": "cpu",
    "versions": {"tensorflow": "2.21.0"},
    "dataset": "osie [bold]",
    "image_size": [240, 320],
    "epoch": 3,
    "step": 1500,
    "created": "2026-01-02T03:04:05+00:00",
    "device_options": {},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    graph = msinet_graph(0.02)
    state = random_state(graph, 0)
    state.weights["decoder/conv4/bias"][:] = 0.625
    state = State(state.weights, OptimizerState.zeros(state.weights))
    path = tmp_path / "best.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, state, {"history": []}, METADATA))
    return path


def damage(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file[name][...] = np.nan


def row_of(output: str, tensor: str) -> str:
    return next(line for line in output.splitlines() if tensor in line)


def test_network_origin_and_every_tensor_are_shown(run: Run, path: Path) -> None:
    result = run("inspect", path)
    assert result.exit_code == 0
    for expected in (
        str(path),
        "MSI-Net checkpoint",
        "not MSI-Net as published",
        msinet_graph(0.02).fingerprint,
        "cpu",
        "tensorflow 2.21.0",
        "osie [bold]",
        "240 x 320",
        "1500",
        "2026-01-02T03:04:05+00:00",
        "Adam, after 0 steps",
        "can be resumed; holds history",
    ):
        assert expected in result.stdout
    row = row_of(result.stdout, "weights/decoder/conv4/bias")
    assert "float32" in row
    assert "ok" in row
    assert row.count("0.625") == 3
    assert "3 x 3 x 3 x 1" in row_of(result.stdout, "weights/conv1/conv1_1/kernel")
    assert result.stdout.count("optimizer/v/") == 46


def test_empty_metadata_have_no_row(run: Run, path: Path) -> None:
    assert "device options" not in run("inspect", path).stdout
    assert json.loads(run("inspect", path, "--json").stdout)["metadata"]["device_options"] == {}


def test_the_json_document_is_complete(run: Run, path: Path) -> None:
    result = run("inspect", path, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["format"] == "msinet"
    assert METADATA.items() <= document["metadata"].items()
    assert document["graph"]["fingerprint"] == msinet_graph(0.02).fingerprint
    assert document["graph"]["parameters"] == msinet_graph(0.02).parameter_count
    assert document["optimizer_step"] == 0
    assert document["training"] == ["history"]
    assert document["damage"] == []
    assert len(document["tensors"]) == 3 * 46
    assert document["tensors"][0] == {
        "group": "weights",
        "name": "conv1/conv1_1/kernel",
        "shape": [3, 3, 3, 1],
        "dtype": "float32",
        "checksum": "ok",
        "min": pytest.approx(-0.5, abs=0.5),
        "max": pytest.approx(0.5, abs=0.5),
        "mean": pytest.approx(0, abs=0.3),
        "not_finite": 0,
    }


def test_a_damaged_tensor_is_marked_and_the_rest_is_shown(run: Run, path: Path) -> None:
    damage(path, "weights/decoder/conv3/bias")
    result = run("inspect", path)
    assert result.exit_code == 1
    assert "damaged" in row_of(result.stdout, "weights/decoder/conv3/bias")
    assert "ok" in row_of(result.stdout, "weights/decoder/conv4/bias")
    assert f"{path} is damaged" in result.stderr
    assert "weights/decoder/conv3/bias" in result.stderr
    assert "weights/decoder/conv4/bias" not in result.stderr


def test_damage_in_json(run: Run, path: Path) -> None:
    damage(path, "optimizer/m/decoder/conv3/bias")
    with h5py.File(path, "r+") as file:
        del file["weights/decoder/conv4/bias"]
        file["training"][()] = b"x" * file["training"].dtype.itemsize
    result = run("inspect", path, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert len(document["damage"]) == 3
    assert "weight decoder/conv4/bias: missing" in document["damage"][0]
    damaged = [row["name"] for row in document["tensors"] if row["checksum"] == "damaged"]
    assert damaged == ["decoder/conv3/bias"]
    assert document["training"] is None


def test_nan_and_infinite_numbers_are_counted(run: Run, tmp_path: Path) -> None:
    graph = msinet_graph(0.02)
    state = random_state(graph, 0)
    state.weights["conv5/conv5_3/bias"][:3] = [np.nan, np.inf, 2]
    path = tmp_path / "nan.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, state))
    assert "2 NaN or infinite" in row_of(run("inspect", path).stdout, "conv5/conv5_3/bias")
    rows = {
        row["name"]: row for row in json.loads(run("inspect", path, "--json").stdout)["tensors"]
    }
    assert rows["conv5/conv5_3/bias"]["not_finite"] == 2
    assert rows["conv5/conv5_3/bias"]["max"] == 2


def test_a_tensorflow_checkpoint(run: Run) -> None:
    result = run("inspect", TF1)
    assert result.exit_code == 0
    assert "TensorFlow checkpoint" in result.stdout
    assert "Adam, after 1 steps" in result.stdout
    assert "weights/decoder/conv4/kernel" in result.stdout


@pytest.mark.parametrize(
    ("content", "exit_code"),
    [(None, 2), (b"", 1), (b"text", 1)],
)
def test_a_file_that_cannot_be_inspected_is_an_error(
    run: Run, tmp_path: Path, content: bytes | None, exit_code: int
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    result = run("inspect", path)
    assert result.exit_code == exit_code
    assert str(path) in result.stderr
    assert result.stdout == ""


def test_the_machine_is_described_in_words(run: Run, path: Path) -> None:
    machine = {"chip": "A Chip", "cores": 2, "memory": 2**34, "gpus": [], "system": "Linux"}
    graph = msinet_graph(0.02)
    checkpoint = Checkpoint(graph, random_state(graph, 0), None, {"machine": machine})
    save_checkpoint(path, checkpoint)
    result = run("inspect", path)
    assert result.exit_code == 0
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("machine"))
    assert line.split("  ")[-1] == "A Chip, 2 cores, 16 GiB, Linux"
