"""Tensors in HDF5 files: our own and Keras'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from msinet_core.checkpoint.tensors import stored_tensor
from msinet_core.checkpoint.threads import each
from msinet_core.checkpoint.wire import hdf5
from msinet_core.checkpoint.wire.checksums import tensor_checksum
from msinet_core.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.checkpoint.archive import StoredTensor


def contiguous_tensor(dataset: h5py.Dataset, path: Path, checksum: str | None) -> StoredTensor:
    """Describe a dataset that is stored in one piece.

    Args:
        dataset: Any dataset.
        path: The file, for messages.
        checksum: Stored with the dataset.

    Raises:
        CheckpointError: It is chunked, or its size is not that of its shape.
    """
    size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    if dataset.chunks is not None or stored != size:
        raise CheckpointError(
            f"{path}: '{dataset.name}' declares shape {dataset.shape}, {size} bytes, and stores "
            f"{stored} bytes. It is damaged, compressed or made to exhaust memory; use another "
            f"file."
        )
    return dataset_tensor(dataset, checksum)


def dataset_tensor(dataset: h5py.Dataset, checksum: str | None = None) -> StoredTensor:
    """Describe a dataset.

    Args:
        dataset: Any dataset.
        checksum: Stored with the dataset.
    """
    read = partial(_read, dataset)
    return stored_tensor(dataset.name, dataset.shape, str(dataset.dtype), read, checksum=checksum)


def write_tensors(file: h5py.File, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write float32 tensors in one piece each, with their checksums.

    Args:
        file: Open for writing.
        tensors: By name in the file, from its root.
    """
    checksums = each(lambda item: tensor_checksum(f"/{item[0]}", item[1]), tensors.items())
    for (name, tensor), checksum in zip(tensors.items(), checksums, strict=True):
        dataset = file.create_dataset(name, data=np.asarray(tensor, "<f4"))
        hdf5.write_text(dataset, "sha256", checksum)


def _read(dataset: h5py.Dataset) -> NDArray[np.float32]:
    with hdf5.damage("cannot be read"):
        tensor = np.empty(dataset.shape, np.float32)
        if tensor.size:
            dataset.read_direct(tensor)
    return tensor
