"""Safetensors files: PyTorch's kernels (OIHW) and MLX's (OHWI), distinguished by the metadata.

Source: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.origin import origin_texts, read_origin
from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.checkpoint.wire.limits import MAX_ENTRIES
from msinet_core.checkpoint.wire.mapped import is_named
from msinet_core.errors import CheckpointError
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph

SUFFIX = ".safetensors"
LAYOUTS: Mapping[str, str] = {"torch": "OIHW", "mlx": "OHWI"}
"""The order of a kernel's axes by the format's name."""

_ALIGNMENT = 8
_MAX_HEADER = 2**23
_MAX_COLONS = 5 * MAX_ENTRIES
"""A tensor has four, and a checksum of it one more."""

UNKNOWN_LAYOUT = "safetensors"
"""The name of the format of files that do not declare their kernels' layout."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Args:
        name: In the file.
        dtype: For example ``F32``.
        shape: In the file's layout.
        offset: Of the first byte in the file.
        checksum: If the file holds one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    checksum: str | None


@dataclass(frozen=True)
class Header:
    """What comes before the values.

    Args:
        texts: The ``__metadata__``.
        entries: By name in the file.
    """

    texts: Mapping[str, str]
    entries: Mapping[str, Entry]


def matches(path: Path, name: str | None = None) -> bool:
    """Return whether a file is, or was meant to be, in this format.

    Args:
        path: Any path.
        name: ``"torch"`` or ``"mlx"``: it must declare that layout; None: any file.
    """
    if not is_named(path, SUFFIX):
        return False
    return name is None or read_header(path).texts.get("kernel_layout") == LAYOUTS[name]


@contextmanager
def open_archive(path: Path, kernel_layout: str | None = None) -> Iterator[Archive]:
    """Open a safetensors file: read and check its header, no tensor.

    Args:
        path: The file.
        kernel_layout: The order of its kernels' axes if the file does not declare it.

    Raises:
        CheckpointError: It is damaged, or its layout is unknown.
    """
    header = read_header(path)
    declared = header.texts.get("kernel_layout")
    if declared is not None and kernel_layout not in (None, declared):
        raise CheckpointError(
            f"{path} declares its kernels as {declared}, not {kernel_layout}. "
            f"Leave out --from-layout."
        )
    layout = declared or kernel_layout
    if layout is None:
        raise CheckpointError(
            f"{path} does not declare the order of its kernels' axes: its __metadata__ has no "
            f"'kernel_layout', and shapes are ambiguous. Run: msinet-run convert {path} "
            f"weights.msinet.h5 --from-layout torch (OIHW) or mlx (OHWI)"
        )
    if layout not in LAYOUTS.values():
        raise CheckpointError(
            f"{path}: invalid kernel_layout {layout!r}; use {' or '.join(LAYOUTS.values())}. "
            f"Write the file again with msinet-run convert."
        )
    graph, metadata = read_origin(header.texts, path)
    keys = names.from_torch_names(header.entries, graph, path)
    weights = {name: stored(path, header.entries[key], layout) for name, key in keys.items()}
    yield Archive(path, weights, graph=graph, metadata=metadata)


@contextmanager
def open_as_stored(path: Path) -> Iterator[Archive]:
    """Open a file of unknown layout for inspection: names and axes are those in the file.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged.
    """
    entries = read_header(path).entries
    weights = {key: stored(path, entry, CANONICAL_KERNEL_LAYOUT) for key, entry in entries.items()}
    yield Archive(path, weights)


def fitting_layouts(path: Path, graph: Graph) -> list[str]:
    """List the layouts, by name, in which a file of unknown layout fits a network.

    Args:
        path: The file.
        graph: The network.

    Raises:
        CheckpointError: It is damaged.
    """
    if "kernel_layout" in read_header(path).texts:
        return []
    fitting = []
    for name, layout in LAYOUTS.items():
        with open_archive(path, layout) as archive:
            if not archive.mismatches(graph):
                fitting.append(name)
    return fitting


def write(path: Path, checkpoint: Checkpoint, name: str) -> None:
    """Write weights, with layout, network and a checksum of each tensor in the metadata.

    Args:
        path: The file to make or replace.
        checkpoint: Its weights are written.
        name: ``"torch"`` or ``"mlx"``.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    layout = LAYOUTS[name]
    weights = checkpoint.state.weights
    keys = names.torch_names(checkpoint.graph)
    prepared = prepare_tensors({key: weights[name] for name, key in keys.items()}, layout)
    texts = {
        "format": "pt" if name == "torch" else name,
        **origin_texts(checkpoint, layout),
        **{f"sha256:{key}": checksum for key, (_, checksum) in prepared.items()},
    }
    # safetensors.numpy.save holds the whole file in memory and orders the texts at random, so that
    # equal checkpoints make different files.
    header: dict[str, Any] = {"__metadata__": texts}
    begin = 0
    for key, (tensor, _) in prepared.items():
        end = begin + tensor.nbytes
        header[key] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.writelines(tensor.data for tensor, _ in prepared.values())


def read_header(path: Path) -> Header:
    """Read and check what comes before the values.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged: truncated, not JSON, tensors that overlap or leave gaps.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(length, _MAX_HEADER))
    if length > _MAX_HEADER or text.count(b":") > _MAX_COLONS:
        raise CheckpointError(
            f"{path} is refused: its header has {length:,} bytes, which is not possible or holds "
            f"too many tensors or texts. Copy or download it again, or use another file."
        )
    try:
        safe_open(path, "numpy")  # checks types, shapes and offsets
        header = json.loads(text, object_pairs_hook=_without_duplicates)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or damaged: {error}. Copy or download it again."
        ) from error
    texts = header.pop("__metadata__", None) or {}
    entries = {
        name: Entry(
            name,
            value["dtype"],
            tuple(value["shape"]),
            8 + length + value["data_offsets"][0],
            texts.get(f"sha256:{name}"),
        )
        for name, value in header.items()
    }
    return Header(texts, entries)


def stored(path: Path, entry: Entry, layout: str) -> StoredTensor:
    """Describe one tensor in canonical terms.

    Args:
        path: The file.
        entry: The tensor.
        layout: The order of a kernel's axes in the file.
    """
    return stored_tensor(
        entry.name,
        entry.shape,
        "float32" if entry.dtype == "F32" else entry.dtype,
        partial(_read, path, entry),
        layout=layout,
        checksum=entry.checksum,
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate names")
    return value


def _read(path: Path, entry: Entry) -> NDArray[np.float32]:
    tensor = np.fromfile(path, "<f4", math.prod(entry.shape), offset=entry.offset)
    return tensor.astype(np.float32, copy=False).reshape(entry.shape)
