"""Writing TensorFlow 1 checkpoints: the data file first, then the index that makes it valid.

Sources: as for reading, see `msinet_core.checkpoint.tf1`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import protobuf
from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.crc32c import crc32c, masked
from msinet_core.checkpoint.tf1 import MAGIC, prefix_of
from msinet_core.checkpoint.threads import each
from msinet_core.errors import CheckpointError
from msinet_core.network.adam import Adam
from msinet_core.system.files import atomic_path, write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES = {"float32": 1, "int64": 9}
_HEADER = protobuf.integer(1, 1) + protobuf.text(3, protobuf.integer(1, 1))
"""BundleHeaderProto: one data file; written by version 1 of the format."""

_NO_RESTARTS = struct.pack("<II", 0, 1)
"""Every key of a block counts from its first entry."""

Table = dict[str, bytes]


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights and Adam's memory under TensorFlow's names.

    Args:
        path: The prefix, or the name of its index.
        checkpoint: Whose weights and optimizer are written.

    Raises:
        CheckpointError: A name is one that TensorFlow gives to an optimizer's memory.
        MsinetError: The disk refuses.
    """
    prefix = prefix_of(path)
    tensors = dict(_named_tensors(checkpoint))
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    index = prefix.with_name(f"{prefix.name}.index")
    entries: Table = {"": _HEADER}
    offset = 0
    ordered = {name: _as_stored(tensors[name]) for name in sorted(tensors, key=str.encode)}
    with atomic_path(data) as temporary, temporary.open("wb") as stream:
        checksums = each(_checksum, ordered.values())
        for (name, tensor), checksum in zip(ordered.items(), checksums, strict=True):
            stream.write(tensor.data)
            entries[name] = _entry(tensor, offset, checksum)
            offset += tensor.nbytes
    write_bytes(index, _table(entries))


def _named_tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[Any]]]:
    weights = checkpoint.state.weights
    yield from weights.items()
    memory = checkpoint.state.optimizer
    if memory is None:
        return
    for slot, moments in (("Adam", memory.m), ("Adam_1", memory.v)):
        for name, value in moments.items():
            if f"{name}/{slot}" in weights:
                raise CheckpointError(
                    f"Weight '{name}/{slot}' has the name of Adam's memory of '{name}' in "
                    f"TensorFlow's format. Write *.msinet.h5 instead."
                )
            yield f"{name}/{slot}", value
    adam = Adam()
    yield "global_step", np.array(memory.step, np.int64)
    yield "beta1_power", np.array(adam.beta_1 ** (memory.step + 1), np.float32)
    yield "beta2_power", np.array(adam.beta_2 ** (memory.step + 1), np.float32)


def _as_stored(value: NDArray[Any]) -> NDArray[Any]:
    tensor = np.ascontiguousarray(value).reshape(np.shape(value))
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)


def _checksum(tensor: NDArray[Any]) -> int:
    return masked(crc32c(tensor.reshape(-1).view(np.uint8)))


def _entry(tensor: NDArray[Any], offset: int, checksum: int) -> bytes:
    """Write a BundleEntryProto."""
    shape = b"".join(protobuf.text(2, protobuf.integer(1, axis)) for axis in tensor.shape)
    return (
        protobuf.integer(1, _TYPES[tensor.dtype.name])
        + protobuf.text(2, shape)
        + protobuf.integer(4, offset)
        + protobuf.integer(5, tensor.nbytes)
        + protobuf.fixed32(6, checksum)
    )


def _table(entries: Table) -> bytes:
    """Write an index file: one block of entries, no filters, and a footer that finds both."""
    data = _block(entries)
    filters = _block({})
    handle = _handle(0, data)
    places = _block({max(entries, key=str.encode): handle})
    footer = _handle(len(data), filters) + _handle(len(data) + len(filters), places)
    return data + filters + places + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def _block(entries: Table) -> bytes:
    body = bytearray()
    for name, value in entries.items():
        key = name.encode()
        body += protobuf.varint(0) + protobuf.varint(len(key)) + protobuf.varint(len(value))
        body += key + value
    body += _NO_RESTARTS + b"\0"  # not compressed
    return bytes(body) + struct.pack("<I", masked(crc32c(bytes(body))))


def _handle(offset: int, block: bytes) -> bytes:
    return protobuf.varint(offset) + protobuf.varint(len(block) - 5)
