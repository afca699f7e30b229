"""Keras' VGG16 weights without its top, for the encoder to start from."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from msinet_core.checkpoint import hdf5, heap
from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE_NAME}"

_LARGEST = 2**28
"""Bytes in a tensor; a compressed file may claim any size, and VGG16's largest has 2**23.2."""

_LAYER = re.compile(r"block([1-5])_conv([1-3])$")


def folders() -> tuple[Path, ...]:
    """Give the folders in which the file is looked for: our cache, then Keras' own."""
    from platformdirs import user_cache_path

    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return user_cache_path("msinet") / "weights", keras / "models"


def find() -> Path | None:
    """Return the file where there is one on this machine."""
    return next((path for folder in folders() if (path := folder / FILE_NAME).is_file()), None)


def matches(path: Path) -> bool:
    """Tell whether a file is HDF5 with VGG16's layers in it.

    Args:
        path: Any path.
    """
    if not hdf5.is_hdf5(path):
        return False
    heap.check_heaps(path)
    # Compared by name, which follows no link.
    with hdf5.open_file(path, lambda file: "block1_conv1" in list(file)) as found:
        return found


def open_archive(path: Path) -> AbstractContextManager[Archive]:
    """Open VGG16 weights under the names of the encoder's layers.

    Kernels stay as they are. They were trained on BGR images and the network takes RGB, as did the
    published training, which put BGR kernels under RGB images with the means in BGR order too.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, or refused.
    """
    return hdf5.open_file(path, partial(_parse_file, path))


def _parse_file(path: Path, file: h5py.File) -> Archive:
    weights = {}
    for key in file:
        layer = _LAYER.match(key)
        if layer is None:
            continue
        name = f"conv{layer[1]}/conv{layer[1]}_{layer[2]}"
        for dataset in hdf5.datasets(hdf5.hard_link(file, key, path), path).values():
            role = "kernel" if len(dataset.shape) == 4 else "bias"
            weights[f"{name}/{role}"] = StoredTensor(
                shape=dataset.shape,
                dtype=str(dataset.dtype),
                has_checksum=False,
                read=partial(_read_tensor, dataset),
            )
    return Archive(path, weights)


def _read_tensor(dataset: h5py.Dataset) -> NDArray[np.float32]:
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize != 4:
        raise CheckpointError(f"it is {dataset.dtype}, and weights are float32")
    if dataset.nbytes > _LARGEST:
        raise CheckpointError(f"its shape {dataset.shape} is none of VGG16's")
    with hdf5.damage("cannot be read"):
        return np.asarray(dataset[()], np.float32)
