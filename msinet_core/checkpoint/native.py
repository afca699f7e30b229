"""Reading the native format, ``*.msinet.h5``; docs/reference/checkpoint-format.md defines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import msinet_core
from msinet_core.checkpoint import hdf5
from msinet_core.checkpoint.archive import (
    Archive,
    StoredOptimizer,
    StoredTensor,
    StoredTensors,
)
from msinet_core.errors import CheckpointError, GraphError
from msinet_core.network.graph import Graph
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "msinet checkpoint"
FORMAT_VERSION = 1
SUFFIX = ".msinet.h5"
DTYPE = np.dtype("<f4")


def matches(path: Path) -> bool:
    """Tell whether a file is, or was meant to be, in the native format.

    Args:
        path: Any path.
    """
    if path.name.endswith(SUFFIX):
        return path.is_file()
    if not hdf5.is_hdf5(path):
        return False
    with hdf5.open_file(path, lambda file: hdf5.read_text(file, "format")) as name:
        return name == FORMAT


def open_archive(path: Path) -> AbstractContextManager[Archive]:
    """Open a native checkpoint: check its structure and its texts, read no tensor.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is not a native checkpoint that this version reads, or damaged.
    """
    return hdf5.open_file(path, partial(_parse_file, path))


def _parse_file(path: Path, file: h5py.File) -> Archive:
    _check_format(file, path)
    found = hdf5.datasets(file, path)
    training = found.pop("training", None)
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
    return Archive(
        path,
        weights=groups["weights"],
        optimizer=_stored_optimizer(file, groups["optimizer/m"], groups["optimizer/v"], path),
        graph=_read_graph(file, path),
        metadata=_parse_json(_text_attribute(file, "metadata", path), path, "metadata"),
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


def _check_format(file: h5py.File, path: Path) -> None:
    if hdf5.read_text(file, "format") != FORMAT:
        raise CheckpointError(
            f"{path} is an HDF5 file, but no msinet checkpoint: its attribute 'format' is not "
            f"'{FORMAT}'. msinet-run inspect tells what it is."
        )
    version = hdf5.read_integer(file, "format_version")
    if version is None or version < 1:
        raise CheckpointError(f"{path} is damaged: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is in format {version}, written by a newer msinet; this one "
            f"({msinet_core.__version__}) reads up to format {FORMAT_VERSION}. "
            f"Install a newer msinet, the way this one was installed."
        )
    layout = hdf5.read_text(file, "kernel_layout")
    if layout != CANONICAL_KERNEL_LAYOUT:
        raise CheckpointError(
            f"{path} says that its kernels are {layout!r}; the format has them "
            f"{CANONICAL_KERNEL_LAYOUT}. Write it again with msinet."
        )


def _text_attribute(file: h5py.File, name: str, path: Path) -> str:
    text = hdf5.read_text(file, name)
    if text is None or hdf5.read_text(file, f"{name}_sha256") != text_checksum(f"/{name}", text):
        raise CheckpointError(
            f"{path} is damaged: its {name} does not have the checksum that was stored with it. "
            f"Copy or download it again, or use another checkpoint."
        )
    return text


def _parse_json(text: str, path: Path, name: str) -> Mapping[str, Any]:
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
        if hdf5.read_text(dataset, "sha256") != tensor_checksum(dataset.name, tensor):
            raise CheckpointError("its values do not have the checksum stored with them")
    return tensor


def _stored_optimizer(
    file: h5py.File, m: StoredTensors, v: StoredTensors, path: Path
) -> StoredOptimizer | None:
    if "optimizer" not in file:
        return None
    step = hdf5.read_integer(file["optimizer"], "step")
    if step is None or step < 0:
        raise CheckpointError(f"{path} is damaged: the optimizer's step is {step!r}.")
    return StoredOptimizer(int(step), m, v)


def _read_training(dataset: h5py.Dataset | None, path: Path) -> Mapping[str, Any] | None:
    if dataset is None:
        return None
    subject = f"{path}: its training record cannot be read"
    with hdf5.damage(subject, "Copy it again, or use another checkpoint."):
        if not hdf5.is_text(dataset.dtype) or dataset.id.get_storage_size() != dataset.nbytes:
            raise CheckpointError(f"{subject}: it is no text of fixed length.")
        text = dataset[()].decode()
        if hdf5.read_text(dataset, "sha256") != text_checksum("/training", text):
            raise CheckpointError(
                f"{subject}: it does not have the checksum stored with it. "
                f"Copy it again, or use another checkpoint."
            )
    return _parse_json(text, path, "training record")
