"""Keras' VGG16 weights without its top, for the encoder to start from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msinet_core.checkpoint.archive import Archive
from msinet_core.checkpoint.hdf5_tensors import dataset_tensor
from msinet_core.checkpoint.wire import hdf5
from msinet_core.system.files import cache_folder

FILE_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE_NAME}"

_LAYER = re.compile(r"block([1-5])_conv([1-3])/")


def folders() -> tuple[Path, ...]:
    """Return the folders that may hold the file: our cache, then Keras' own."""
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return cache_folder() / "weights", keras / "models"


def find() -> Path | None:
    """Return the file, or None if it is not on this machine."""
    return next((path for folder in folders() if (path := folder / FILE_NAME).is_file()), None)


def matches(path: Path) -> bool:
    """Return whether a file is HDF5 with VGG16's layers in it.

    Args:
        path: Any path.
    """
    return "block1_conv1" in hdf5.read_root(path).members


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open VGG16 weights under the names of the encoder's layers.

    Kernels are unchanged. They were trained on BGR images and the network takes RGB; the published
    training, too, applied BGR kernels to RGB images, with the means in BGR order.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    weights = {}
    for name, dataset, _ in hdf5.read_file(path).datasets():
        if layer := _LAYER.match(name):
            role = "kernel" if len(dataset.shape) == 4 else "bias"
            node = f"conv{layer[1]}/conv{layer[1]}_{layer[2]}"
            weights[f"{node}/{role}"] = dataset_tensor(dataset, path, None)
    yield Archive(path, weights)
