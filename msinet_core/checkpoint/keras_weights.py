"""Keras weights: ``*.weights.h5`` as Keras 3 and as Keras 2 lay them out, and full ``*.h5`` models.

Keras 3 numbers the layers of each class and keeps a layer's name as an attribute; Keras 2 names
groups after layers. Both store kernels HWIO.

Source: keras/src/saving/saving_lib.py and keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from msinet_core.checkpoint import hdf5, heap, names, origin
from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.native_save import FileLayout
from msinet_core.errors import CheckpointError
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.network.ops import Conv2D
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph

_ORIGIN = "msinet"
_LIBVER = ("earliest", "v108")
"""Keras writes HDF5's oldest structures, and so every reader of its files knows them."""

_VARIABLE = re.compile(r"(.*?)/?vars/(\d+)$")
_ROLES = ("kernel", "bias")
"""A convolution's variables, in the order in which Keras 3 numbers them."""

_KERAS_2_WEIGHT = re.compile(r"(?:model_weights/)?(.+)/(kernel|bias)(?::0)?$")
_LEGACY_ATTRIBUTES = {"keras_version": "2.15.0", "backend": "tensorflow"}

Weight = tuple[str, h5py.Dataset]


def matches_keras_3(path: Path) -> bool:
    """Tell whether a file is HDF5 as Keras 3 lays weights out.

    Args:
        path: Any path.
    """
    return _holds(path, {"layers", "_layer_checkpoint_dependencies", "_functional"})


def matches_keras_2(path: Path) -> bool:
    """Tell whether a file is HDF5 as Keras 2 lays weights out, or a full model of Keras 2.

    Args:
        path: Any path.
    """
    if not hdf5.is_hdf5(path):
        return False

    def has_layers(file: h5py.File) -> bool:
        return "model_weights" in list(file) or "layer_names" in file.attrs

    with hdf5.open_file(path, has_layers) as found:
        return found


def open_keras_3(path: Path, content: bytes | None = None) -> AbstractContextManager[Archive]:
    """Open weights of Keras 3.

    Args:
        path: The file.
        content: Its bytes, where it lies in an archive.

    Raises:
        CheckpointError: It is damaged, refused, or does not tell its layers' names.
    """
    heap.check_heaps(path, content)
    return hdf5.open_file(path, partial(_parse, path, _keras_3_weights), content)


def open_keras_2(path: Path) -> AbstractContextManager[Archive]:
    """Open weights or a full model of Keras 2.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, or refused.
    """
    return hdf5.open_file(path, partial(_parse, path, _keras_2_weights))


def write_keras_3(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights as Keras 3 lays them out.

    Args:
        path: The file to make or replace, ``*.weights.h5``.
        checkpoint: Whose weights are written.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk refuses; the old file is whole.
    """
    layout = lay_out_keras_3(checkpoint, keras_order(checkpoint.graph))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        layout.write(stream)


def write_keras_2(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights as Keras 2 lays them out.

    Args:
        path: The file to make or replace, ``*.h5``.
        checkpoint: Whose weights are written.

    Raises:
        CheckpointError: The network's names do not fit the format.
        MsinetError: The disk refuses; the old file is whole.
    """
    order = keras_order(checkpoint.graph)
    flat = names.flat_names(order, "_")
    layout = FileLayout()
    with layout.open(_LIBVER) as file:
        _write_origin(file, checkpoint)
        for name, text in _LEGACY_ATTRIBUTES.items():
            hdf5.write_text(file, name, text)
        file.attrs["layer_names"] = np.array([flat[node].encode() for node in order])
        for node in order:
            group = file.create_group(flat[node])
            roles = _roles(checkpoint, node)
            group.attrs["weight_names"] = np.array(
                [f"{flat[node]}/{role}:0".encode() for role in roles]
            )
            for role in roles:
                tensor = checkpoint.state.weights[f"{node}/{role}"]
                layout.add_tensor(group, f"{flat[node]}/{role}:0", tensor)
        layout.write_checksums()
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        layout.write(stream)


def lay_out_keras_3(checkpoint: Checkpoint, order: Iterable[str]) -> FileLayout:
    """Lay weights out as Keras 3 does.

    Args:
        checkpoint: Whose weights are written.
        order: The convolutions' nodes as Keras numbers them.

    Raises:
        CheckpointError: The network's names do not fit the format.
    """
    flat = names.flat_names(order, "_")
    layout = FileLayout()
    with layout.open(_LIBVER) as file:
        _write_origin(file, checkpoint)
        for number, node in enumerate(order):
            group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
            hdf5.write_text(group, "name", flat[node])
            for place, role in enumerate(_roles(checkpoint, node)):
                layout.add_tensor(group, str(place), checkpoint.state.weights[f"{node}/{role}"])
        layout.write_checksums()
    return layout


def keras_order(graph: Graph) -> list[str]:
    """Give the convolutions in the order of ``layers`` in a functional Keras model.

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


def _holds(path: Path, groups: set[str]) -> bool:
    if not hdf5.is_hdf5(path):
        return False
    with hdf5.open_file(path, lambda file: not groups.isdisjoint(list(file))) as found:
        return found


def _parse(
    path: Path, find: Callable[[h5py.File, Path, Graph | None], list[Weight]], file: h5py.File
) -> Archive:
    text = hdf5.read_text(file, _ORIGIN)
    graph, metadata = (None, {}) if text is None else origin.parse_origin(text, path)
    found = find(file, path, graph)
    places = {dataset.name: dataset for _, dataset in found}
    by_name = names.unique(((name, dataset.name) for name, dataset in found), path)
    weights = {name: _stored(places[place], path) for name, place in by_name.items()}
    unused = tuple(
        f"{group}/{name}"
        for group in ("optimizer", "optimizer_weights")
        if group in list(file)
        for name in hdf5.datasets(hdf5.hard_link(file, group, path), path)
    )
    return Archive(path, weights, graph=graph, metadata=metadata, unused=unused)


def _keras_3_weights(file: h5py.File, path: Path, graph: Graph | None) -> list[Weight]:
    known = _flat_nodes(graph)
    found, nameless = [], []
    for place, dataset in hdf5.datasets(file, path).items():
        match = _VARIABLE.match(place)
        if match is None or place.startswith("optimizer/"):
            continue
        name = _text(dataset.parent, "name")
        number = int(match[2])
        if name is None:
            nameless.append(match[1])
            continue
        node = known.get(name) or names.layer_name(name) or name
        role = _ROLES[number] if number < len(_ROLES) else str(number)
        found.append((f"{node}/{role}", dataset))
    if nameless:
        raise CheckpointError(
            f"{path} numbers its layers and does not name them ({nameless[0]} and others), as "
            f"older versions of Keras 3 did; which is which is nowhere in the file. Save the model "
            f"as *.h5, which holds the names, or again with a newer Keras."
        )
    return found


def _keras_2_weights(file: h5py.File, path: Path, graph: Graph | None) -> list[Weight]:
    known = _flat_nodes(graph)
    found = []
    for place, dataset in hdf5.datasets(file, path).items():
        match = _KERAS_2_WEIGHT.match(place)
        if match is None or place.startswith("optimizer_weights/"):
            continue
        # The group is the layer's name, and the weight repeats it after any scopes.
        scope = match[1]
        node = known.get(scope.split("/")[0]) or names.layer_name(scope) or scope
        found.append((f"{node}/{match[2]}", dataset))
    return found


def _flat_nodes(graph: Graph | None) -> dict[str, str]:
    if graph is None:
        return {}
    return {flat: node for node, flat in names.flat_names(keras_order(graph), "_").items()}


def _text(group: h5py.Group, name: str) -> str | None:
    """Read a text of fixed or, as Keras writes it, of variable length."""
    if name not in group.attrs:
        return None
    kind = h5py.check_string_dtype(group.attrs.get_id(name).dtype)
    if kind is None:
        return None
    value = group.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _stored(dataset: h5py.Dataset, path: Path) -> StoredTensor:
    size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    if dataset.chunks is not None or stored != size:
        raise CheckpointError(
            f"{path}: '{dataset.name}' declares shape {dataset.shape}, {size} bytes, and stores "
            f"{stored}. It is damaged, compressed or made to exhaust memory; use another file."
        )
    checksum = hdf5.read_text(dataset, "sha256")
    return StoredTensor(
        shape=dataset.shape,
        dtype=str(dataset.dtype),
        has_checksum=checksum is not None,
        read=partial(_read_tensor, dataset, checksum),
    )


def _read_tensor(dataset: h5py.Dataset, checksum: str | None) -> NDArray[np.float32]:
    if dataset.dtype != np.dtype("<f4"):
        raise CheckpointError(f"it is {dataset.dtype}, and weights are float32")
    with hdf5.damage("cannot be read"):
        tensor = np.empty(dataset.shape, np.float32)
        if tensor.size:
            dataset.read_direct(tensor)
    origin.verify(dataset.name, tensor, checksum)
    return tensor


def _write_origin(file: h5py.File, checkpoint: Checkpoint) -> None:
    texts = origin.origin_texts(checkpoint, CANONICAL_KERNEL_LAYOUT)
    hdf5.write_text(file, _ORIGIN, json.dumps(texts))


def _roles(checkpoint: Checkpoint, node: str) -> list[str]:
    return [role for role in _ROLES if f"{node}/{role}" in checkpoint.state.weights]
