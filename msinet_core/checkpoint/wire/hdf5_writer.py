"""HDF5 files, written from memory with the HDF5 library."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

_MAX_ATTRIBUTE = 60_000
"""Bytes; HDF5's oldest structures take attributes of less than 64 KiB."""

_LIBVER = ("earliest", "v108")
"""HDF5's oldest structures, like Keras: every reader knows them, and none is a fractal heap, where
damage crashes the HDF5 library."""


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
