"""Damaged, foreign and hostile checkpoint files get a sentence that names what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from msinet_core.checkpoint import (
    Checkpoint,
    describe,
    load_checkpoint,
    read_weights,
    save_checkpoint,
)
from msinet_core.checkpoint.hdf5 import write_text
from msinet_core.checkpoint.native import text_checksum
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


def message(action: Callable[[Path], object], path: Path) -> str:
    with pytest.raises((CheckpointError, UsageError)) as error:
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
    assert noticed > 200


def test_a_truncated_file_is_refused_at_any_length(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        message(load_checkpoint, path)
    path.write_bytes(whole[:-100])
    assert "it is truncated" in message(load_checkpoint, path)


def flip(path: Path, *tensors: str) -> None:
    with h5py.File(path, "r") as file:
        offsets = [file[tensor].id.get_offset() for tensor in tensors]
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


def test_every_damaged_tensor_is_named(path: Path) -> None:
    flip(path, "weights/first/conv/kernel", "optimizer/v/second/bias")
    text = message(load_checkpoint, path)
    assert "weights/first/conv/kernel: its values do not have the checksum" in text
    assert "optimizer/v/second/bias: its values do not have the checksum" in text
    assert "second/kernel" not in text


def test_swapped_tensors_of_one_shape_are_found(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        weights = file["weights"]
        weights.move("first/conv/bias", "other")
        weights.move("second/bias", "first/conv/bias")
        weights.move("other", "second/bias")
    text = message(load_checkpoint, path)
    assert "weights/first/conv/bias" in text
    assert "weights/second/bias" in text


def test_a_damaged_training_record_is_named_and_does_not_keep_the_weights(path: Path) -> None:
    flip(path, "training")
    assert "training record" in message(load_checkpoint, path)
    assert read_weights(path).state.weights


def test_damaged_metadata_are_named(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        write_text(file, "metadata", '{"dataset": "salicon"}')
    assert "its metadata does not have the checksum" in message(load_checkpoint, path)


def test_missing_extra_and_misshapen_tensors_are_listed_at_once(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        weights = file["weights"]
        del weights["first/conv/bias"]
        del weights["second"]
        weights["third/kernel"] = np.zeros((1, 1, 2, 2), "<f4")
        del file["optimizer/m/second/bias"]
        file["optimizer/m/second/bias"] = np.zeros(5, "<f4")
    text = message(load_checkpoint, path)
    assert "weight first/conv/bias: missing, should have shape (2,)" in text
    assert "weight second/kernel: missing" in text
    assert "weight second/bias: missing" in text
    assert "weight third/kernel: not in the network" in text
    assert "first moment second/bias: has shape (5,), should be (2,)" in text


def test_no_file_a_folder_and_an_empty_file(tmp_path: Path) -> None:
    assert "There is no file" in message(load_checkpoint, tmp_path / "none.msinet.h5")
    assert "is a folder" in message(load_checkpoint, tmp_path)
    (tmp_path / "empty").touch()
    assert "is empty" in message(load_checkpoint, tmp_path / "empty")


def test_something_else_under_our_name(tmp_path: Path) -> None:
    path = tmp_path / "x.msinet.h5"
    path.write_bytes(b"PK\3\4 not at all")
    assert "is not an HDF5 file" in message(load_checkpoint, path)


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"something")
    text = message(read_weights, path)
    assert "MSI-Net checkpoint" in text
    assert "TensorFlow checkpoint" in text


def test_foreign_hdf5_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "msinet checkpoint"  # of variable length: another writer
        file["x"] = 1
    assert "an HDF5 file, but in no format that is known" in message(read_weights, path)
    renamed = path.rename(tmp_path / "foreign.msinet.h5")
    assert "no msinet checkpoint" in message(read_weights, renamed)


def test_our_file_under_another_name_is_known_by_its_content(path: Path) -> None:
    renamed = path.rename(path.with_name("weights.hdf5"))
    assert load_checkpoint(renamed).graph == tiny_graph()


def test_a_newer_format_says_what_to_do(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    text = message(load_checkpoint, path)
    assert "format 2" in text
    assert "Install a newer msinet" in text


@pytest.mark.parametrize("version", [0, 1.5, "1"])
def test_a_format_version_that_cannot_be(path: Path, version: object) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = version
    assert "format version" in message(load_checkpoint, path)


def test_another_kernel_layout_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        write_text(file, "kernel_layout", "OIHW")
    assert "its kernels are 'OIHW'" in message(load_checkpoint, path)


@pytest.mark.parametrize(
    "graph", ["[]", "{", "[" * 100_000, '{"format": 1, "nodes": []}', '{"format": 9, "nodes": []}']
)
def test_a_graph_that_cannot_be(path: Path, graph: str) -> None:
    with h5py.File(path, "r+") as file:
        write_text(file, "graph", graph)
        write_text(file, "graph_sha256", text_checksum("/graph", graph))
    assert "network that cannot be used" in message(load_checkpoint, path)


@pytest.mark.parametrize("metadata", ["[]", "{", "[" * 100_000])
def test_metadata_that_cannot_be(path: Path, metadata: str) -> None:
    with h5py.File(path, "r+") as file:
        write_text(file, "metadata", metadata)
        write_text(file, "metadata_sha256", text_checksum("/metadata", metadata))
    assert "its metadata is" in message(load_checkpoint, path)


def test_a_negative_step_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["optimizer"].attrs["step"] = -1
    assert "step is -1" in message(load_checkpoint, path)


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
    ("make", "expected"),
    [
        (external_link, "'/weights/second/kernel' is an external link"),
        (soft_link, "'/weights/second/kernel' is a soft link"),
        (second_link, "a second link to one object"),
        (loop, "a loop"),
        (external_storage, "values lie in other files"),
        (virtual, "values lie in other files"),
        (objects, "'/weights/second/kernel' is object"),
        (text, "'/weights/second/kernel' is |S4"),
        (float64, "is float64; every tensor is little-endian float32"),
        (big_endian, "is >f4; every tensor is little-endian float32"),
        (absurd_shape, "declares shape (1048576, 1048576, 1024)"),
        (bomb, "compressed or made to exhaust memory"),
        (stray, "holds '/elsewhere', which is no part of the format"),
    ],
)
def test_what_a_checkpoint_never_holds_is_refused(
    path: Path, make: Callable[[h5py.Group], object], expected: str
) -> None:
    replace_kernel(path, make)
    for action in (load_checkpoint, read_weights, describe):
        assert expected in message(action, path)


def test_groups_without_end_are_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_group("weights/" + "/".join("d" * 100))
    assert "a group inside 32 others" in message(load_checkpoint, path)


def other_resize() -> Graph:
    return msinet_graph(0.02, resize="half_pixel")


def test_another_width_says_so_in_one_line_and_shows_three_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = msinet_graph(0.02)
    path = tmp_path / "narrow.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0)))
    with pytest.raises(CheckpointError) as error:
        read_weights(path, msinet_graph(0.08))
    assert "width: 22 of 23 convolutions have other numbers of channels" in str(error.value)
    assert str(error.value).count("has shape") == 3
    assert "... and 42 more; MSINET_DEBUG=1 lists all" in str(error.value)
    monkeypatch.setenv("MSINET_DEBUG", "1")
    with pytest.raises(CheckpointError) as error:
        read_weights(path, msinet_graph(0.08))
    assert str(error.value).count("has shape") == 45


def test_other_numerics_are_another_network_although_the_shapes_agree(tmp_path: Path) -> None:
    graph = msinet_graph(0.02)
    path = tmp_path / "asymmetric.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 0)))
    assert read_weights(path, msinet_graph(0.02)).graph == graph
    with pytest.raises(
        CheckpointError,
        match=r"coordinates: 'asymmetric' instead of 'half_pixel' in aspp/resize, decoder/resize1",
    ):
        read_weights(path, other_resize())


def test_a_file_that_may_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    renamed = path.rename(path.with_name("weights.h5"))
    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read: the permission is missing" in message(load_checkpoint, renamed)
