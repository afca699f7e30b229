"""The native format, ``*.msinet.h5``; docs/reference/checkpoint-format.md describes it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import msinet_core
from msinet_core.checkpoint import hdf5
from msinet_core.checkpoint.archive import (
    Archive,
    Checkpoint,
    StoredOptimizer,
    StoredTensor,
    StoredTensors,
)
from msinet_core.errors import CheckpointError, GraphError, bullet_list
from msinet_core.files import atomic_path
from msinet_core.graph import Graph
from msinet_core.layout import CANONICAL_KERNEL_LAYOUT

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "msinet checkpoint"
FORMAT_VERSION = 1
SUFFIX = ".msinet.h5"
DTYPE = np.dtype("<f4")

_LIBVER = "v108"
"""HDF5 1.8's structures carry their own checksums and take attributes above 64 KiB."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in the native format; a kill at any moment leaves the old or the new one.

    Args:
        path: The file to make or replace, ``*.msinet.h5``.
        checkpoint: What to save; ``created`` and ``msinet`` (this version) are added to its
            metadata where they are not there.

    Raises:
        CheckpointError: The tensors do not fit the graph, or something in it cannot be written.
        MsinetError: The disk refuses; the old file is whole.
    """
    _check(checkpoint)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    texts = {
        "graph": checkpoint.graph.to_json(),
        "metadata": _to_json(
            {"created": now, "msinet": msinet_core.__version__, **checkpoint.metadata}
        ),
    }
    training = None if checkpoint.training is None else _to_json(checkpoint.training)
    groups = {"weights": checkpoint.state.weights}
    memory = checkpoint.state.optimizer
    if memory is not None:
        groups |= {"optimizer/m": memory.m, "optimizer/v": memory.v}
    with (
        atomic_path(path) as temporary,
        _disk_errors(),
        h5py.File(temporary, "w", libver=_LIBVER) as file,
    ):
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["kernel_layout"] = CANONICAL_KERNEL_LAYOUT
        file.attrs["graph_fingerprint"] = checkpoint.graph.fingerprint
        for name, text in texts.items():
            file.attrs[name] = text
            file.attrs[f"{name}_sha256"] = text_checksum(f"/{name}", text)
        for name, tensors in groups.items():
            _write_tensors(file.create_group(name), tensors)
        if memory is not None:
            file["optimizer"].attrs["step"] = np.int64(memory.step)
        if training is not None:
            _write_text(file, "training", training)


def matches(path: Path) -> bool:
    """Tell whether a file is, or was meant to be, in the native format.

    Args:
        path: Any path.
    """
    if path.name.endswith(SUFFIX):
        return path.is_file()
    if not hdf5.is_hdf5(path):
        return False
    with hdf5.open_file(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a native checkpoint: check its structure and its texts, read no tensor.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is not a native checkpoint that this version reads, or damaged.
    """
    with hdf5.open_file(path) as file:
        _check_format(file, path)
        found = hdf5.datasets(file, path)
        training = found.pop("training", None)
        graph = _read_graph(file, path)
        metadata = _parse(_text_attribute(file, "metadata", path), path, "metadata")
        groups: dict[str, dict[str, StoredTensor]] = {
            "weights": {},
            "optimizer/m": {},
            "optimizer/v": {},
        }
        for name, dataset in found.items():
            group = next((group for group in groups if name.startswith(f"{group}/")), None)
            if group is None:
                raise CheckpointError(
                    f"{path} holds '/{name}', which is no part of the format. "
                    f"Write the checkpoint again with msinet."
                )
            groups[group][name[len(group) + 1 :]] = _stored(dataset, path)
        yield Archive(
            path,
            weights=groups["weights"],
            optimizer=_stored_optimizer(file, groups["optimizer/m"], groups["optimizer/v"], path),
            graph=graph,
            metadata=metadata,
            read_training=partial(_read_training, training, path),
        )


def tensor_checksum(name: str, tensor: NDArray[np.float32]) -> str:
    """Compute the checksum of a tensor; its place, type and shape count as well as its values.

    Args:
        name: Where it is in the file, for example ``/weights/conv1/conv1_1/kernel``.
        tensor: float32, little-endian, contiguous.
    """
    shape = "x".join(str(axis) for axis in tensor.shape)
    digest = hashlib.sha256(f"{name} float32 {shape}\n".encode())
    digest.update(tensor.data)
    return digest.hexdigest()


def text_checksum(name: str, text: str) -> str:
    """Compute the checksum of a JSON text and its place.

    Args:
        name: Where it is in the file, for example ``/graph``.
        text: The JSON.
    """
    return hashlib.sha256(f"{name} text\n{text}".encode()).hexdigest()


def _check(checkpoint: Checkpoint) -> None:
    """Refuse what could not be read again."""
    wrong = checkpoint.state.mismatches(checkpoint.graph)
    memory = checkpoint.state.optimizer
    for tensors in (checkpoint.state.weights, *((memory.m, memory.v) if memory else ())):
        wrong += [
            f"{name}: is {value.dtype}, should be float32"
            for name, value in tensors.items()
            if value.dtype != np.float32
        ]
        wrong += [
            f"'{name}': a name has no empty part, '.' or '..'"
            for name in tensors
            if {"", ".", ".."} & set(name.split("/")) or "\0" in name
        ]
    if wrong:
        raise CheckpointError(f"The checkpoint cannot be saved:\n{bullet_list(wrong)}")


def _write_tensors(group: h5py.Group, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    for name, value in tensors.items():
        tensor = np.ascontiguousarray(value, DTYPE)
        dataset = group.create_dataset(name, data=tensor)
        dataset.attrs["sha256"] = tensor_checksum(dataset.name, tensor)


def _write_text(file: h5py.File, name: str, text: str) -> None:
    data = text.encode()
    dataset = file.create_dataset(name, data=np.array(data, h5py.string_dtype("utf-8", len(data))))
    dataset.attrs["sha256"] = text_checksum(dataset.name, text)


def _to_json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint cannot be saved: its training data or metadata are not JSON ({error})."
        ) from error


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Give every way in which h5py reports a refusing disk the one form that files.py words."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        named = re.search(r"errno = (\d+)", str(error))
        if number is None and named is not None:
            number = int(named[1])
        if number is None:
            raise OSError(errno.EIO, str(error).splitlines()[0]) from error
        raise OSError(number, os.strerror(number)) from error


def _check_format(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is an HDF5 file, but no msinet checkpoint: its attribute 'format' is not "
            f"'{FORMAT}'. msinet-run inspect tells what it is."
        )
    version = file.attrs.get("format_version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise CheckpointError(f"{path} is damaged: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is in format {version}, written by a newer msinet; this one "
            f"({msinet_core.__version__}) reads up to format {FORMAT_VERSION}. "
            f"Run: pip install --upgrade msinet"
        )
    layout = file.attrs.get("kernel_layout")
    if layout != CANONICAL_KERNEL_LAYOUT:
        raise CheckpointError(
            f"{path} says that its kernels are {layout!r}; the format has them "
            f"{CANONICAL_KERNEL_LAYOUT}. Write it again with msinet."
        )


def _text_attribute(file: h5py.File, name: str, path: Path) -> str:
    text = file.attrs.get(name)
    checksum = file.attrs.get(f"{name}_sha256")
    if not isinstance(text, str) or checksum != text_checksum(f"/{name}", text):
        raise CheckpointError(
            f"{path} is damaged: its {name} does not have the checksum that was stored with it. "
            f"Copy or download it again, or use another checkpoint."
        )
    return text


def _parse(text: str, path: Path, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its {name} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: its {name} is a JSON {type(value).__name__}, no object.")
    return value


def _read_graph(file: h5py.File, path: Path) -> Graph:
    text = _text_attribute(file, "graph", path)
    try:
        return Graph.from_json(text)
    except (GraphError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} holds a network that cannot be used: {error}") from error


def _stored(dataset: h5py.Dataset, path: Path) -> StoredTensor:
    """Describe one tensor, refusing what the format does not allow before anything is allocated."""
    name, dtype = dataset.name, dataset.dtype
    if dtype != DTYPE or dtype.byteorder == ">":
        raise CheckpointError(
            f"{path}: '{name}' is {dtype}; every tensor is little-endian float32. "
            f"Write the checkpoint again with msinet."
        )
    size = int(dataset.id.get_storage_size())
    wanted = dataset.size * DTYPE.itemsize
    if dataset.chunks is not None or size != wanted or size > path.stat().st_size:
        raise CheckpointError(
            f"{path}: '{name}' declares shape {dataset.shape}, {wanted} bytes, and stores {size} "
            f"in one piece. It is damaged, compressed or made to exhaust memory; use another file."
        )
    return StoredTensor(
        shape=dataset.shape,
        dtype="float32",
        has_checksum=True,
        read=partial(_read_tensor, dataset),
    )


def _read_tensor(dataset: h5py.Dataset) -> NDArray[np.float32]:
    with hdf5.damage("cannot be read"):
        tensor = np.empty(dataset.shape, DTYPE)
        if tensor.size:
            dataset.read_direct(tensor)
        stored = dataset.attrs.get("sha256")
        if stored != tensor_checksum(dataset.name, tensor):
            raise CheckpointError("its values do not have the checksum stored with them")
    return tensor


def _stored_optimizer(
    file: h5py.File, m: StoredTensors, v: StoredTensors, path: Path
) -> StoredOptimizer | None:
    if "optimizer" not in file:
        return None
    step = file["optimizer"].attrs.get("step")
    if not isinstance(step, (int, np.integer)) or step < 0:
        raise CheckpointError(f"{path} is damaged: the optimizer's step is {step!r}.")
    return StoredOptimizer(int(step), m, v)


def _read_training(dataset: h5py.Dataset | None, path: Path) -> Mapping[str, Any] | None:
    if dataset is None:
        return None
    subject = f"{path}: its training record cannot be read"
    with hdf5.damage(subject, "Copy it again, or use another checkpoint."):
        kind = h5py.check_string_dtype(dataset.dtype)
        if kind is None or kind.length is None or kind.length > path.stat().st_size:
            raise CheckpointError(f"{subject}: it is no text of fixed length.")
        text = dataset[()].decode()
        if dataset.attrs.get("sha256") != text_checksum("/training", text):
            raise CheckpointError(
                f"{subject}: it does not have the checksum stored with it. "
                f"Copy it again, or use another checkpoint."
            )
    return _parse(text, path, "training record")
