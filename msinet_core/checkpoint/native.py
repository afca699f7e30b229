"""The native format, ``*.msinet.h5``; docs/reference/checkpoint-format.md defines it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint.archive import (
    MAX_LISTED,
    Archive,
    Checkpoint,
    StoredOptimizer,
    StoredTensor,
)
from msinet_core.checkpoint.hdf5_tensors import (
    CHECKSUM,
    dataset_tensor,
    file_image,
    write_tensors,
    write_text,
    write_text_dataset,
)
from msinet_core.checkpoint.tensors import text_checksum
from msinet_core.checkpoint.texts import parse_network, parse_object
from msinet_core.checkpoint.wire import hdf5
from msinet_core.checkpoint.wire.hdf5_messages import Dataset, Group
from msinet_core.checkpoint.wire.limits import MAX_NAME, MAX_TEXT
from msinet_core.errors import CheckpointError, bullet_list, printable
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.network.state import state_groups
from msinet_core.system.files import write_bytes
from msinet_core.system.version import __version__

if TYPE_CHECKING:
    import h5py

FORMAT = "msinet checkpoint"
FORMAT_VERSION = 2
SUFFIX = ".msinet.h5"

_MAX_NAME = MAX_NAME - len("/optimizer/m/")
_GROUPS = ("weights", "optimizer/m", "optimizer/v")
_STEP = "optimizer/step"
_TEXTS = ("graph", "metadata", "training", _STEP)
"""The datasets that are JSON; all others are tensors."""


def matches(path: Path) -> bool:
    """Return whether a file is, or was meant to be, in the native format.

    Args:
        path: Any path.
    """
    if path.name.endswith(SUFFIX):
        return path.is_file()
    return hdf5.read_root(path).text("format") == FORMAT


def open_archive(path: Path) -> Archive:
    """Open a native checkpoint: check its structure and its texts, read no tensor.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is not a native checkpoint that this version reads, or damaged.
    """
    file = hdf5.read_file(path)
    _check_format(file, path)
    texts: dict[str, Dataset] = {}
    groups: dict[str, dict[str, StoredTensor]] = {group: {} for group in _GROUPS}
    for name, dataset, _ in file.datasets():
        group = next((group for group in groups if name.startswith(f"{group}/")), None)
        if name in _TEXTS:
            texts[name] = dataset
        elif group is None:
            raise CheckpointError(
                f"{path} holds '/{printable(name)}', which the format does not have. "
                f"Write the checkpoint again with msinet."
            )
        else:
            # A missing checksum is damage, too.
            checksum = dataset.text(CHECKSUM) or "missing"
            groups[group][name[len(group) + 1 :]] = dataset_tensor(dataset, path, checksum)
    optimizer = None
    if "optimizer" in file.members:
        step = _text(texts, _STEP, path)
        if not step.isdecimal():
            raise CheckpointError(f"{path} is damaged: its optimizer step is {step!r}.")
        optimizer = StoredOptimizer(int(step), groups["optimizer/m"], groups["optimizer/v"])
    return Archive(
        path,
        weights=groups["weights"],
        optimizer=optimizer,
        graph=parse_network(_text(texts, "graph", path), path),
        metadata=parse_object(_text(texts, "metadata", path), path, "metadata"),
        read_training=partial(_read_training, texts, path),
    )


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
    write_bytes(path, file_image(partial(_fill, checkpoint)))


def _check_format(file: Group, path: Path) -> None:
    if file.text("format") != FORMAT:
        raise CheckpointError(
            f"{path} is an HDF5 file, but not an msinet checkpoint: its attribute 'format' is not "
            f"'{FORMAT}'. Rename it, and msinet-run inspect shows what it is."
        )
    version, layout = file.integer("format_version"), file.text("kernel_layout")
    if (version, layout) != (FORMAT_VERSION, CANONICAL_KERNEL_LAYOUT):
        raise CheckpointError(
            f"{path} is in format {version} with {layout} kernels; msinet {__version__} reads "
            f"format {FORMAT_VERSION} with {CANONICAL_KERNEL_LAYOUT} kernels. Upgrade msinet if "
            f"a newer version wrote it; otherwise train or convert it again."
        )


def _text(texts: Mapping[str, Dataset], name: str, path: Path) -> str:
    dataset = texts.get(name)
    if dataset is not None and dataset.is_text and dataset.content is not None:
        text = bytes(dataset.content).decode()
        if dataset.text(CHECKSUM) == text_checksum(f"/{name}", text):
            return text
    raise CheckpointError(
        f"{path} is damaged: its {name} is missing or has a wrong checksum. "
        f"Copy or download it again, or use another checkpoint."
    )


def _read_training(texts: Mapping[str, Dataset], path: Path) -> Mapping[str, Any] | None:
    if "training" not in texts:
        return None
    return parse_object(_text(texts, "training", path), path, "training")


def _fill(checkpoint: Checkpoint, file: h5py.File) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    metadata = {"created": now, "msinet": __version__, **checkpoint.metadata}
    optimizer = checkpoint.state.optimizer
    texts = {"graph": checkpoint.graph.to_json(), "metadata": _to_json(metadata)}
    if checkpoint.training is not None:
        texts["training"] = _to_json(checkpoint.training)
    if optimizer is not None:
        texts[_STEP] = str(optimizer.step)
    file.attrs["format_version"] = FORMAT_VERSION
    write_text(file, "format", FORMAT)
    write_text(file, "kernel_layout", CANONICAL_KERNEL_LAYOUT)
    write_text(file, "graph_fingerprint", checkpoint.graph.fingerprint)
    for group, tensors in state_groups(checkpoint.state).items():
        file.create_group(group)
        write_tensors(file, {f"{group}/{name}": value for name, value in tensors.items()})
    for name, text in texts.items():
        dataset = write_text_dataset(file, name, text)
        write_text(dataset, CHECKSUM, text_checksum(f"/{name}", text))


def _to_json(value: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(value)
        if len(text) > MAX_TEXT:
            raise ValueError(f"{len(text):,} characters, more than {MAX_TEXT:,}")
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint cannot be saved: its training record or metadata cannot be written as "
            f"JSON ({error})."
        ) from error


def _check(checkpoint: Checkpoint) -> None:
    """Refuse what could not be read again."""
    wrong = checkpoint.state.mismatches(checkpoint.graph)
    for tensors in state_groups(checkpoint.state).values():
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
        if {"", ".", ".."} & set(parts) or not name.isprintable():
            wrong.append(f"{name!r}: names have no empty part, '.', '..' or control character")
        if len(name) > _MAX_NAME:
            wrong.append(f"'{printable(name)}': names have at most {_MAX_NAME} characters")
        if any("/".join(parts[:count]) in tensors for count in range(1, len(parts))):
            wrong.append(f"'{name}': a part of it is the name of another tensor")
    return wrong
