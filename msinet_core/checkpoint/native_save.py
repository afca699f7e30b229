"""Writing the native format; docs/reference/checkpoint-format.md defines it.

HDF5's library never meets the disk: after a failed write (a full disk) it leaves its own structures
broken and crashes the process later. It lays the file out in memory, with room for the values, and
plain writes bring structure and values to the disk.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import h5py
import numpy as np

import msinet_core
from msinet_core.checkpoint import hdf5
from msinet_core.checkpoint.archive import MOST_LISTED, Checkpoint
from msinet_core.checkpoint.native import (
    DTYPE,
    FORMAT,
    FORMAT_VERSION,
    tensor_checksum,
    text_checksum,
)
from msinet_core.checkpoint.paged import PAGE, PagedMemory
from msinet_core.checkpoint.threads import each
from msinet_core.errors import CheckpointError, bullet_list
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    layout = _lay_out(checkpoint)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        layout.write(stream)


@dataclass
class FileLayout:
    """An HDF5 file in memory without its values, and the values with their places in it."""

    structure: PagedMemory = field(default_factory=PagedMemory)
    values: list[tuple[int, memoryview]] = field(default_factory=list)
    _tensors: list[tuple[h5py.Dataset, NDArray[np.float32]]] = field(default_factory=list)

    def open(self, libver: str | tuple[str, str] = _LIBVER) -> h5py.File:
        """Open the file to lay it out; it is to be closed before `write`.

        Args:
            libver: The version of HDF5 whose structures it has.
        """
        return h5py.File(self.structure, "w", libver=libver)

    def add(self, group: h5py.Group, name: str, array: NDArray[Any]) -> h5py.Dataset:
        """Make room for an array in one piece and remember to write it there."""
        room = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        room.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        room.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        links.set_char_encoding(h5py.h5t.CSET_UTF8)
        # Group.create_dataset takes no creation properties for a scalar.
        identifier = h5py.h5d.create(
            group.id,
            name.encode(),
            h5py.h5t.py_create(array.dtype, logical=True),
            h5py.h5s.create_simple(array.shape),
            dcpl=room,
            lcpl=links,
        )
        self.values.append((identifier.get_offset(), array.data))
        return h5py.Dataset(identifier)

    def add_tensor(self, group: h5py.Group, name: str, value: NDArray[np.float32]) -> None:
        """Add a float32 tensor, which `write_checksums` gives its checksum."""
        tensor = np.ascontiguousarray(value, DTYPE)
        self._tensors.append((self.add(group, name, tensor), tensor))

    def write_checksums(self) -> None:
        """Attach to every tensor that was added its checksum; the file is still open."""
        names = [dataset.name for dataset, _ in self._tensors]
        tensors = [tensor for _, tensor in self._tensors]
        checksums = each(lambda item: tensor_checksum(*item), zip(names, tensors, strict=True))
        for (dataset, _), checksum in zip(self._tensors, checksums, strict=True):
            hdf5.write_text(dataset, "sha256", checksum)

    def copy_to(self, stream: IO[bytes]) -> None:
        """Write the file to where nothing can be written out of order, such as an archive."""
        with tempfile.TemporaryFile() as whole:
            self.write(whole)
            whole.seek(0)
            shutil.copyfileobj(whole, stream)

    def write(self, stream: IO[bytes]) -> None:
        """Write the file; values last, since pages of the structure reach into their room."""
        for page, content in sorted(self.structure.pages.items()):
            stream.seek(page * PAGE)
            stream.write(content)
        for offset, values in self.values:
            stream.seek(offset)
            stream.write(values)
        stream.truncate(self.structure.size)


def _lay_out(checkpoint: Checkpoint) -> FileLayout:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    texts = {
        "graph": checkpoint.graph.to_json(),
        "metadata": _to_json(
            {"created": now, "msinet": msinet_core.__version__, **checkpoint.metadata}
        ),
    }
    groups = {"weights": checkpoint.state.weights}
    memory = checkpoint.state.optimizer
    if memory is not None:
        groups |= {"optimizer/m": memory.m, "optimizer/v": memory.v}
    layout = FileLayout()
    with layout.open() as file:
        hdf5.write_text(file, "format", FORMAT)
        file.attrs["format_version"] = FORMAT_VERSION
        hdf5.write_text(file, "kernel_layout", CANONICAL_KERNEL_LAYOUT)
        hdf5.write_text(file, "graph_fingerprint", checkpoint.graph.fingerprint)
        for name, text in texts.items():
            hdf5.write_text(file, name, text)
            hdf5.write_text(file, f"{name}_sha256", text_checksum(f"/{name}", text))
        for name, tensors in groups.items():
            group = file.create_group(name)
            for parameter, tensor in tensors.items():
                layout.add_tensor(group, parameter, tensor)
        layout.write_checksums()
        if memory is not None:
            file["optimizer"].attrs["step"] = np.int64(memory.step)
        if checkpoint.training is not None:
            _add_text(layout, file, "training", _to_json(checkpoint.training))
    return layout


def _add_text(layout: FileLayout, file: h5py.File, name: str, text: str) -> None:
    data = text.encode()
    dataset = layout.add(file, name, np.array(data, h5py.string_dtype("utf-8", len(data))))
    hdf5.write_text(dataset, "sha256", text_checksum(dataset.name, text))


def _to_json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint cannot be saved: its training data or metadata are not JSON ({error})."
        ) from error


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
    wrong += _unusable_names(parameter.name for parameter in checkpoint.graph.parameters)
    if wrong:
        raise CheckpointError(f"The checkpoint cannot be saved:\n{bullet_list(wrong, MOST_LISTED)}")


def _unusable_names(names: Iterable[str]) -> list[str]:
    """List the names that HDF5 would change, and those that are groups and tensors at once."""
    wrong, tensors = [], set(names)
    for name in sorted(tensors):
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in name:
            wrong.append(f"'{name}': a name has no empty part, no '.' or '..' and no NUL")
        if any("/".join(parts[:count]) in tensors for count in range(1, len(parts))):
            wrong.append(f"'{name}': its beginning is a tensor's name too")
    return wrong
