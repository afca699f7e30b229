"""PyTorch's state_dict files, ``*.pt`` and ``*.pth``, read and written without PyTorch.

They are zip archives, or before PyTorch 1.6 plain files, with a pickle that describes the tensors
and the values beside it. The pickle is read as data (`wire.pickle`): nothing in it is ever run.
A member's CRC-32 is compared before its values are used.

Source: torch/serialization.py and torch/_utils.py;
https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.formats.safetensors import LAYOUTS
from msinet_core.checkpoint.guard import BIG_ENDIAN, UnsupportedError
from msinet_core.checkpoint.origin import origin_texts, read_origin
from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.checkpoint.wire.limits import MAX_ENTRIES
from msinet_core.checkpoint.wire.mapped import map_file
from msinet_core.checkpoint.wire.pickle import Call, Global, read_pickle
from msinet_core.checkpoint.wire.zip import open_stored
from msinet_core.errors import CheckpointError
from msinet_core.system.files import atomic_path

SUFFIXES = (".pt", ".pth")
_LAYOUT = LAYOUTS["torch"]
"""The order of a convolution's kernel in PyTorch, whatever its memory format."""

_ORIGIN = "msinet"
"""The entry of a state_dict's ``_metadata``, which modules ignore."""

_MAX_PICKLE = 2**22
"""Bytes; MSI-Net's has 8,000."""

_MAX_AXES = 64
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "torch.FloatStorage": ("float32", 4),
    "torch.DoubleStorage": ("float64", 8),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
}


def open_archive(path: Path) -> Archive:
    """Open a state_dict, or a dictionary with one under ``state_dict``.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, refused, or holds other things than weights.
    """
    tensors, texts = read_state_dict(path)
    graph, metadata = read_origin(texts, path)
    keys = names.from_torch_names(tensors, graph, path)
    weights = {name: tensors[key] for name, key in keys.items()}
    return Archive(path, weights, graph=graph, metadata=metadata)


def read_state_dict(path: Path) -> tuple[Mapping[str, StoredTensor], Mapping[str, str]]:
    """Describe a state_dict's tensors, by key, and read the texts that `write` puts beside them.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, refused, or holds other things than weights.
    """
    found = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(map_file(path))
    state = _dictionary(found)
    if state is not None and (inner := _dictionary(state.get("state_dict"))) is not None:
        found, state = state["state_dict"], inner
    if not state:
        raise CheckpointError(f"{path} holds no state_dict. Save model.state_dict().")
    if len(state) > MAX_ENTRIES:
        raise CheckpointError(f"{path} holds {len(state):,} tensors, more than {MAX_ENTRIES:,}.")
    texts = _texts(found)
    tensors = {str(key): _tensor(value) for key, value in state.items()}
    others = [key for key, tensor in tensors.items() if tensor is None]
    if others:
        raise CheckpointError(
            f"{path} holds more than weights: {', '.join(map(repr, others[:5]))}. "
            f"Save model.state_dict() alone."
        )
    return {
        key: stored_tensor(
            key,
            tensor.shape,
            tensor.storage.dtype,
            partial(_read, tensor),
            layout=_LAYOUT,
            checksum=texts.get(f"sha256:{key}"),
        )
        for key, tensor in tensors.items()
        if tensor is not None
    }, texts


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a state_dict.

    Args:
        path: The file to make or replace.
        checkpoint: Its weights are written.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    weights = checkpoint.state.weights
    keys = names.torch_names(checkpoint.graph)
    prepared = prepare_tensors({key: weights[name] for name, key in keys.items()}, _LAYOUT)
    texts = origin_texts(checkpoint, _LAYOUT)
    texts |= {f"sha256:{key}": checksum for key, (_, checksum) in prepared.items()}
    tensors = {key: tensor for key, (tensor, _) in prepared.items()}
    members: dict[str, bytes | memoryview] = {
        "data.pkl": _write_pickle(tensors, texts),
        "byteorder": b"little",
        "version": b"3\n",
    }
    for number, tensor in enumerate(tensors.values()):
        members[f"data/{number}"] = tensor.reshape(-1).view(np.uint8).data
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)


@dataclass(eq=False)
class _Storage:
    """Values in the file.

    Args:
        dtype: As NumPy names it.
        size: In bytes.
        item_size: Of one value, in bytes.
        data: The bytes.
        crc: The CRC-32 of the bytes; None if the file holds none.
    """

    dtype: str
    size: int
    item_size: int
    data: memoryview = field(default_factory=lambda: memoryview(b""))
    crc: int | None = None

    @cached_property
    def is_whole(self) -> bool:
        return len(self.data) == self.size and self.crc in (None, zlib.crc32(self.data))


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _read_zip(path: Path) -> Any:
    data = map_file(path)
    with open_stored(path) as (archive, members):
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(
                f"{path} has {len(pickles)} members named data.pkl; torch.save writes one. Save "
                f"model.state_dict() in a file of its own; if it is in another format, rename it."
            )
        pickle = pickles[0]
        folder = pickle.removesuffix("data.pkl")
        if members[pickle].file_size > _MAX_PICKLE:
            raise ValueError("its pickle is too large")
        byte_order = f"{folder}byteorder"
        if byte_order in members and archive.read(byte_order) != b"little":
            raise UnsupportedError(BIG_ENDIAN)
        content = archive.read(pickle)
    storages: dict[tuple[str, str, int], _Storage] = {}

    def persistent(identifier: Any) -> _Storage:
        key, storage = _new_storage(identifier)
        # One for all tensors in it: its CRC-32 is computed once.
        storage = storages.setdefault((key, storage.dtype, storage.size), storage)
        member = members[f"{folder}data/{key}"]
        name_size, extra_size = struct.unpack_from("<HH", data, member.header_offset + 26)
        begin = member.header_offset + 30 + name_size + extra_size
        storage.data = data[begin : begin + member.file_size]
        storage.crc = member.CRC
        return storage

    return read_pickle(io.BytesIO(content), persistent)


def _read_legacy(data: memoryview) -> Any:
    """Read the format before PyTorch 1.6: five pickles, then the storages one after another."""
    stream = io.BytesIO(data[:_MAX_PICKLE])
    storages: dict[str, list[_Storage]] = {}

    def persistent(identifier: Any) -> _Storage:
        key, storage = _new_storage(identifier)
        storages.setdefault(key, []).append(storage)
        return storage

    magic, _, system, found, keys = (read_pickle(stream, persistent) for _ in range(5))
    if magic != _LEGACY_MAGIC:
        raise ValueError("not written by torch.save")
    if not system["little_endian"]:
        raise UnsupportedError(BIG_ENDIAN)
    position = stream.tell()
    for key in map(_checked_key, keys):
        position += 8  # the number of values, which the pickle has too
        for storage in storages[key]:
            storage.data = data[position : position + storage.size]
        position += storages[key][0].size
    return found


def _new_storage(identifier: Any) -> tuple[str, _Storage]:
    kind, storage_type, key, _, count, *view = identifier
    if kind != "storage" or not isinstance(storage_type, Global) or any(view):
        raise ValueError("an unknown kind of storage")
    if type(count) is not int or count < 0:
        raise ValueError(f"a storage of {count!r} values")
    dtype, item_size = _DTYPES.get(storage_type.name, (storage_type.name, 1))
    return _checked_key(key), _Storage(dtype, count * item_size, item_size)


def _checked_key(key: Any) -> str:
    if not isinstance(key, str):  # hashing nested tuples crashes Python
        raise ValueError("a storage without a name")
    return key


def _dictionary(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, dict):
        return value
    if not isinstance(value, Call) or value.function != "collections.OrderedDict":
        return None
    pairs = value.arguments[0] if value.arguments else []
    return {key: item for key, item in pairs if isinstance(key, str)} | value.items


def _texts(state: Any) -> Mapping[str, str]:
    texts = _dictionary(getattr(state, "state", None)) or {}
    for name in ("_metadata", _ORIGIN):
        texts = _dictionary(texts.get(name)) or {}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _tensor(value: Any) -> _Tensor | None:
    while isinstance(value, Call) and value.function == "torch._utils._rebuild_parameter":
        value = value.arguments[0]
    if not isinstance(value, Call) or value.function != "torch._utils._rebuild_tensor_v2":
        return None
    storage, offset, shape, strides, *_ = value.arguments
    numbers = (offset, *shape, *strides)
    if len(numbers) > _MAX_AXES or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor with an invalid shape, stride or offset")
    # A tensor can declare any shape over a small storage, with strides of zero.
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    count = storage.size // storage.item_size
    if math.prod(shape) > count or (math.prod(shape) and last >= count):
        raise ValueError(f"a tensor of shape {shape} in a storage of {count} values")
    return _Tensor(storage, offset, shape, strides)


def _read(tensor: _Tensor) -> NDArray[np.float32]:
    if not tensor.storage.is_whole:
        raise CheckpointError("truncated, or wrong CRC-32")
    values = np.frombuffer(tensor.storage.data, "<f4")[tensor.offset :]
    strides = [4 * step for step in tensor.strides]
    return np.array(np.lib.stride_tricks.as_strided(values, tensor.shape, strides), np.float32)


def _write_pickle(tensors: Mapping[str, NDArray[np.float32]], texts: Mapping[str, str]) -> bytes:
    """Pickle an OrderedDict of tensors with the attribute ``_metadata``, as PyTorch does."""
    ordered_dict = b"ccollections\nOrderedDict\n)R"
    out = bytearray(b"\x80\x02" + ordered_dict + b"(")
    for number, (key, tensor) in enumerate(tensors.items()):
        # NumPy's own strides are arbitrary along axes of size 1.
        strides = [math.prod(tensor.shape[axis + 1 :]) for axis in range(tensor.ndim)]
        storage = _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(number)) + _text("cpu")
        out += _text(key) + b"ctorch._utils\n_rebuild_tensor_v2\n("
        out += b"(" + storage + _integers(tensor.size) + b"tQ" + _integers(0)
        out += b"(" + _integers(*tensor.shape) + b"t(" + _integers(*strides) + b"t"
        out += b"\x89" + ordered_dict + b"tR"
    items = b"".join(_text(key) + _text(value) for key, value in texts.items())
    metadata = ordered_dict + b"(" + _text(_ORIGIN) + b"}(" + items + b"uu"
    return bytes(out + b"u}(" + _text("_metadata") + metadata + b"ub.")


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integers(*values: int) -> bytes:
    return b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values)
