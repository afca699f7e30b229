"""The native format, ``*.msinet.h5``; docs/reference/checkpoint-format.md defines it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from msinet_core.checkpoint.archive import (
    MAX_LISTED,
    Archive,
    Checkpoint,
    StoredOptimizer,
    StoredTensor,
)
from msinet_core.checkpoint.hdf5_tensors import contiguous_tensor, write_tensors
from msinet_core.checkpoint.wire import hdf5
from msinet_core.checkpoint.wire.checksums import text_checksum
from msinet_core.errors import CheckpointError, GraphError, bullet_list
from msinet_core.network.graph import Graph
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.system.files import write_bytes
from msinet_core.system.version import __version__

FORMAT = "msinet checkpoint"
FORMAT_VERSION = 1
SUFFIX = ".msinet.h5"

_LIBVER = "v108"
"""HDF5 1.8's structures carry their own checksums and take attributes above 64 KiB."""


def matches(path: Path) -> bool:
    """Return whether a file is, or was meant to be, in the native format.

    Args:
        path: Any path.
    """
    if path.name.endswith(SUFFIX):
        return path.is_file()
    return hdf5.looks_like(path, lambda file: hdf5.read_text(file, "format") == FORMAT)


def open_archive(path: Path) -> AbstractContextManager[Archive]:
    """Open a native checkpoint: check its structure and its texts, read no tensor.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is not a native checkpoint that this version reads, or damaged.
    """
    return hdf5.open_file(path, partial(_parse, path))


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in the native format; a kill at any moment leaves the old or the new one.

    Args:
        path: The file to make or replace, ``*.msinet.h5``.
        checkpoint: What to save; ``created`` and ``msinet`` (this version) are added to its
            metadata unless they are in it.

    Raises:
        CheckpointError: The tensors do not fit the graph, or something in it cannot be written.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    _check(checkpoint)
    write_bytes(path, hdf5.file_image(partial(_fill, checkpoint), _LIBVER))


def _parse(path: Path, file: h5py.File) -> Archive:
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
                f"{path} holds '/{name}', which the format does not have. "
                f"Write the checkpoint again with msinet."
            )
        groups[group][name[len(group) + 1 :]] = _stored(dataset, path)
    optimizer = None
    if "optimizer" in file:
        step = hdf5.read_integer(file["optimizer"], "step")
        if step is None or step < 0:
            raise CheckpointError(f"{path} is damaged: the optimizer's step is {step!r}.")
        optimizer = StoredOptimizer(step, groups["optimizer/m"], groups["optimizer/v"])
    return Archive(
        path,
        weights=groups["weights"],
        optimizer=optimizer,
        graph=_read_graph(file, path),
        metadata=_parse_json(_text_attribute(file, "metadata", path), path, "metadata"),
        read_training=partial(_read_training, training, path),
    )


def _check_format(file: h5py.File, path: Path) -> None:
    if hdf5.read_text(file, "format") != FORMAT:
        raise CheckpointError(
            f"{path} is an HDF5 file, but not an msinet checkpoint: its attribute 'format' is not "
            f"'{FORMAT}'. Rename it, and msinet-run inspect shows what it is."
        )
    version = hdf5.read_integer(file, "format_version")
    if version is None or version < 1:
        raise CheckpointError(f"{path} is damaged: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is in format {version}, written by a newer msinet; msinet {__version__} reads "
            f"up to format {FORMAT_VERSION}. Upgrade msinet."
        )
    layout = hdf5.read_text(file, "kernel_layout")
    if layout != CANONICAL_KERNEL_LAYOUT:
        raise CheckpointError(
            f"{path}: invalid kernel_layout {layout!r}; the format has "
            f"{CANONICAL_KERNEL_LAYOUT}. Write the checkpoint again with msinet."
        )


def _text_attribute(file: h5py.File, name: str, path: Path) -> str:
    text = hdf5.read_text(file, name)
    if text is None or hdf5.read_text(file, f"{name}_sha256") != text_checksum(f"/{name}", text):
        raise CheckpointError(
            f"{path} is damaged: wrong checksum of its {name}. "
            f"Copy or download it again, or use another checkpoint."
        )
    return text


def _parse_json(text: str, path: Path, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its {name} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: its {name} is a {type(value).__name__}, not an object.")
    return value


def _read_graph(file: h5py.File, path: Path) -> Graph:
    text = _text_attribute(file, "graph", path)
    try:
        return Graph.from_json(text)
    except (GraphError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its network cannot be used: {error}") from error


def _stored(dataset: h5py.Dataset, path: Path) -> StoredTensor:
    if dataset.dtype != np.dtype("<f4"):
        raise CheckpointError(
            f"{path}: '{dataset.name}' is {dataset.dtype}; every tensor is little-endian float32. "
            f"Write the checkpoint again with msinet."
        )
    # A missing checksum is damage, too.
    return contiguous_tensor(dataset, path, hdf5.read_text(dataset, "sha256") or "missing")


def _read_training(dataset: h5py.Dataset | None, path: Path) -> Mapping[str, Any] | None:
    if dataset is None:
        return None
    subject = f"{path}: its training record cannot be read"
    advice = "Copy it again, or use another checkpoint."
    with hdf5.damage(subject, advice):
        if not hdf5.is_text(dataset.dtype) or dataset.id.get_storage_size() != dataset.nbytes:
            raise CheckpointError(f"{subject}: not a text of fixed length. {advice}")
        text = dataset[()].decode()
        if hdf5.read_text(dataset, "sha256") != text_checksum("/training", text):
            raise CheckpointError(f"{subject}: wrong checksum. {advice}")
    return _parse_json(text, path, "training record")


def _fill(checkpoint: Checkpoint, file: h5py.File) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    metadata = {"created": now, "msinet": __version__, **checkpoint.metadata}
    texts = {"graph": checkpoint.graph.to_json(), "metadata": _to_json(metadata)}
    hdf5.write_text(file, "format", FORMAT)
    file.attrs["format_version"] = FORMAT_VERSION
    hdf5.write_text(file, "kernel_layout", CANONICAL_KERNEL_LAYOUT)
    hdf5.write_text(file, "graph_fingerprint", checkpoint.graph.fingerprint)
    for name, text in texts.items():
        hdf5.write_text(file, name, text)
        hdf5.write_text(file, f"{name}_sha256", text_checksum(f"/{name}", text))
    groups = {"weights": checkpoint.state.weights}
    optimizer = checkpoint.state.optimizer
    if optimizer is not None:
        groups |= {"optimizer/m": optimizer.m, "optimizer/v": optimizer.v}
    for group, tensors in groups.items():
        file.create_group(group)
        write_tensors(file, {f"{group}/{name}": value for name, value in tensors.items()})
    if optimizer is not None:
        file["optimizer"].attrs["step"] = np.int64(optimizer.step)
    if checkpoint.training is not None:
        text = _to_json(checkpoint.training)
        data = text.encode()
        dtype = h5py.string_dtype("utf-8", len(data))
        dataset = file.create_dataset("training", data=np.array(data, dtype))
        hdf5.write_text(dataset, "sha256", text_checksum("/training", text))


def _to_json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint cannot be saved: its training record or metadata are not JSON "
            f"({error})."
        ) from error


def _check(checkpoint: Checkpoint) -> None:
    """Refuse what could not be read again."""
    wrong = checkpoint.state.mismatches(checkpoint.graph)
    optimizer = checkpoint.state.optimizer
    for tensors in (checkpoint.state.weights, *((optimizer.m, optimizer.v) if optimizer else ())):
        wrong += [
            f"{name}: is {value.dtype}, expected float32"
            for name, value in tensors.items()
            if value.dtype != np.float32
        ]
    wrong += _invalid_names(parameter.name for parameter in checkpoint.graph.parameters)
    if wrong:
        raise CheckpointError(f"The checkpoint cannot be saved:\n{bullet_list(wrong, MAX_LISTED)}")


def _invalid_names(names: Iterable[str]) -> list[str]:
    """List the names that HDF5 would change, and those that are both a group and a tensor."""
    wrong, tensors = [], set(names)
    for name in sorted(tensors):
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in name:
            wrong.append(f"'{name}': names have no empty part, '.', '..' or NUL")
        if any("/".join(parts[:count]) in tensors for count in range(1, len(parts))):
            wrong.append(f"'{name}': a part of it is the name of another tensor")
    return wrong
