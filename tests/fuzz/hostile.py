"""Write hostile files of each format, for the table in `crafted`."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.checkpoint.convert import convert
from msinet_core.checkpoint.hdf5_tensors import write_text, write_text_dataset
from msinet_core.checkpoint.tensors import text_checksum
from msinet_core.checkpoint.wire import protobuf
from msinet_core.checkpoint.wire.crc32c import masked_crc32c
from msinet_core.checkpoint.wire.table import write_table
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.01)
NAME = "a\x1b[2J\u202e\n- b"
"""Clears the screen, reverses the direction of writing, and begins a line."""


def native(folder: Path) -> Path:
    path = folder / "x.msinet.h5"
    state = random_state(GRAPH, 1)
    moments = OptimizerState(7, state.weights, state.weights)
    save_checkpoint(path, Checkpoint(GRAPH, State(state.weights, moments), {"epoch": 1}))
    return path


def native_text(name: str, text: str) -> Callable[[Path], Path]:
    """Replace a text of a native checkpoint, with a right checksum."""

    def attack(folder: Path) -> Path:
        path = native(folder)
        with h5py.File(path, "r+") as file:
            del file[name]
            dataset = write_text_dataset(file, name, text)
            write_text(dataset, "sha256", text_checksum(f"/{name}", text))
        return path

    return attack


def native_graph(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], Path]:
    """Change the nodes of a native checkpoint's network."""
    document = json.loads(GRAPH.to_json())
    change(document["nodes"])
    return native_text("graph", json.dumps(document))


def attribute(op: str, **values: Any) -> Callable[[Path], Path]:
    def change(nodes: list[dict[str, Any]]) -> None:
        for node in nodes:
            if node["op"] == op:
                node["attributes"].update(values)

    return native_graph(change)


def doubled(nodes: list[dict[str, Any]]) -> None:
    for number in range(60):
        last = nodes[-1]["name"]
        entry = {"name": f"c{number}", "op": "Concat", "attributes": {}, "inputs": [last, last]}
        nodes.append(entry)


def renamed(nodes: list[dict[str, Any]]) -> None:
    nodes[-1]["name"] = NAME


def safetensors(header: Any, data: bytes = b"", name: str = "x") -> Callable[[Path], Path]:
    def attack(folder: Path) -> Path:
        path = folder / f"{name}.safetensors"
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return path

    return attack


def tensor(shape: list[int], begin: int = 0, end: int = 0, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


LAYOUT = {"kernel_layout": "OIHW"}


def zip_file(name: str, members: dict[str, bytes], method: int = 0) -> Callable[[Path], Path]:
    def attack(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w", method) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return folder / name

    return attack


def false_size(folder: Path) -> Path:
    """A ``.keras`` whose directory claims that its member unpacks to 3 GB."""
    path = zip_file("x.keras", {"model.weights.h5": bytes(1_800_000)}, zipfile.ZIP_DEFLATED)(folder)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 10 : entry + 12] = bytes(2)  # not compressed
    data[entry + 24 : entry + 28] = struct.pack("<I", 3 * 10**9)
    path.write_bytes(data)
    return path


def torch_file(data: bytes) -> Callable[[Path], Path]:
    return zip_file("x.pt", {"archive/data.pkl": data, "archive/byteorder": b"little"})


def torch_legacy(found: bytes, keys: bytes) -> Callable[[Path], Path]:
    """The format before PyTorch 1.6, with the pickles of the state_dict and of the storages."""

    def attack(folder: Path) -> Path:
        parts = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}
        head = b"".join(pickle.dumps(part, 2) for part in parts)
        (folder / "x.pt").write_bytes(head + found + keys)
        return folder / "x.pt"

    return attack


def torch_tensor(storage: bytes, count: int, shape: bytes, strides: bytes) -> bytes:
    """A state_dict with one tensor; shape and strides are pickled tuples."""
    return (
        b"\x80\x02}X\x01\0\0\0ac" + b"torch._utils\n_rebuild_tensor_v2\n("
        b"(X\x07\0\0\0storagectorch\n" + storage + b"\nX\x01\0\0\x000X\x03\0\0\0cpu"
        b"\x8a\x08" + struct.pack("<q", count) + b"tQK\0" + shape + strides + b"\x89}tRs."
    )


def big_pb(node: bytes, count: int, name: str = "x.pb") -> Callable[[Path], Path]:
    def attack(folder: Path) -> Path:
        (folder / name).write_bytes(node * count)
        return folder / name

    return attack


def constant(name: str, values: bytes, axes: tuple[int, ...] = (), dtype: int = 1) -> bytes:
    shape = b"".join(protobuf.text(2, protobuf.integer(1, axis)) for axis in axes)
    value = protobuf.integer(1, dtype) + protobuf.text(2, shape) + values
    entry = protobuf.text(1, "value") + protobuf.text(2, protobuf.text(8, value))
    node = protobuf.text(1, name) + protobuf.text(2, "Const") + protobuf.text(5, entry)
    return protobuf.text(1, node)


def table(entries: dict[str, bytes]) -> Callable[[Path], Path]:
    """A TensorFlow checkpoint with an index of these entries and an empty data file."""

    def attack(folder: Path) -> Path:
        (folder / "x.ckpt.data-00000-of-00001").write_bytes(b"")
        header = protobuf.integer(1, 1) + protobuf.text(3, protobuf.integer(1, 1))
        (folder / "x.ckpt.index").write_bytes(write_table({"": header, **entries}))
        return folder / "x.ckpt"

    return attack


def raw_table(body: bytes, handles: int = 1) -> Callable[[Path], Path]:
    """A TensorFlow index with one block of this body, which its directory names many times."""

    def sealed(content: bytes) -> bytes:
        content += struct.pack("<II", 0, 1) + b"\0"
        return content + struct.pack("<I", masked_crc32c(content))

    def handle(offset: int, block: bytes) -> bytes:
        return protobuf.varint(offset) + protobuf.varint(len(block) - 5)

    def attack(folder: Path) -> Path:
        block, empty = sealed(body), sealed(b"")
        place = handle(0, block)
        entry = b"\0" + protobuf.varint(1) + protobuf.varint(len(place)) + b"k" + place
        index = sealed(entry * handles)
        footer = handle(len(block), empty) + handle(len(block) + len(empty), index)
        magic = struct.pack("<Q", 0xDB4775248B80FB57)
        (folder / "x.ckpt.data-00000-of-00001").write_bytes(b"")
        (folder / "x.ckpt.index").write_bytes(
            block + empty + index + footer.ljust(40, b"\0") + magic
        )
        return folder / "x.ckpt"

    return attack


def hdf5(fill: Callable[[h5py.File], object], **options: Any) -> Callable[[Path], Path]:
    def attack(folder: Path) -> Path:
        with h5py.File(folder / "x.weights.h5", "w", **options) as file:
            file.create_group("layers")
            fill(file)
        return folder / "x.weights.h5"

    return attack


def variable(dtype: Any) -> Callable[[h5py.File], object]:
    def fill(file: h5py.File) -> None:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "conv1_conv1_1"
        group["0"] = np.zeros((3, 3, 3, 1), dtype)

    return fill


def many_groups(file: h5py.File) -> None:
    for number in range(21_000):
        file.create_group(f"layers/g{number}")


def long_path(file: h5py.File) -> None:
    group = file.create_group("layers/" + "x" * 60_000)
    for number in range(15_000):
        group.create_group(str(number))


def long_layer_name(file: h5py.File) -> None:
    group = file.create_group("layers/conv2d/vars")
    group.attrs["name"] = "x" * 2_000_000
    for number in range(8_000):
        group.create_dataset(str(number), data=np.float32(0))


def many_attributes(file: h5py.File) -> None:
    for number in range(5_000):
        file["layers"].attrs[f"a{number}"] = number


def unpacked(folder: Path) -> Path:
    """Floats in a field each: five bytes for every value."""
    values = (protobuf.varint(5 << 3 | 5) + struct.pack("<f", 1.0)) * 1_000_000
    (folder / "x.pb").write_bytes(constant("conv1/conv1_1/kernel", values, (1_000_000,)))
    return folder / "x.pb"


def repeated(folder: Path) -> Path:
    convert(native(folder), folder / "y.pb")
    (folder / "x.pb").write_bytes((folder / "y.pb").read_bytes() * 40)
    return folder / "x.pb"


def metadata_of(value: Any) -> Callable[[Path], Path]:
    return native_text("metadata", value if isinstance(value, str) else json.dumps(value))


def crc_bomb(folder: Path) -> Path:
    """A pickle of PyTorch with a member that claims another size."""
    path = torch_file(torch_tensor(b"FloatStorage", 4, b"K\x04\x85", b"K\x01\x85"))(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(16))
    data = path.read_bytes().replace(struct.pack("<I", zlib.crc32(bytes(16))), b"\1\2\3\4")
    path.write_bytes(data)
    return path


def legacy_npz(folder: Path) -> Path:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    (folder / "x.pt").write_bytes(stream.getvalue())
    return folder / "x.pt"


def torch_dtype(kind: bytes) -> Callable[[Path], Path]:
    return torch_file(torch_tensor(kind, 4, b"K\x04\x85", b"K\x01\x85"))
