"""Safetensors files: PyTorch's kernels (OIHW) and MLX's (OHWI), distinguished by the metadata.

Source: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.origin import origin_texts, read_origin
from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.checkpoint.wire.limits import MAX_ENTRIES
from msinet_core.checkpoint.wire.mapped import is_named
from msinet_core.errors import CheckpointError, command
from msinet_core.network.graph import Graph
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.system.files import atomic_path

SUFFIX = ".safetensors"
LAYOUTS: Mapping[str, str] = {"torch": "OIHW", "mlx": "OHWI"}
"""The order of a kernel's axes by the format's name."""

_ALIGNMENT = 8
_MAX_HEADER = 2**23
_MAX_COLONS = 5 * MAX_ENTRIES
"""A tensor has four, and a checksum of it one more."""

UNKNOWN_LAYOUT = "safetensors"
"""The name of the format of files that do not declare their kernels' layout."""


def matches(path: Path, name: str | None = None) -> bool:
    """Return whether a file is, or was meant to be, in this format.

    Args:
        path: Any path.
        name: ``"torch"`` or ``"mlx"``: it must declare that layout; None: any file.
    """
    if not is_named(path, SUFFIX):
        return False
    return name is None or read_texts(path).get("kernel_layout") == LAYOUTS[name]


def open_archive(path: Path, kernel_layout: str | None = None) -> Archive:
    """Open a safetensors file: read and check its header, no tensor.

    Args:
        path: The file.
        kernel_layout: The order of its kernels' axes if the file does not declare it.

    Raises:
        CheckpointError: It is damaged, or its layout is unknown.
    """
    texts = read_texts(path)
    declared = texts.get("kernel_layout")
    if declared is not None and kernel_layout not in (None, declared):
        raise CheckpointError(
            f"{path} declares its kernels as {declared}, not {kernel_layout}. "
            f"Leave out --from-layout."
        )
    layout = declared or kernel_layout
    if layout is None:
        raise CheckpointError(
            f"{path} does not declare the order of its kernels' axes: its __metadata__ has no "
            f"'kernel_layout', and shapes are ambiguous. Run: "
            f"{command('convert', path, 'weights.msinet.h5', from_layout='torch')} (OIHW) or "
            f"mlx (OHWI)"
        )
    if layout not in LAYOUTS.values():
        raise CheckpointError(
            f"{path}: invalid kernel_layout {layout!r}; use {' or '.join(LAYOUTS.values())}. "
            f"Write the file again with msinet-run convert."
        )
    graph, metadata = read_origin(texts, path)
    tensors = read_tensors(path, layout)
    keys = names.from_torch_names(tensors, graph, path)
    weights = {name: tensors[key] for name, key in keys.items()}
    return Archive(path, weights, graph=graph, metadata=metadata)


def open_as_stored(path: Path) -> Archive:
    """Open a file of unknown layout for inspection: names and axes are those in the file.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged.
    """
    return Archive(path, read_tensors(path, CANONICAL_KERNEL_LAYOUT))


def fitting_layouts(path: Path, graph: Graph) -> list[str]:
    """List the layouts, by name, in which a file of unknown layout fits a network.

    Args:
        path: The file.
        graph: The network.

    Raises:
        CheckpointError: It is damaged.
    """
    if "kernel_layout" in read_texts(path):
        return []
    return [
        name for name, layout in LAYOUTS.items() if not open_archive(path, layout).mismatches(graph)
    ]


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


def read_texts(path: Path) -> Mapping[str, str]:
    """Read the ``__metadata__``.

    Args:
        path: The file.

    Raises:
        CheckpointError: It has too many tensors or texts.
        SafetensorError: It is damaged: truncated, not JSON, tensors that overlap or leave gaps.
    """
    return _open(path).metadata() or {}


def read_tensors(path: Path, layout: str) -> dict[str, StoredTensor]:
    """Describe every tensor in canonical terms, by its name in the file.

    Args:
        path: The file.
        layout: The order of a kernel's axes in the file.

    Raises:
        CheckpointError: It has too many tensors or texts.
        SafetensorError: It is damaged.
    """
    file = _open(path)
    texts, tensors = file.metadata() or {}, {}
    for key in file.keys():  # noqa: SIM118  -- it is no dictionary
        entry = file.get_slice(key)
        dtype = entry.get_dtype()
        tensors[key] = stored_tensor(
            key,
            tuple(entry.get_shape()),
            "float32" if dtype == "F32" else dtype,
            partial(file.get_tensor, key),
            layout=layout,
            checksum=texts.get(f"sha256:{key}"),
        )
    return tensors


def _open(path: Path) -> Any:
    """Open a file with the library, which checks its header, unless that would take much memory."""
    from safetensors import safe_open

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(length, _MAX_HEADER))
    if length > _MAX_HEADER or text.count(b":") > _MAX_COLONS:
        raise CheckpointError(
            f"{path} is refused: its header has {length:,} bytes, which is not possible or holds "
            f"too many tensors or texts. Copy or download it again, or use another file."
        )
    return safe_open(path, "numpy")
