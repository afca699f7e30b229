"""Safetensors files: PyTorch's kernels (OIHW) and MLX's (OHWI), told apart by what the file says.

A file is a length in eight bytes, a JSON header, and the values of one tensor after another.

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

from msinet_core.checkpoint import names, origin
from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.threads import each
from msinet_core.errors import CheckpointError, os_reason
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT, permutation, transpose
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph

SUFFIX = ".safetensors"
LAYOUTS: Mapping[str, str] = {"torch": "OIHW", "mlx": "OHWI"}
"""The order of a kernel's axes by the format's name."""

UNTOLD = "safetensors"
"""The name of the format of files that do not tell their kernels' layout."""

_LARGEST_HEADER = 2**24
_ALIGNMENT = 8


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies.

    Args:
        name: In the file.
        dtype: As the header calls it, for example ``F32``.
        shape: In the file's layout.
        offset: The first byte in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Header:
    """What stands before the values.

    Args:
        texts: The ``__metadata__``.
        entries: By name in the file.
    """

    texts: Mapping[str, str]
    entries: Mapping[str, Entry]


def matches(path: Path, name: str | None = None) -> bool:
    """Tell whether a file is, or was meant to be, in this format.

    Args:
        path: Any path.
        name: ``"torch"`` or ``"mlx"``: it must say that it has that layout; None: any file.
    """
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    return name is None or read_header(path).texts.get("kernel_layout") == LAYOUTS[name]


@contextmanager
def open_archive(path: Path, kernel_layout: str | None = None) -> Iterator[Archive]:
    """Open a safetensors file: read and check its header, no tensor.

    Args:
        path: The file.
        kernel_layout: The order of its kernels' axes where the file does not tell.

    Raises:
        CheckpointError: It is damaged, or nobody says which layout it has.
    """
    header = read_header(path)
    said = header.texts.get("kernel_layout")
    if said is not None and kernel_layout is not None and said != kernel_layout:
        raise CheckpointError(
            f"{path} says that its kernels are {said}, and {kernel_layout} was asked for. "
            f"Leave out --from-layout."
        )
    layout = said or kernel_layout
    if layout is None:
        raise CheckpointError(
            f"{path} does not say how its kernels' axes are ordered: its __metadata__ has no "
            f"'kernel_layout'. Shapes do not tell, so nothing is guessed. Run: msinet-run convert "
            f"{path} weights.msinet.h5 --from-layout torch (OIHW) or mlx (OHWI)"
        )
    if layout not in LAYOUTS.values():
        raise CheckpointError(
            f"{path} says that its kernels are {layout!r}; known are "
            f"{' and '.join(LAYOUTS.values())}. Write it again with msinet-run convert."
        )
    graph, metadata = origin.read_origin(header.texts, path)
    places = names.unique(
        ((names.from_torch_name(key, graph), key) for key in header.entries), path
    )
    weights = {
        name: stored(path, header.entries[key], layout, _stored_checksum(header, key))
        for name, key in places.items()
    }
    yield Archive(path, weights, graph=graph, metadata=metadata)


@contextmanager
def open_as_stored(path: Path) -> Iterator[Archive]:
    """Open a file that does not tell its layout to look at it: names and axes as they are in it.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged.
    """
    header = read_header(path)
    yield Archive(
        path,
        {
            key: stored(path, entry, CANONICAL_KERNEL_LAYOUT, _stored_checksum(header, key))
            for key, entry in header.entries.items()
        },
    )


def fitting_layouts(path: Path, graph: Graph) -> list[str]:
    """List the layouts, by name, in which a file that does not tell its own fits a network.

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
        checkpoint: Whose weights are written.
        name: ``"torch"`` or ``"mlx"``.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk refuses; the old file is whole.
    """
    layout = LAYOUTS[name]
    header: dict[str, Any] = {}
    texts = {"format": "pt" if name == "torch" else name}
    texts |= origin.origin_texts(checkpoint, layout)
    position = 0
    keys = names.torch_names(checkpoint.graph)
    weights = checkpoint.state.weights
    written = written_tensors({key: weights[name] for name, key in keys.items()}, layout)
    for key, (tensor, checksum) in written.items():
        texts[f"sha256:{key}"] = checksum
        end = position + tensor.nbytes
        header[key] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps({"__metadata__": texts, **header}).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for tensor, _ in written.values():
            stream.write(tensor.data)


def written_tensors(
    tensors: Mapping[str, NDArray[np.float32]], layout: str
) -> dict[str, tuple[NDArray[np.float32], str]]:
    """Give canonical weights with their axes as a file has them, and their checksums.

    Args:
        tensors: Kernels, HWIO, and anything else, which stays; by name in the file.
        layout: For example ``"OIHW"``.
    """

    def prepare(item: tuple[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], str]:
        key, tensor = item
        if tensor.ndim == 4:
            tensor = transpose(tensor, CANONICAL_KERNEL_LAYOUT, layout)
        tensor = np.ascontiguousarray(tensor, "<f4")
        return tensor, origin.checksum(key, tensor)

    return dict(zip(tensors, each(prepare, tensors.items()), strict=True))


def stored(path: Path, entry: Entry, layout: str, checksum: str | None = None) -> StoredTensor:
    """Describe one tensor as canonical.

    Args:
        path: The file.
        entry: Where it lies.
        layout: The order of a kernel's axes in the file.
        checksum: The one stored with it.
    """
    shape = entry.shape
    if len(shape) == 4:
        shape = tuple(shape[axis] for axis in permutation(layout, CANONICAL_KERNEL_LAYOUT))
    return StoredTensor(
        shape=shape,
        dtype="float32" if entry.dtype == "F32" else entry.dtype,
        has_checksum=checksum is not None,
        read=partial(_read_tensor, path, entry, layout, checksum),
    )


def read_header(path: Path) -> Header:
    """Read and check what stands before the values.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged: truncated, no JSON, tensors that overlap or leave holes.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LARGEST_HEADER):
            raise _damaged(path, f"it says that its header has {length} bytes")
        text = stream.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
        texts = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in texts.values()):
            raise TypeError("its __metadata__ are no texts")
        entries, end = _parse_entries(header, 8 + length)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, f"its header cannot be used: {error}") from error
    if end != size:
        raise _damaged(path, f"its tensors end at byte {end:,}, and the file at {size:,}")
    return Header(texts, entries)


def _parse_entries(header: Mapping[str, Any], begin: int) -> tuple[dict[str, Entry], int]:
    """Give each tensor's place, and where the last one ends; they follow without a gap."""
    entries = {}
    position = 0
    for name, value in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = value["data_offsets"]
        shape = tuple(value["shape"])
        whole = all(type(number) is int and number >= 0 for number in (start, end, *shape))
        if not whole or start != position or end < start:
            raise ValueError(f"'{name}' lies at {start} to {end}, and {position} is free")
        if value["dtype"] == "F32" and math.prod(shape) * 4 != end - start:
            raise ValueError(f"'{name}' has {end - start} bytes for shape {shape}")
        entries[name] = Entry(name, str(value["dtype"]), shape, begin + start)
        position = end
    return entries, begin + position


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands in it twice")
    return value


def _stored_checksum(header: Header, key: str) -> str | None:
    return header.texts.get(f"sha256:{key}")


def _read_tensor(
    path: Path, entry: Entry, layout: str, checksum: str | None
) -> NDArray[np.float32]:
    if entry.dtype != "F32":
        raise CheckpointError(f"it is {entry.dtype}, and weights are F32")
    try:
        tensor = np.fromfile(path, "<f4", math.prod(entry.shape), offset=entry.offset)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({os_reason(error)})") from error
    if tensor.size != math.prod(entry.shape):
        raise CheckpointError(f"{path.name} ends before it does")
    tensor = tensor.astype(np.float32, copy=False).reshape(entry.shape)
    origin.verify(entry.name, tensor, checksum)
    return transpose(tensor, layout, CANONICAL_KERNEL_LAYOUT) if tensor.ndim == 4 else tensor


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is no safetensors file, or damaged: {reason}. Copy or download it again."
    )
