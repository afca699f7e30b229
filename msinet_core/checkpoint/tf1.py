"""TensorFlow 1 checkpoints (``PREFIX.index``, ``PREFIX.data-00000-of-00001``), read by hand.

The index is a table of sorted keys in blocks, as LevelDB has them; its values are protocol
buffers that say where in which data file a tensor lies.

Sources: tensorflow/core/util/tensor_bundle/tensor_bundle.h and
tensorflow/core/protobuf/tensor_bundle.proto; LevelDB's doc/table_format.md.
"""

from __future__ import annotations

import glob
import math
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import object_graph
from msinet_core.checkpoint.archive import (
    Archive,
    StoredOptimizer,
    StoredTensor,
    StoredTensors,
)
from msinet_core.checkpoint.crc32c import crc32c, masked
from msinet_core.checkpoint.protobuf import fields, read_varint
from msinet_core.errors import CheckpointError, os_reason
from msinet_core.network.adam import Adam

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = 0xDB4775248B80FB57
_FOOTER_SIZE = 48
_BLOCK_TRAILER_SIZE = 5
_MOST_FILES = 10_000
_DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    7: "string",
    9: "int64",
    14: "bfloat16",
    19: "float16",
}
_DATA_FILE = re.compile(r"(.+)\.data-\d{5}-of-\d{5}$")
_SLOT = re.compile(r"(^|.*/)(Adam|Adam_1|Momentum|beta1_power|beta2_power|global_step)$")
"""What training left in the file beside the weights."""

_MOMENTS = ("/Adam", "/Adam_1")
"""What Adam's moments are called after a weight: the first and the second."""

_STEP = ("global_step", "beta1_power", "beta2_power")
_POWER = _STEP[2]
_SMALLEST_POWER = 1e-30
"""Below it float32 loses digits and then everything; 70,000 steps come there."""

_LARGEST_OBJECT_GRAPH = 2**26


@dataclass(frozen=True)
class _Entry:
    """Where one tensor lies (BundleEntryProto)."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    sliced: bool


def prefix_of(path: Path) -> Path:
    """Give the prefix that names a checkpoint.

    Args:
        path: The prefix itself, or one of its files.
    """
    if path.name.endswith(".index"):
        return path.with_name(path.name[: -len(".index")])
    data = _DATA_FILE.match(path.name)
    return path.with_name(data[1]) if data else path


def matches(path: Path) -> bool:
    """Tell whether a path is a TensorFlow checkpoint, whole or in part.

    Args:
        path: A prefix, an index or a data file.
    """
    prefix = prefix_of(path)
    if not prefix.name:
        return False
    if index_of(prefix).is_file() or _has_footer(path):
        return True
    data_files = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")
    return any(_DATA_FILE.match(file.name) for file in data_files)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a TensorFlow checkpoint: read and verify its index, no tensor.

    Args:
        path: The prefix, or one of its files.

    Raises:
        CheckpointError: A file of it is missing, damaged, or written in a way that is not read.
    """
    prefix = prefix_of(path)
    index = index_of(prefix)
    if not index.is_file():
        if _has_footer(path):
            reason = "It is TensorFlow's oldest, single-file form, or an index that was renamed"
        else:
            reason = "Its data are there, and its index is missing"
        raise CheckpointError(
            f"{prefix} cannot be read: there is no {index.name}. {reason}; a checkpoint is "
            f"PREFIX.index and PREFIX.data-00000-of-00001 side by side."
        )
    try:
        shards, entries = _parse_entries(_read_table(index.read_bytes()))
    except OSError as error:
        raise CheckpointError(
            f"{index} cannot be read: {os_reason(error)}. Check the file's permissions."
        ) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, struct.error) as error:
        raise CheckpointError(f"{index} is damaged: {error}. Copy or download it again.") from error
    files = [prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{shards:05d}") for i in range(shards)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise CheckpointError(
            f"{prefix} is incomplete: there is no {', '.join(missing)} beside {index.name}. "
            f"Copy it too."
        )
    if object_graph.KEY in entries:
        entries = _by_variable_name(prefix, files, entries)
    stored = {
        name: StoredTensor(entry.shape, entry.dtype, True, partial(_read_tensor, files, entry))
        for name, entry in entries.items()
    }
    weights = {name: tensor for name, tensor in stored.items() if not _SLOT.match(name)}
    optimizer = _stored_optimizer(files, entries, stored, list(weights))
    used = {*_STEP, *(f"{n}{slot}" for n in weights for slot in _MOMENTS)} if optimizer else set()
    yield Archive(
        prefix,
        weights=weights,
        optimizer=optimizer,
        unused=tuple(name for name in entries if _SLOT.match(name) and name not in used),
        files=(index, *files),
    )


def _by_variable_name(
    prefix: Path, files: list[Path], entries: Mapping[str, _Entry]
) -> dict[str, _Entry]:
    """Name the weights in a checkpoint of TensorFlow 2 objects after their variables."""
    entry = entries[object_graph.KEY]
    try:
        if entry.shard >= len(files) or entry.size > _LARGEST_OBJECT_GRAPH:
            raise ValueError("the graph of its objects is too large")
        with files[entry.shard].open("rb") as stream:
            stream.seek(entry.offset)
            keys = object_graph.canonical_names(stream.read(entry.size), prefix)
    except (OSError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{prefix} cannot be read: {error}. Copy or download it again."
        ) from error
    found = {name: entries[key] for name, key in keys.items() if key in entries}
    if not found:
        raise CheckpointError(
            f"{prefix} is a checkpoint of TensorFlow 2 objects, whose tensors are not named after "
            f"layers. Save it as Keras weights, or with tf.compat.v1.train.Saver."
        )
    return found


def _stored_optimizer(
    files: list[Path],
    entries: Mapping[str, _Entry],
    stored: StoredTensors,
    names: list[str],
) -> StoredOptimizer | None:
    """Give Adam's memory where it is whole: both moments of every weight, and the step."""
    slots = [{name: stored.get(f"{name}{slot}") for name in names} for slot in _MOMENTS]
    m, v = ({n: tensor for n, tensor in slot.items() if tensor is not None} for slot in slots)
    if not names or len(m) < len(names) or len(v) < len(names):
        return None
    step = _read_step(files, entries)
    return None if step is None else StoredOptimizer(step, m, v)


def _read_step(files: list[Path], entries: Mapping[str, _Entry]) -> int | None:
    """Read the number of steps; None where the file does not tell, or its number is damaged."""
    try:
        if "global_step" in entries:
            return int(_read_values(files, entries["global_step"], "int64"))
        if _POWER in entries:
            power = float(_read_values(files, entries[_POWER], "float32"))
            # The power is multiplied in float32 at every step, so the count is off by a few
            # hundred at worst where the bias correction, all that it is for, is 1 already.
            if _SMALLEST_POWER < power < 1:
                return max(0, round(math.log(power) / math.log(Adam().beta_2)) - 1)
    except CheckpointError:
        return None
    return None


def index_of(path: Path) -> Path:
    """Give the file that makes a checkpoint valid.

    Args:
        path: A prefix, an index or a data file.
    """
    prefix = prefix_of(path)
    return prefix.with_name(f"{prefix.name}.index")


def _has_footer(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size < _FOOTER_SIZE:
        return False
    with path.open("rb") as stream:
        stream.seek(-8, 2)
        return stream.read() == MAGIC.to_bytes(8, "little")


def _read_table(data: bytes) -> dict[bytes, bytes]:
    """Read every key and value of an index file."""
    footer = data[-_FOOTER_SIZE:]
    if len(data) < _FOOTER_SIZE or footer[-8:] != MAGIC.to_bytes(8, "little"):
        raise ValueError("it does not end as an index ends, so it was cut off or is something else")
    _, position = _handle(footer, 0)  # of the metaindex, which is empty
    (offset, size), _ = _handle(footer, position)
    table: dict[bytes, bytes] = {}
    for _, handle in _block(data, offset, size):
        table.update(_block(data, *_handle(handle, 0)[0]))
    return table


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Verify one block and give its keys and values; keys share prefixes with the one before."""
    end = offset + size
    if end + _BLOCK_TRAILER_SIZE > len(data) or size < 4:
        raise ValueError("a block lies beyond its end")
    kind, stored = struct.unpack_from("<BI", data, end)
    if masked(crc32c(data[offset : end + 1])) != stored:
        raise ValueError("a block does not have the checksum stored with it")
    if kind != 0:
        raise ValueError("its blocks are compressed, which TensorFlow does not do")
    (restarts,) = struct.unpack_from("<I", data, end - 4)
    last = end - 4 - 4 * restarts
    position, key = offset, b""
    while position < last:
        shared, position = read_varint(data, position)
        unshared, position = read_varint(data, position)
        length, position = read_varint(data, position)
        key = key[:shared] + data[position : position + unshared]
        position += unshared
        yield key, data[position : position + length]
        position += length


def _parse_entries(table: dict[bytes, bytes]) -> tuple[int, dict[str, _Entry]]:
    """Give the number of data files and each tensor's place."""
    header = dict(fields(table.pop(b"")))
    if header.get(2, 0) != 0:
        raise ValueError("it was written on a big-endian machine")
    entries = {
        # A key that begins with zero is a slice of a partitioned tensor.
        key.decode(): _entry(value)
        for key, value in table.items()
        if not key.startswith(b"\0")
    }
    shards = header.get(1, 0)
    if not 0 < shards <= _MOST_FILES:
        raise ValueError(f"it names {shards} data files")
    return shards, entries


def _entry(value: bytes) -> _Entry:
    last = dict(fields(value))
    dimensions = [dimension for number, dimension in fields(last.get(2, b"")) if number == 2]
    dtype = last.get(1, 0)
    return _Entry(
        dtype=_DTYPES.get(dtype, f"type {dtype}"),
        shape=tuple(dict(fields(dimension)).get(1, 0) for dimension in dimensions),
        shard=last.get(3, 0),
        offset=last.get(4, 0),
        size=last.get(5, 0),
        crc=last.get(6, 0),
        sliced=7 in last,
    )


def _read_tensor(files: list[Path], entry: _Entry) -> NDArray[np.float32]:
    tensor: NDArray[np.float32] = _read_values(files, entry, "float32")
    return tensor


def _read_values(files: list[Path], entry: _Entry, dtype: str) -> NDArray[Any]:
    if entry.sliced:
        raise CheckpointError("it is partitioned into slices; save it whole")
    if entry.dtype != dtype:
        raise CheckpointError(f"it is {entry.dtype}, and weights are float32")
    stored = np.dtype(dtype).newbyteorder("<")
    count = 1
    for axis in entry.shape:
        count *= axis
    if entry.size != stored.itemsize * count or entry.shard >= len(files):
        raise CheckpointError(
            f"the index gives it {entry.size} bytes in data file {entry.shard} of {len(files)}, "
            f"for shape {entry.shape}, which cannot be"
        )
    file = files[entry.shard]
    try:
        if entry.offset + entry.size > file.stat().st_size:
            raise CheckpointError(f"it lies beyond the end of {file.name}, which is truncated")
        tensor = np.fromfile(file, stored, count, offset=entry.offset)
    except OSError as error:
        raise CheckpointError(f"{file.name} cannot be read ({os_reason(error)})") from error
    if masked(crc32c(tensor.view(np.uint8))) != entry.crc:
        raise CheckpointError("its values do not have the checksum stored with them")
    return tensor.astype(dtype, copy=False).reshape(entry.shape)


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position
