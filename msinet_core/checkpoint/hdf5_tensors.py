"""Tensors in HDF5 files: our own and Keras'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.checkpoint.wire.hdf5_items import Dataset
from msinet_core.checkpoint.wire.hdf5_writer import write_text
from msinet_core.errors import CheckpointError, printable
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

    from msinet_core.checkpoint.archive import StoredTensor

CHECKSUM = "sha256"
"""The attribute of a dataset for its checksum."""


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
        found = "none of them in one piece" if stored is None else f"{len(stored):,} bytes"
        raise CheckpointError(
            f"{path}: '{printable(dataset.name)}' declares shape {dataset.shape}, {size:,} bytes, "
            f"and stores {found}. It is damaged, compressed or made to exhaust memory; use another "
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


def _read(content: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.frombuffer(content, "<f4").astype(np.float32).reshape(shape)
