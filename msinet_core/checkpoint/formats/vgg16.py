"""VGG16 from Keras, torchvision and the TensorFlow 1 checkpoint of the published training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.checkpoint.formats import safetensors, tf1, torch
from msinet_core.checkpoint.guard import reading
from msinet_core.checkpoint.hdf5_tensors import dataset_tensor
from msinet_core.checkpoint.wire import hdf5
from msinet_core.checkpoint.wire.mapped import is_named
from msinet_core.errors import CheckpointError

_KERAS_LAYER = re.compile(r"block([1-5])_conv([1-3])/")
_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""The convolutions in torchvision's ``features``; ReLUs and pools are between them."""

_LAYERS = tuple(
    f"conv{block}/conv{block}_{layer}"
    for block, count in enumerate((2, 2, 3, 3, 3), 1)
    for layer in range(1, count + 1)
)
_FEATURES: Mapping[str, str] = {
    f"features.{index}.{theirs}": f"{layer}/{ours}"
    for index, layer in zip(_INDICES, _LAYERS, strict=True)
    for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
}
_TORCH_LAYOUT = safetensors.LAYOUTS["torch"]
_FIRST_KERNEL = "conv1/conv1_1/kernel"
_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's channels R, G, B in 0..1, by which torchvision's images are divided."""

_HYBRID = re.compile(r"(?:.*/)?(conv[1-5]/conv[1-5]_[1-3])/(weights|biases)$")
_ROLES = {"weights": "kernel", "biases": "bias"}


def matches_keras(path: Path) -> bool:
    """Return whether a file is HDF5 with VGG16's layers in it.

    Args:
        path: Any path.
    """
    return "block1_conv1" in hdf5.read_root(path).members


def open_keras(path: Path) -> Archive:
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
        if layer := _KERAS_LAYER.match(name):
            role = "kernel" if len(dataset.shape) == 4 else "bias"
            node = f"conv{layer[1]}/conv{layer[1]}_{layer[2]}"
            weights[f"{node}/{role}"] = dataset_tensor(dataset, path, None)
    return Archive(path, weights)


def matches_torch_file(path: Path) -> bool:
    """Return whether a PyTorch file has torchvision's VGG16 in it, by its names.

    Args:
        path: Any path.
    """
    if not is_named(path, *torch.SUFFIXES):
        return False
    try:
        with reading(path):
            tensors, _ = torch.read_state_dict(path)
    except CheckpointError:
        return False  # the PyTorch format reports what is wrong
    return _FEATURES.keys() <= tensors.keys()


def matches_safetensors(path: Path) -> bool:
    """Return whether a safetensors file has torchvision's VGG16 in it, by its names.

    Args:
        path: Any path.
    """
    if not safetensors.matches(path):
        return False
    return _FEATURES.keys() <= safetensors.read_tensors(path, _TORCH_LAYOUT).keys()


def matches_hybrid(path: Path) -> bool:
    """Return whether a TensorFlow checkpoint has VGG16 under the names of the published training.

    Args:
        path: A prefix, an index or a data file.
    """
    if not tf1.matches(path):
        return False
    try:
        return any(_HYBRID.match(name) for name in tf1.open_archive(path).weights)
    except CheckpointError:
        return False  # the TensorFlow format reports what is wrong


def open_torch_file(path: Path) -> Archive:
    """Open torchvision's VGG16 weights under the names of the encoder's layers.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    tensors, _ = torch.read_state_dict(path)
    return _torchvision(path, tensors)


def open_safetensors(path: Path) -> Archive:
    """Open torchvision's VGG16 weights under the names of the encoder's layers.

    Args:
        path: The file; its names are torchvision's, whose kernels are OIHW.

    Raises:
        CheckpointError: It is damaged.
    """
    return _torchvision(path, safetensors.read_tensors(path, _TORCH_LAYOUT))


def open_hybrid(path: Path) -> Archive:
    """Open VGG16 of the published training under the names of the encoder's layers.

    Args:
        path: A prefix, an index or a data file.

    Raises:
        CheckpointError: It is damaged.
    """
    archive = tf1.open_archive(path)
    found = {name: match for name in archive.weights if (match := _HYBRID.match(name))}
    weights = {
        f"{match[1]}/{_ROLES[match[2]]}": archive.weights[name] for name, match in found.items()
    }
    unused = (*archive.unused, *(name for name in archive.weights if name not in found))
    return replace(archive, weights=weights, optimizer=None, unused=unused)


def _torchvision(path: Path, tensors: Mapping[str, StoredTensor]) -> Archive:
    weights = {name: tensors[key] for key, name in _FEATURES.items() if key in tensors}
    if _FIRST_KERNEL in weights:
        first = weights[_FIRST_KERNEL]
        weights[_FIRST_KERNEL] = replace(first, read=lambda: _for_pixels(first.read()))
    return Archive(path, weights, unused=tuple(key for key in tensors if key not in _FEATURES))


def _for_pixels(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the first kernel to images in 0..255; torchvision's are in 0..1, over the deviation.

    The means differ by less than a tenth of a deviation, which training absorbs.
    """
    deviation = 255 * np.array(_STANDARD_DEVIATION, np.float32)
    return kernel / deviation[:, np.newaxis]
