"""A small whole file of each format, and how its inner parts are damaged under valid checksums."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.checkpoint.convert import convert
from msinet_core.checkpoint.wire.table import read_table, write_table
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.01)


@dataclass(frozen=True)
class Sample:
    """A whole file.

    Args:
        folder: Holds the file and what belongs to it, and nothing else.
        file: The file to damage.
        opened: What is read: the file, a prefix or the folder.
        has_checksums: Whether weights that can be read must be the right ones.
        take: Returns the part of the file that is damaged.
        put: Returns the file with another part, under right checksums of the container.
    """

    folder: Path
    file: str
    opened: str
    has_checksums: bool = True
    take: Callable[[bytes], bytes] = lambda data: data
    put: Callable[[bytes, bytes], bytes] = lambda data, part: part


def make_samples(folder: Path) -> dict[str, Sample]:
    """Write every sample.

    Args:
        folder: Where to; must not exist.

    Returns:
        The samples by name.
    """
    folder.mkdir(parents=True)
    state = random_state(GRAPH, 1)
    moments = OptimizerState(7, state.weights, state.weights)
    native = folder / "native" / "x.msinet.h5"
    save_checkpoint(native, Checkpoint(GRAPH, State(state.weights, moments), {"epoch": 1}))
    written = {
        "Keras 3 weights": ("x.weights.h5", "keras"),
        "Keras 2 weights": ("x.h5", "keras2"),
        "PyTorch": ("x.pt", "torch"),
        "PyTorch, pickle": ("x.pt", "torch"),
        "safetensors, PyTorch": ("x.safetensors", "torch"),
        "safetensors, MLX": ("x.safetensors", "mlx"),
        "TensorFlow checkpoint": ("x.ckpt.index", "tf1"),
        "TensorFlow checkpoint, data": ("x.ckpt.data-00000-of-00001", "tf1"),
        "TensorFlow checkpoint, entries": ("x.ckpt.index", "tf1"),
        "frozen graph": ("x.pb", "frozen"),
        "SavedModel": ("saved_model.pb", "savedmodel"),
    }
    if find_spec("onnx"):
        written["ONNX"] = "x.onnx", "onnx"
    samples = {"native": Sample(native.parent, native.name, native.name)}
    for name, (file, to) in written.items():
        opened = "x.ckpt" if to == "tf1" else file
        convert(native, folder / name / opened, to)
        parts = {"PyTorch, pickle": (_take_pickle, _put_pickle)}
        parts["TensorFlow checkpoint, entries"] = _take_entries, _put_entries
        samples[name] = Sample(folder / name, file, opened, True, *parts.get(name, ()))
    weights = (folder / "Keras 3 weights" / "x.weights.h5").read_bytes()
    for name, parts in (("Keras model", ()), ("Keras model, weights", (_take_h5, _put_h5))):
        path = folder / name / "x.keras"
        path.parent.mkdir()
        path.write_bytes(_put_h5(b"", weights))
        samples[name] = Sample(path.parent, path.name, path.name, True, *parts)
    return {**samples, **_written_by_others(folder)}


def _written_by_others(folder: Path) -> dict[str, Sample]:
    """HDF5 as Keras writes it: names of variable length, no checksums; and chunked datasets."""
    samples = {}
    weights = random_state(GRAPH, 1).weights
    for name, is_chunked in (("HDF5 with texts", False), ("HDF5 with chunks", True)):
        path = folder / name / "x.weights.h5"
        path.parent.mkdir()
        options = {"chunks": True, "compression": "gzip"} if is_chunked else {}
        with h5py.File(path, "w") as file:
            for number, node in enumerate(n for n in GRAPH.nodes if f"{n.name}/kernel" in weights):
                group = file.create_group(f"layers/conv2d_{number}/vars")
                group.attrs["name"] = node.name.replace("/", "_")
                for index, role in enumerate(("kernel", "bias")):
                    group.create_dataset(str(index), data=weights[f"{node.name}/{role}"], **options)
        samples[name] = Sample(path.parent, path.name, path.name, False)
    path = folder / "HDF5 with heaps" / "x.h5"
    path.parent.mkdir()
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(60):
            group = file.create_group(f"layers/layer{number}", track_order=True)
            group["kernel"] = np.zeros((3, 3), np.float32)
            for attribute in range(12):
                group.attrs[f"a{attribute}"] = "text"
    samples["HDF5 with heaps"] = Sample(path.parent, path.name, path.name, False)
    return samples


def write_case(sample: Sample, part: bytes, folder: Path) -> Path:
    """Write a damaged copy of a sample, and return what is to be read.

    Args:
        sample: The sample.
        part: Replaces what `Sample.take` returned.
        folder: Where to; must not exist.
    """
    shutil.copytree(sample.folder, folder)
    file = folder / sample.file
    file.write_bytes(sample.put(file.read_bytes(), part))
    return folder / sample.opened


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _take_h5(data: bytes) -> bytes:
    return _members(data)["model.weights.h5"]


def _put_h5(data: bytes, part: bytes) -> bytes:
    return _zip({"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": part})


def _take_pickle(data: bytes) -> bytes:
    return _members(data)["archive/data.pkl"]


def _put_pickle(data: bytes, part: bytes) -> bytes:
    return _zip({**_members(data), "archive/data.pkl": part})


def _take_entries(data: bytes) -> bytes:
    return b"".join(read_table(data).values())


def _put_entries(data: bytes, part: bytes) -> bytes:
    entries, position = {}, 0
    for key, value in read_table(data).items():
        entries[key.decode()] = part[position : position + len(value)]
        position += len(value)
    return write_table(entries)
