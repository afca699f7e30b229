"""Keras' VGG16 weights without its top, for the encoder to start from."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import h5py

from msinet_core.checkpoint.archive import Archive
from msinet_core.checkpoint.hdf5_tensors import dataset_tensor
from msinet_core.checkpoint.wire import hdf5, hdf5_heap
from msinet_core.errors import CheckpointError

FILE_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE_NAME}"

_MAX_BYTES = 2**28
"""Of a tensor: a compressed file may declare any size, and VGG16's largest tensor has 2**23.2."""

_LAYER = re.compile(r"block([1-5])_conv([1-3])$")


def folders() -> tuple[Path, ...]:
    """Return the folders that may hold the file: our cache, then Keras' own."""
    from platformdirs import user_cache_path

    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return user_cache_path("msinet") / "weights", keras / "models"


def find() -> Path | None:
    """Return the file, or None if it is not on this machine."""
    return next((path for folder in folders() if (path := folder / FILE_NAME).is_file()), None)


def matches(path: Path) -> bool:
    """Return whether a file is HDF5 with VGG16's layers in it.

    Args:
        path: Any path.
    """
    if not hdf5.is_hdf5(path):
        return False
    hdf5_heap.check_heaps(path)
    # Compared by name, which follows no link.
    return hdf5.looks_like(path, lambda file: "block1_conv1" in list(file))


def open_archive(path: Path) -> AbstractContextManager[Archive]:
    """Open VGG16 weights under the names of the encoder's layers.

    Kernels are unchanged. They were trained on BGR images and the network takes RGB; the published
    training, too, applied BGR kernels to RGB images, with the means in BGR order.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    return hdf5.open_file(path, partial(_parse, path))


def _parse(path: Path, file: h5py.File) -> Archive:
    weights = {}
    for key in file:
        layer = _LAYER.match(key)
        if layer is None:
            continue
        name = f"conv{layer[1]}/conv{layer[1]}_{layer[2]}"
        for dataset in hdf5.datasets(hdf5.hard_link(file, key, path), path).values():
            if dataset.nbytes > _MAX_BYTES:
                raise CheckpointError(
                    f"{path} is refused: '{dataset.name}' has shape {dataset.shape}, and VGG16 has "
                    f"no such tensor. Use a file from a source you trust."
                )
            role = "kernel" if len(dataset.shape) == 4 else "bias"
            weights[f"{name}/{role}"] = dataset_tensor(dataset)
    return Archive(path, weights)
