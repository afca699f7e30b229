"""Tensors and texts in HDF5 files, our own and Keras'; files are written with the HDF5 library."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint.archive import StoredTensor
from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.checkpoint.wire.hdf5_messages import Dataset
from msinet_core.errors import CheckpointError, printable
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT

if TYPE_CHECKING:
    import h5py

CHECKSUM = "sha256"
"""The attribute of a dataset for its checksum."""

_MAX_ATTRIBUTE = 60_000
"""Bytes; HDF5's oldest structures take attributes of less than 64 KiB."""

_LIBVER = ("earliest", "v108")
"""HDF5's oldest structures, like Keras: every reader knows them, and none is a fractal heap, where
damage crashes the HDF5 library."""


def dataset_tensor(dataset: Dataset, path: Path, checksum: str | None) -> StoredTensor:
    """Describe a dataset, which must be stored in one piece.

    Args:
        dataset: Any dataset.
        path: The file, for messages.
        checksum: Stored with the dataset; None if there is none.

    Raises:
        CheckpointError: It is stored in many pieces or in other files, or its size is not that of
            its shape.
    """
    stored = dataset.content
    size = math.prod(dataset.shape) * dataset.datatype.size
    if stored is None or len(stored) != size:
        found = "is not stored in one piece" if stored is None else f"stores {len(stored):,} bytes"
        raise CheckpointError(
            f"{path}: '{printable(dataset.name)}' declares shape {dataset.shape}, {size:,} bytes, "
            f"and {found}. It is damaged, compressed or made to exhaust memory; use another "
            f"file."
        )
    read = partial(_read, stored, dataset.shape)
    return stored_tensor(
        dataset.name, dataset.shape, dataset.datatype.name, read, checksum=checksum
    )


def write_tensors(file: h5py.File, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write float32 tensors in one piece each, with their checksums.

    Args:
        file: Open for writing.
        tensors: By name in the file, from its root.
    """
    named = {f"/{name}": tensor for name, tensor in tensors.items()}
    for name, (tensor, checksum) in prepare_tensors(named, CANONICAL_KERNEL_LAYOUT).items():
        # For a name that is a str and not ASCII, h5py makes groups in HDF5's newer form.
        dataset = file.create_dataset(name.encode(), data=tensor)
        write_text(dataset, CHECKSUM, checksum)


def file_image(fill: Callable[[h5py.File], None]) -> memoryview:
    """Make an HDF5 file in memory.

    The library never writes to the disk: after a failed write (a full disk) it leaves its own
    structures broken and crashes the process later.

    Args:
        fill: Puts the content into the open file.
    """
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", libver=_LIBVER) as file:
        fill(file)
    return image.getbuffer()


def write_text(item: h5py.HLObject, name: str, text: str) -> None:
    """Attach a text of fixed length; a long one is split into ``name``, ``name.1``, ``name.2`` ...

    Texts of variable length would be in HDF5's global heap, which has no checksum: one flipped bit
    there makes the library loop forever.

    Args:
        item: The file, group or dataset.
        name: The attribute's name.
        text: Its value, not empty.
    """
    import h5py

    data = text.encode()
    for number, begin in enumerate(range(0, len(data), _MAX_ATTRIBUTE)):
        piece = data[begin : begin + _MAX_ATTRIBUTE]
        dtype = h5py.string_dtype("utf-8", len(piece))
        item.attrs.create(f"{name}.{number}" if number else name, piece, dtype=dtype)


def write_text_dataset(file: h5py.File, name: str, text: str) -> h5py.Dataset:
    """Write a dataset that is a text of any length.

    Args:
        file: Open for writing.
        name: The dataset's name.
        text: Its value, not empty.
    """
    import h5py

    data = text.encode()
    return file.create_dataset(name, data=np.array(data, h5py.string_dtype("utf-8", len(data))))


def _read(content: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.frombuffer(content, "<f4").astype(np.float32).reshape(shape)
