"""TensorFlow 1 checkpoints (``PREFIX.index``, ``PREFIX.data-00000-of-00001``), without TensorFlow.

The index is a table whose values are protocol buffers: each says in which data file a tensor is,
and where. A checkpoint becomes valid when its index is written, so that is written last.

Sources: tensorflow/core/util/tensor_bundle/tensor_bundle.h and
tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import (
    Archive,
    Checkpoint,
    StoredOptimizer,
    StoredTensor,
    StoredTensors,
)
from msinet_core.checkpoint.guard import BIG_ENDIAN, UnsupportedError, reading
from msinet_core.checkpoint.wire import protobuf
from msinet_core.checkpoint.wire.crc32c import masked_crc32c
from msinet_core.checkpoint.wire.protobuf import fields
from msinet_core.checkpoint.wire.table import read_table, write_table
from msinet_core.errors import CheckpointError
from msinet_core.network.adam import Adam
from msinet_core.system.files import atomic_path, write_bytes
from msinet_core.system.threads import each

_MAX_FILES = 10_000
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""A tensor that is a graph of TensorFlow 2 objects; the keys of the others number the objects."""

_MAX_OBJECT_GRAPH = 2**24
_DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    7: "string",
    9: "int64",
    14: "bfloat16",
    19: "float16",
}
_NUMBERS = {name: number for number, name in _DTYPES.items()}
_DATA_FILE = re.compile(r"(.+)\.data-\d{5}-of-\d{5}$")
_NOT_A_WEIGHT = re.compile(r"(^|.*/)(Adam|Adam_1|Momentum|beta1_power|beta2_power|global_step)$")
"""What training leaves in the file beside the weights."""

_MOMENTS = ("/Adam", "/Adam_1")
"""What Adam's moments are called after a weight: the first and the second."""

_STEP = ("global_step", "beta1_power", "beta2_power")
_MIN_POWER = 1e-30
"""Below it float32 loses digits and then everything; it takes 70,000 steps."""

_HEADER = protobuf.integer(1, 1) + protobuf.text(3, protobuf.integer(1, 1))
"""BundleHeaderProto: one data file; written by version 1 of the format."""


@dataclass(frozen=True)
class _Entry:
    """Where one tensor is (BundleEntryProto)."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    sliced: bool


def prefix_of(path: Path) -> Path:
    """Return the prefix that names a checkpoint.

    Args:
        path: The prefix itself, or one of its files.
    """
    if path.name.endswith(".index"):
        return path.with_name(path.name[: -len(".index")])
    data = _DATA_FILE.match(path.name)
    return path.with_name(data[1]) if data else path


def index_of(path: Path) -> Path:
    """Return the file that makes a checkpoint valid.

    Args:
        path: A prefix, an index or a data file.
    """
    prefix = prefix_of(path)
    return prefix.with_name(f"{prefix.name}.index")


def matches(path: Path) -> bool:
    """Return whether a path is a TensorFlow checkpoint, complete or in part.

    Args:
        path: A prefix, an index or a data file.
    """
    prefix = prefix_of(path)
    if not prefix.name:
        return False
    if index_of(prefix).is_file():
        return True
    if path.is_file():  # its folder may hold a hundred thousand images
        return _DATA_FILE.match(path.name) is not None
    data_files = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")
    return any(_DATA_FILE.match(file.name) for file in data_files)


def open_archive(path: Path) -> Archive:
    """Open a TensorFlow checkpoint: read and verify its index, no tensor.

    Args:
        path: The prefix, or one of its files.

    Raises:
        CheckpointError: A file of it is missing, damaged, or in a form that is not supported.
    """
    prefix, index = prefix_of(path), index_of(path)
    if not index.is_file():
        raise CheckpointError(
            f"{prefix} cannot be read: {index.name} does not exist. A checkpoint is PREFIX.index "
            f"and PREFIX.data-00000-of-00001 side by side."
        )
    with reading(index):
        shards, entries = _parse_entries(read_table(index.read_bytes()))
    files = [prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{shards:05d}") for i in range(shards)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise CheckpointError(
            f"{prefix} is incomplete: {', '.join(missing)} does not exist beside {index.name}. "
            f"Copy it too."
        )
    if _OBJECTS in entries:
        entries = _by_variable_name(prefix, files, entries)
    stored = {
        name: StoredTensor(
            entry.shape, entry.dtype, True, partial(_read_values, files, entry, "float32")
        )
        for name, entry in entries.items()
    }
    weights = {name: tensor for name, tensor in stored.items() if not _NOT_A_WEIGHT.match(name)}
    optimizer = _stored_optimizer(files, entries, stored, list(weights))
    used = {*_STEP, *(f"{n}{slot}" for n in weights for slot in _MOMENTS)} if optimizer else set()
    return Archive(
        prefix,
        weights=weights,
        optimizer=optimizer,
        unused=tuple(name for name in entries if _NOT_A_WEIGHT.match(name) and name not in used),
        files=(index, *files),
    )


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights and Adam's moments under TensorFlow's names.

    Its two files cannot be replaced in one step, so neither of them may exist: the index, which
    makes a checkpoint valid, is the last.

    Args:
        path: The prefix, or the name of its index.
        checkpoint: Its weights and optimizer are written.

    Raises:
        MsinetError: The disk is full or read-only, or one of the files exists.
    """
    prefix = prefix_of(path)
    tensors = dict(_named_tensors(checkpoint))
    ordered = {name: _little_endian(tensors[name]) for name in sorted(tensors, key=str.encode)}
    checksums = each(lambda tensor: masked_crc32c(_bytes(tensor)), ordered.values())
    entries = {"": _HEADER}
    offset = 0
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    with atomic_path(data, replace=False) as temporary, temporary.open("wb") as stream:
        for (name, tensor), checksum in zip(ordered.items(), checksums, strict=True):
            stream.write(tensor.data)
            entries[name] = _write_entry(tensor, offset, checksum)
            offset += tensor.nbytes
    write_bytes(index_of(prefix), write_table(entries))


def _parse_entries(table: dict[bytes, bytes]) -> tuple[int, dict[str, _Entry]]:
    """Return the number of data files and each tensor's entry."""
    header = dict(fields(table.pop(b"")))
    if header.get(2, 0) != 0:
        raise UnsupportedError(BIG_ENDIAN)
    shards = header.get(1, 0)
    if not 0 < shards <= _MAX_FILES:
        raise ValueError(f"invalid number of data files: {shards}")
    return shards, {
        key.decode(): _parse_entry(value)
        for key, value in table.items()
        if not key.startswith(b"\0")  # a slice of a partitioned tensor
    }


def _parse_entry(value: bytes) -> _Entry:
    entry = dict(fields(value))
    dimensions = [dimension for number, dimension in fields(entry.get(2, b"")) if number == 2]
    dtype = entry.get(1, 0)
    return _Entry(
        dtype=_DTYPES.get(dtype, f"type {dtype}"),
        shape=tuple(dict(fields(dimension)).get(1, 0) for dimension in dimensions),
        shard=entry.get(3, 0),
        offset=entry.get(4, 0),
        size=entry.get(5, 0),
        crc=entry.get(6, 0),
        sliced=7 in entry,
    )


def _by_variable_name(
    prefix: Path, files: list[Path], entries: Mapping[str, _Entry]
) -> dict[str, _Entry]:
    """Name the weights in a checkpoint of TensorFlow 2 objects after their variables."""
    entry = entries[_OBJECTS]
    with reading(prefix):
        if entry.shard >= len(files) or entry.size > _MAX_OBJECT_GRAPH:
            raise ValueError("the graph of its objects is too large")
        with files[entry.shard].open("rb") as stream:
            stream.seek(entry.offset)
            pairs = list(_canonical_names(stream.read(entry.size)))
    # Aliases of one variable have the same values, and so the same checksum.
    distinct = {
        (name, stored.dtype, stored.shape, stored.crc): key
        for name, key in pairs
        if (stored := entries.get(key))
    }
    keys = names.unique(((name, key) for (name, *_), key in distinct.items()), prefix)
    found = {name: entries[key] for name, key in keys.items()}
    if not found:
        raise CheckpointError(
            f"{prefix} is a checkpoint of TensorFlow 2 objects, whose tensors are not named after "
            f"layers. Save it as Keras weights, or with tf.compat.v1.train.Saver."
        )
    return found


def _canonical_names(text: bytes) -> Iterator[tuple[str, str]]:
    """Find MSI-Net's weights in a graph of objects: yield a weight's canonical name and its key.

    Keras' `Model.export` gives each variable two keys.

    Source: tensorflow/core/protobuf/trackable_object_graph.proto.
    """
    length, position = protobuf.read_varint(text, 0)
    graph = text[position + 4 :][:length]  # behind a checksum
    for node in (value for number, value in fields(graph) if number == 1):
        for attribute in (dict(fields(value)) for number, value in fields(node) if number == 2):
            key = attribute.get(3, b"").decode()
            name = names.weight_name(attribute.get(2, b"").decode())
            # An optimizer names its moments of a weight after the weight, too.
            if name and "optimizer" not in key.lower():
                yield name, key


def _stored_optimizer(
    files: list[Path], entries: Mapping[str, _Entry], stored: StoredTensors, weights: list[str]
) -> StoredOptimizer | None:
    """Return Adam's moments if they are complete: both of every weight, and the step."""
    if not weights or any(f"{name}{slot}" not in stored for slot in _MOMENTS for name in weights):
        return None
    step = _read_step(files, entries)
    if step is None:
        return None
    m, v = ({name: stored[f"{name}{slot}"] for name in weights} for slot in _MOMENTS)
    return StoredOptimizer(step, m, v)


def _read_step(files: list[Path], entries: Mapping[str, _Entry]) -> int | None:
    """Read the number of steps; None if the file does not hold it, or it is damaged."""
    step, _, power = _STEP
    try:
        if step in entries:
            return int(_read_values(files, entries[step], "int64"))
        if power in entries:
            value = float(_read_values(files, entries[power], "float32"))
            # The power is multiplied in float32 at every step, so the count is off by a few
            # hundred at worst, when the bias correction, its only purpose, is 1 already.
            if _MIN_POWER < value < 1:
                return max(0, round(math.log(value) / math.log(Adam().beta_2)) - 1)
    except (CheckpointError, OSError, TypeError):  # TypeError: several numbers
        return None
    return None


def _read_values(files: list[Path], entry: _Entry, dtype: str) -> NDArray[Any]:
    if entry.sliced:
        raise CheckpointError(
            "stored in slices, which is not supported; save it without a partitioner"
        )
    if entry.dtype != dtype:
        raise CheckpointError(f"dtype is {entry.dtype}; weights are float32")
    stored = np.dtype(dtype).newbyteorder("<")
    count = math.prod(entry.shape)
    if entry.size != stored.itemsize * count or entry.shard >= len(files):
        raise CheckpointError(
            f"The index gives shape {entry.shape} and {entry.size} bytes in data file "
            f"{entry.shard} of {len(files)}, which is impossible"
        )
    file = files[entry.shard]
    if entry.offset + entry.size > file.stat().st_size:
        raise CheckpointError(f"beyond the end of {file.name}, which is truncated")
    tensor = np.fromfile(file, stored, count, offset=entry.offset)
    if masked_crc32c(_bytes(tensor)) != entry.crc:
        raise CheckpointError("wrong checksum")
    return tensor.astype(dtype, copy=False).reshape(entry.shape)


def _named_tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[Any]]]:
    yield from checkpoint.state.weights.items()
    optimizer = checkpoint.state.optimizer
    if optimizer is None:
        return
    for slot, moments in zip(_MOMENTS, (optimizer.m, optimizer.v), strict=True):
        yield from ((f"{name}{slot}", value) for name, value in moments.items())
    adam = Adam()
    yield "global_step", np.array(optimizer.step, np.int64)
    yield "beta1_power", np.array(adam.beta_1 ** (optimizer.step + 1), np.float32)
    yield "beta2_power", np.array(adam.beta_2 ** (optimizer.step + 1), np.float32)


def _little_endian(value: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(value, value.dtype.newbyteorder("<"), order="C")


def _bytes(tensor: NDArray[Any]) -> NDArray[np.uint8]:
    return tensor.reshape(-1).view(np.uint8)


def _write_entry(tensor: NDArray[Any], offset: int, checksum: int) -> bytes:
    shape = b"".join(protobuf.text(2, protobuf.integer(1, axis)) for axis in tensor.shape)
    return (
        protobuf.integer(1, _NUMBERS[tensor.dtype.name])
        + protobuf.text(2, shape)
        + protobuf.integer(4, offset)
        + protobuf.integer(5, tensor.nbytes)
        + protobuf.fixed32(6, checksum)
    )
