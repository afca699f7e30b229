"""Keras weights: ``*.weights.h5`` in the layouts of Keras 3 and Keras 2, and full ``*.h5`` models.

Keras 3 numbers the layers of each class and keeps a layer's name as an attribute; Keras 2 names
groups after layers. Both store kernels HWIO.

Source: keras/src/saving/saving_lib.py and keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.hdf5_tensors import contiguous_tensor, write_tensors
from msinet_core.checkpoint.origin import origin_json, parse_origin
from msinet_core.checkpoint.wire import hdf5, hdf5_heap
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import Graph
from msinet_core.network.ops import Conv2D
from msinet_core.system.files import write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.ops import Coordinates

_ORIGIN = "msinet"
_MODEL = "model_config"
_LIBVER = ("earliest", "v108")
"""Keras writes HDF5's oldest structures, and so every reader of its files knows them."""

_KERAS_3_GROUPS = {"layers", "_layer_checkpoint_dependencies", "_functional"}
_KERAS_3_VARIABLE = re.compile(r"(.*?)/?vars/(\d+)$")
_ROLES = ("kernel", "bias")
"""A convolution's variables, in the order in which Keras 3 numbers them."""

_KERAS_2_WEIGHT = re.compile(r"(?:model_weights/)?(.+)/(kernel|bias)(?::0)?$")
_OPTIMIZERS = ("optimizer", "optimizer_weights")

Weights = Iterator[tuple[str, h5py.Dataset]]


def matches_keras_3(path: Path) -> bool:
    """Return whether a file is HDF5 in the layout of Keras 3.

    Args:
        path: Any path.
    """
    return hdf5.looks_like(path, lambda file: not _KERAS_3_GROUPS.isdisjoint(list(file)))


def matches_keras_2(path: Path) -> bool:
    """Return whether a file is HDF5 in the layout of Keras 2, or a full model of Keras 2.

    Args:
        path: Any path.
    """
    return hdf5.looks_like(
        path, lambda file: "model_weights" in list(file) or "layer_names" in file.attrs
    )


def open_keras_3(path: Path, content: bytes | None = None) -> AbstractContextManager[Archive]:
    """Open weights of Keras 3.

    Args:
        path: The file.
        content: Its bytes, if it is inside an archive.

    Raises:
        CheckpointError: It is damaged, refused, or does not name its layers.
    """
    hdf5_heap.check_heaps(path, content)
    return hdf5.open_file(path, partial(_parse, path, _keras_3_weights), content)


def open_keras_2(path: Path) -> AbstractContextManager[Archive]:
    """Open weights or a full model of Keras 2.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    return hdf5.open_file(path, partial(_parse, path, _keras_2_weights))


def write_keras_3(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights in the layout of Keras 3.

    Args:
        path: The file to make or replace, ``*.weights.h5``.
        checkpoint: Its weights are written.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    write_bytes(path, keras_3_image(checkpoint, keras_order(checkpoint.graph)))


def write_keras_2(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights in the layout of Keras 2.

    Args:
        path: The file to make or replace, ``*.h5``.
        checkpoint: Its weights are written.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    flat = names.flat_names(keras_order(checkpoint.graph), "_")

    def fill(file: h5py.File) -> None:
        hdf5.write_text(file, _ORIGIN, origin_json(checkpoint))
        hdf5.write_text(file, "keras_version", "2.15.0")
        hdf5.write_text(file, "backend", "tensorflow")
        file.attrs["layer_names"] = np.array([name.encode() for name in flat.values()])
        tensors: dict[str, NDArray[np.float32]] = {}
        for node, name in flat.items():
            weights = {f"{name}/{role}:0": value for role, value in _weights(checkpoint, node)}
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([weight.encode() for weight in weights])
            tensors |= {f"{name}/{weight}": value for weight, value in weights.items()}
        write_tensors(file, tensors)

    write_bytes(path, hdf5.file_image(fill, _LIBVER))


def keras_3_image(checkpoint: Checkpoint, order: Iterable[str]) -> memoryview:
    """Return a file in the layout of Keras 3.

    Args:
        checkpoint: Its weights are written.
        order: The convolutions' nodes as Keras numbers them.

    Raises:
        CheckpointError: The network's names do not fit the format.
    """
    flat = names.flat_names(order, "_")

    def fill(file: h5py.File) -> None:
        hdf5.write_text(file, _ORIGIN, origin_json(checkpoint))
        tensors = {}
        for number, (node, name) in enumerate(flat.items()):
            group = f"layers/conv2d{f'_{number}' if number else ''}/vars"
            hdf5.write_text(file.create_group(group), "name", name)
            for index, (_, value) in enumerate(_weights(checkpoint, node)):
                tensors[f"{group}/{index}"] = value
        write_tensors(file, tensors)

    return hdf5.file_image(fill, _LIBVER)


def stored_resize(config: str) -> frozenset[Coordinates]:
    """Return the coordinates of the bilinear resizes in Keras' own description of a model.

    Args:
        config: The model's configuration as JSON; layers that are not Keras' own are ignored.

    Source: keras/src/layers/reshaping/up_sampling2d.py: every backend resizes with half pixels.
    """
    is_bilinear = re.search(r'"interpolation"\s*:\s*"bilinear"', config)
    return frozenset({"half_pixel"}) if is_bilinear else frozenset()


def keras_order(graph: Graph) -> list[str]:
    """Return the convolutions in the order of ``layers`` in a functional Keras model.

    Keras sorts layers by their distance from the output, then by creation, and reads weights back
    by that order alone.

    Args:
        graph: The network, one Keras layer or more for each node.

    Source: keras/src/ops/function.py, map_graph.
    """
    depth = dict.fromkeys((node.name for node in graph.nodes), 0)
    for node in reversed(graph.nodes):
        for name in node.inputs:
            depth[name] = max(depth[name], depth[node.name] + 1)
    convolutions = [node.name for node in graph.nodes if isinstance(node.op, Conv2D)]
    return sorted(convolutions, key=lambda name: -depth[name])


def _parse(
    path: Path, find: Callable[[h5py.File, Path, dict[str, str]], Weights], file: h5py.File
) -> Archive:
    text = hdf5.read_text(file, _ORIGIN)
    graph, metadata = (None, {}) if text is None else parse_origin(text, path)
    order = keras_order(graph) if graph else []
    known = {flat: node for node, flat in names.flat_names(order, "_").items()}
    found = list(find(file, path, known))
    datasets = {dataset.name: dataset for _, dataset in found}
    by_name = names.unique(((name, dataset.name) for name, dataset in found), path)
    weights = {}
    for name, stored in by_name.items():
        checksum = hdf5.read_text(datasets[stored], "sha256")
        weights[name] = contiguous_tensor(datasets[stored], path, checksum)
    unused = tuple(
        f"{group}/{name}"
        for group in _OPTIMIZERS
        if group in list(file)
        for name in hdf5.datasets(hdf5.hard_link(file, group, path), path)
    )
    resize = stored_resize(hdf5.read_text(file, _MODEL) or "")
    return Archive(path, weights, graph=graph, metadata=metadata, unused=unused, resize=resize)


def _keras_3_weights(file: h5py.File, path: Path, known: dict[str, str]) -> Weights:
    for variable, dataset in hdf5.datasets(file, path).items():
        match = _KERAS_3_VARIABLE.match(variable)
        if match is None or variable.startswith("optimizer/"):
            continue
        name = _name(dataset.parent)
        if name is None:
            raise CheckpointError(
                f"{path} numbers its layers and does not name them ({match[1]}, for example), like "
                f"older versions of Keras 3, so they cannot be identified. Save the model as "
                f"*.h5, which holds the names, or again with a newer Keras."
            )
        node = known.get(name) or names.layer_name(name) or name
        number = int(match[2])
        yield f"{node}/{_ROLES[number] if number < len(_ROLES) else number}", dataset


def _keras_2_weights(file: h5py.File, path: Path, known: dict[str, str]) -> Weights:
    for variable, dataset in hdf5.datasets(file, path).items():
        match = _KERAS_2_WEIGHT.match(variable)
        if match is None or variable.startswith("optimizer_weights/"):
            continue
        # The group is the layer's name, and the weight repeats it after any scopes.
        scope = match[1]
        node = known.get(scope.split("/")[0]) or names.layer_name(scope) or scope
        yield f"{node}/{match[2]}", dataset


def _name(group: h5py.Group) -> str | None:
    """Read a layer's name: a text of fixed or, as Keras writes it, of variable length."""
    if "name" not in group.attrs:
        return None
    if h5py.check_string_dtype(group.attrs.get_id("name").dtype) is None:
        return None
    value = group.attrs["name"]
    return value.decode() if isinstance(value, bytes) else str(value)


def _weights(checkpoint: Checkpoint, node: str) -> list[tuple[str, NDArray[np.float32]]]:
    weights = checkpoint.state.weights
    return [(role, weights[f"{node}/{role}"]) for role in _ROLES if f"{node}/{role}" in weights]
