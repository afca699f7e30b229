"""Damaged, foreign and hostile native checkpoints are refused; nothing else is ever read."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from msinet_core import convert, inspect
from msinet_core.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_weights,
    save_checkpoint,
)
from msinet_core.checkpoint.hdf5_tensors import write_text, write_text_dataset
from msinet_core.checkpoint.read import read_network
from msinet_core.checkpoint.tensors import text_checksum
from msinet_core.errors import CheckpointError, UsageError
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state


def tiny_graph() -> Graph:
    net = GraphBuilder()
    x = net.add("first/conv", Conv2D(2), net.input)
    net.add("second", Conv2D(2, kernel_size=1), x)
    return net.build()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small training checkpoint, whole."""
    graph = tiny_graph()
    state = random_state(graph, 0)
    state = State(state.weights, OptimizerState.zeros(state.weights))
    path = tmp_path / "latest.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, state, {"history": [1, 2]}, {"dataset": "osie"}))
    return path


def refusal(action: Callable[[Path], object], path: Path) -> str:
    """Return the message of the refusal, which names the file."""
    with pytest.raises(CheckpointError) as error:
        action(path)
    assert path.name in str(error.value)
    return str(error.value)


def content(path: Path) -> object:
    found = load_checkpoint(path)
    memory = found.state.optimizer
    assert memory is not None
    tensors = {
        f"{group}/{name}": tensor.tobytes()
        for group, stored in (("w", found.state.weights), ("m", memory.m), ("v", memory.v))
        for name, tensor in stored.items()
    }
    return found.graph, found.metadata, found.training, memory.step, tensors


def test_a_flipped_bit_anywhere_is_found_or_does_not_matter(path: Path) -> None:
    whole = path.read_bytes()
    expected = content(path)
    draw = random.Random(0)
    noticed = 0
    for offset in [*range(48), *draw.sample(range(len(whole)), 300)]:
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            assert content(path) == expected  # a byte that nothing uses
        except CheckpointError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed > 90  # HDF5's oldest structures have much room to grow


def test_a_truncated_file_is_refused_at_any_length(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refusal(load_checkpoint, path)
        refusal(read_network, path)


def flip(path: Path, *tensors: str) -> None:
    with h5py.File(path, "r") as file:
        offsets = [file[tensor].id.get_offset() for tensor in tensors]
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


def test_every_damaged_tensor_is_named(path: Path) -> None:
    flip(path, "weights/first/conv/kernel", "optimizer/v/second/bias")
    text = refusal(load_checkpoint, path)
    assert "weights/first/conv/kernel" in text
    assert "optimizer/v/second/bias" in text
    assert "second/kernel" not in text


def test_swapped_tensors_of_one_shape_are_found(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        weights = file["weights"]
        weights.move("first/conv/bias", "other")
        weights.move("second/bias", "first/conv/bias")
        weights.move("other", "second/bias")
    text = refusal(load_checkpoint, path)
    assert "weights/first/conv/bias" in text
    assert "weights/second/bias" in text


def test_weights_can_be_read_beside_a_damaged_training_record(path: Path) -> None:
    flip(path, "training")
    assert "training" in refusal(load_checkpoint, path)
    assert read_weights(path).state.weights


def replace_text(path: Path, name: str, text: str, checksum: bool = True) -> None:
    with h5py.File(path, "r+") as file:
        digest = file[name].attrs["sha256"].decode()
        del file[name]
        dataset = write_text_dataset(file, name, text)
        write_text(dataset, "sha256", text_checksum(f"/{name}", text) if checksum else digest)


@pytest.mark.parametrize("name", ["metadata", "graph", "training", "optimizer/step"])
def test_a_changed_text_is_named(path: Path, name: str) -> None:
    replace_text(path, name, '{"dataset": "salicon"}', checksum=False)
    assert f"its {name} is missing or has a wrong checksum" in refusal(load_checkpoint, path)


def test_missing_extra_and_misshapen_tensors_are_listed_at_once(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        weights = file["weights"]
        del weights["first/conv/bias"]
        del weights["second"]
        weights["third/kernel"] = np.zeros((1, 1, 2, 2), "<f4")
        del file["optimizer/m/second/bias"]
        file["optimizer/m/second/bias"] = np.zeros(5, "<f4")
    text = refusal(load_checkpoint, path)
    for name in (
        "weight first/conv/bias",
        "weight second/kernel",
        "weight second/bias",
        "weight third/kernel",
        "first moment second/bias",
    ):
        assert f"{name}: " in text


@pytest.mark.parametrize("name", ["none.msinet.h5", ""])
def test_a_missing_file_or_a_directory_is_wrong_usage(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        load_checkpoint(tmp_path / name)


ENDINGS = ("msinet.h5", "h5", "keras", "onnx", "pb", "pt", "safetensors", "bin")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_file_is_called_empty(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.touch()
    assert "empty" in refusal(inspect, path)


@pytest.mark.parametrize("split", ["all", {"train": ""}, {"seed": 1, "train": "?"}])
def test_a_damaged_split_does_not_hide_the_rest(tmp_path: Path, split: object) -> None:
    path, graph = tmp_path / "x.msinet.h5", tiny_graph()
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0), metadata={"split": split}))
    found = inspect(path)
    assert len(found.damage) == 1 and "training images" in found.damage[0]
    assert {tensor.checksum for tensor in found.tensors} == {"ok"}


def test_convert_names_the_file_that_is_damaged(path: Path) -> None:
    network = path.with_name("network.msinet.h5")
    network.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"network\.msinet\.h5 is damaged"):
        convert(path, path.with_name("out.pt"), network=network)


@pytest.mark.parametrize("name", ["x.msinet.h5", "weights.bin"])
@pytest.mark.parametrize("content", [b"", b"PK\3\4 not at all"])
def test_a_file_of_an_unknown_format_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refusal(read_weights, path)


@pytest.mark.parametrize("name", ["foreign.h5", "foreign.msinet.h5"])
def test_foreign_hdf5_is_not_a_checkpoint(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "msinet checkpoint"  # of variable length: another writer
        file["x"] = 1
    assert re.search(
        "not (in a supported format|an msinet checkpoint)", refusal(read_weights, path)
    )


def test_our_file_under_another_name_is_recognized_by_its_content(path: Path) -> None:
    renamed = path.rename(path.with_name("weights.hdf5"))
    assert load_checkpoint(renamed).graph == tiny_graph()


@pytest.mark.parametrize("version", [3, 1, 0, 1.5, "1"])
def test_another_or_invalid_format_version_is_refused(path: Path, version: object) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = version
    found = version if isinstance(version, int) else None
    assert f"is in format {found} with HWIO kernels" in refusal(load_checkpoint, path)


def test_another_kernel_layout_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        write_text(file, "kernel_layout", "OIHW")
    assert "OIHW" in refusal(load_checkpoint, path)


@pytest.mark.parametrize(
    "graph", ["[]", "{", "[" * 100_000, '{"format": 1, "nodes": []}', '{"format": 9, "nodes": []}']
)
def test_an_invalid_graph_is_refused(path: Path, graph: str) -> None:
    replace_text(path, "graph", graph)
    assert "network" in refusal(load_checkpoint, path)


@pytest.mark.parametrize("metadata", ["[]", "{", "[" * 100_000])
def test_invalid_metadata_are_refused(path: Path, metadata: str) -> None:
    replace_text(path, "metadata", metadata)
    assert "metadata" in refusal(load_checkpoint, path)


@pytest.mark.parametrize("step", ["-1", "1.5", str(2**64 - 1), "9" * 5000, "NaN"])
def test_an_impossible_step_is_refused(path: Path, step: str) -> None:
    replace_text(path, "optimizer/step", step)
    assert "step" in refusal(load_checkpoint, path)


def replace_kernel(path: Path, make: Callable[[h5py.Group], object]) -> None:
    with h5py.File(path, "r+") as file:
        group = file["weights/second"]
        del group["kernel"]
        make(group)


def external_link(group: h5py.Group) -> None:
    group["kernel"] = h5py.ExternalLink("/etc/hostname", "x")


def soft_link(group: h5py.Group) -> None:
    group["kernel"] = h5py.SoftLink("/weights/first/conv/kernel")


def second_link(group: h5py.Group) -> None:
    group["kernel"] = group.file["weights/first/conv/kernel"]


def loop(group: h5py.Group) -> None:
    group["kernel"] = group.file["weights"]


def external_storage(group: h5py.Group) -> None:
    group.create_dataset("kernel", (1, 1, 2, 2), "<f4", external=[("other.raw", 0, 16)])


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((1, 1, 2, 2), "<f4")
    layout[...] = h5py.VirtualSource("other.h5", "x", (1, 1, 2, 2))
    group.create_virtual_dataset("kernel", layout)


def objects(group: h5py.Group) -> None:
    group.create_dataset("kernel", (1, 1, 2, 2), h5py.string_dtype())


def text(group: h5py.Group) -> None:
    group.create_dataset("kernel", (1, 1, 2, 2), "S4")


def float64(group: h5py.Group) -> None:
    group["kernel"] = np.zeros((1, 1, 2, 2), np.float64)


def big_endian(group: h5py.Group) -> None:
    group["kernel"] = np.zeros((1, 1, 2, 2), ">f4")


def absurd_shape(group: h5py.Group) -> None:
    group.create_dataset("kernel", (2**20, 2**20, 2**10), "<f4")


def bomb(group: h5py.Group) -> None:
    group.create_dataset("kernel", (2**20, 2**20), "<f4", chunks=(2**9, 2**9), compression="gzip")


def stray(group: h5py.Group) -> None:
    group.file["elsewhere"] = np.zeros(3, "<f4")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (external_link, "weights/second"),
        (soft_link, "weights/second/kernel"),
        (second_link, "second"),
        (loop, "weights"),
        (external_storage, "weights/second/kernel"),
        (virtual, "weights/second/kernel"),
        (objects, "weights/second/kernel"),
        (text, "weights/second/kernel"),
        (absurd_shape, "(1048576, 1048576, 1024)"),
        (bomb, "weights/second/kernel"),
        (stray, "'/elsewhere'"),
    ],
)
def test_what_a_checkpoint_never_holds_is_refused(
    path: Path, make: Callable[[h5py.Group], object], name: str
) -> None:
    replace_kernel(path, make)
    for action in (load_checkpoint, read_weights, inspect):
        assert name in refusal(action, path)


@pytest.mark.parametrize("make", [float64, big_endian])
def test_other_types_than_float32_are_refused(
    path: Path, make: Callable[[h5py.Group], object]
) -> None:
    replace_kernel(path, make)
    for action in (load_checkpoint, read_weights):
        assert "weights/second/kernel: dtype" in refusal(action, path)
    assert "weights/second/kernel: dtype" in inspect(path).damage[0]


@pytest.mark.parametrize("depth", [600, 3000])
def test_groups_without_end_are_refused(path: Path, depth: int) -> None:
    with h5py.File(path, "r+") as file:
        file.create_group("weights/" + "/".join("d" * depth))
    refusal(load_checkpoint, path)


def test_groups_as_deep_as_names_may_be_are_read(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_group("weights/" + "/".join("d" * 490))
    load_checkpoint(path)


def test_another_width_is_one_line_and_three_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = msinet_graph(0.02)
    path = tmp_path / "narrow.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0)))
    with pytest.raises(CheckpointError) as error:
        read_weights(path, msinet_graph(0.08))
    assert "width: 22 of 23 convolutions" in str(error.value)
    assert str(error.value).count("has shape") == 3
    assert "42 more" in str(error.value)
    monkeypatch.setenv("MSINET_DEBUG", "1")
    with pytest.raises(CheckpointError) as error:
        read_weights(path, msinet_graph(0.08))
    assert str(error.value).count("has shape") == 45


def test_other_numerics_are_another_network_although_the_shapes_agree(tmp_path: Path) -> None:
    graph = msinet_graph(0.02)
    path = tmp_path / "asymmetric.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0)))
    assert read_weights(path, msinet_graph(0.02)).graph == graph
    with pytest.raises(CheckpointError, match="aspp/resize, decoder/resize1"):
        read_weights(path, msinet_graph(0.02, resize="half_pixel"))


def test_a_file_without_permission_is_refused_with_the_systems_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    renamed = path.rename(path.with_name("weights.h5"))
    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(load_checkpoint, renamed)
