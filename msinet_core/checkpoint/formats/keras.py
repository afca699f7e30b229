"""Keras weights, ``*.weights.h5`` in the layouts of Keras 3 and Keras 2, and full models.

Full models are ``*.h5`` files of Keras 2, or ``*.keras``: an archive with config.json,
metadata.json and model.weights.h5.

Keras 3 numbers the layers of each class and keeps a layer's name as an attribute; Keras 2 names
groups after layers. Both store kernels HWIO.

Sources: keras/src/saving/saving_lib.py and keras/src/legacy/saving/legacy_h5_format.py;
https://keras.io/guides/serialization_and_saving
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.hdf5_tensors import (
    CHECKSUM,
    dataset_tensor,
    file_image,
    write_tensors,
    write_text,
)
from msinet_core.checkpoint.origin import origin_json, parse_origin
from msinet_core.checkpoint.wire import hdf5
from msinet_core.checkpoint.wire.hdf5_messages import Dataset, Group
from msinet_core.checkpoint.wire.limits import MAX_NAME
from msinet_core.checkpoint.wire.zip import open_stored
from msinet_core.errors import CheckpointError, printable
from msinet_core.network.graph import Graph
from msinet_core.network.ops import Conv2D, Coordinates
from msinet_core.system.files import atomic_path, write_bytes

if TYPE_CHECKING:
    import h5py

MODEL_SUFFIX = ".keras"
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_ORIGIN = "msinet"
_MODEL = "model_config"
_KERAS_3_GROUPS = {"layers", "_layer_checkpoint_dependencies", "_functional"}
_KERAS_3_VARIABLE = re.compile(r"(.*?)/?vars/(\d+)$")
_ROLES = ("kernel", "bias")
"""A convolution's variables, in the order in which Keras 3 numbers them."""

_KERAS_2_WEIGHT = re.compile(r"(?:model_weights/)?(.+)/(kernel|bias)(?::0)?$")
_OPTIMIZERS = ("optimizer/", "optimizer_weights/")

Weights = Iterator[tuple[str, Dataset]]
KerasModel = tuple[Mapping[str, Any], Mapping[str, str], list[str]]
"""A model's config.json, its metadata.json, and its layers' names in the model's order."""


def matches_keras_3(path: Path) -> bool:
    """Return whether a file is HDF5 in the layout of Keras 3.

    Args:
        path: Any path.
    """
    return not _KERAS_3_GROUPS.isdisjoint(hdf5.read_root(path).members)


def matches_keras_2(path: Path) -> bool:
    """Return whether a file is HDF5 in the layout of Keras 2, or a full model of Keras 2.

    Args:
        path: Any path.
    """
    root = hdf5.read_root(path)
    return "model_weights" in root.members or "layer_names" in root.attributes


def open_keras_3(path: Path, content: bytes | None = None) -> Archive:
    """Open weights of Keras 3.

    Args:
        path: The file.
        content: Its bytes, if it is inside an archive.

    Raises:
        CheckpointError: It is damaged, refused, or does not name its layers.
    """
    return _parse(path, _keras_3_weights, hdf5.read_file(path, content))


def open_keras_2(path: Path) -> Archive:
    """Open weights or a full model of Keras 2.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    return _parse(path, _keras_2_weights, hdf5.read_file(path))


def open_model(path: Path) -> Archive:
    """Open the weights of a full Keras 3 model; nothing in it is run.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, refused, or does not name its layers.
    """
    with open_stored(path) as (archive, members):
        if missing := [name for name in (_WEIGHTS, _CONFIG) if name not in members]:
            raise CheckpointError(
                f"{path} is not a Keras model: it has no {missing[0]}. Copy or download it again."
            )
        # zipfile compares with the checksum of the whole member at its end.
        content, config = archive.read(_WEIGHTS), archive.read(_CONFIG).decode()
    return replace(open_keras_3(path, content), resize=stored_resize(config))


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
        write_text(file, _ORIGIN, origin_json(checkpoint))
        write_text(file, "keras_version", "2.15.0")
        write_text(file, "backend", "tensorflow")
        file.attrs["layer_names"] = np.array([name.encode() for name in flat.values()])
        tensors: dict[str, NDArray[np.float32]] = {}
        for node, name in flat.items():
            weights = {f"{name}/{role}:0": value for role, value in _weights(checkpoint, node)}
            group = file.create_group(name.encode())
            group.attrs["weight_names"] = np.array([weight.encode() for weight in weights])
            tensors |= {f"{name}/{weight}": value for weight, value in weights.items()}
        write_tensors(file, tensors)

    write_bytes(path, file_image(fill))


def write_keras_archive(
    path: Path, checkpoint: Checkpoint, describe: Callable[[Graph, Mapping[str, str]], KerasModel]
) -> None:
    """Write a model that `keras.models.load_model` loads, with its weights.

    Args:
        path: The file to make or replace, ``*.keras``.
        checkpoint: The network and its weights.
        describe: Describes the network in Keras' terms; its arguments are the network and the
            name that each convolution's layer must have, by the convolution's node.

    Raises:
        CheckpointError: `describe` refuses, or the network's names do not fit the format.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    flat = names.flat_names(keras_order(checkpoint.graph), "_")
    config, metadata, layers = describe(checkpoint.graph, flat)
    nodes = {name: node for node, name in flat.items()}
    weights = keras_3_image(checkpoint, [nodes[name] for name in layers if name in nodes])
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        with archive.open(_WEIGHTS, "w", force_zip64=True) as stream:
            stream.write(weights)


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
        write_text(file, _ORIGIN, origin_json(checkpoint))
        tensors = {}
        for number, (node, name) in enumerate(flat.items()):
            group = f"layers/conv2d{f'_{number}' if number else ''}/vars"
            write_text(file.create_group(group.encode()), "name", name)
            for index, (_, value) in enumerate(_weights(checkpoint, node)):
                tensors[f"{group}/{index}"] = value
        write_tensors(file, tensors)

    return file_image(fill)


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
    path: Path, find: Callable[[Group, Path, dict[str, str]], Weights], file: Group
) -> Archive:
    text = file.text(_ORIGIN)
    graph, metadata = (None, {}) if text is None else parse_origin(text, path)
    order = keras_order(graph) if graph else []
    known = {flat: node for node, flat in names.flat_names(order, "_").items()}
    found = list(find(file, path, known))
    datasets = {dataset.name: dataset for _, dataset in found}
    by_name = names.unique(((name, dataset.name) for name, dataset in found), path)
    weights = {
        name: dataset_tensor(datasets[stored], path, datasets[stored].text(CHECKSUM))
        for name, stored in by_name.items()
    }
    unused = [name for name, _, _ in file.datasets() if name.startswith(_OPTIMIZERS)]
    resize = stored_resize(file.any_text(_MODEL) or "")
    return Archive(
        path, weights, graph=graph, metadata=metadata, unused=tuple(unused), resize=resize
    )


def _keras_3_weights(file: Group, path: Path, known: dict[str, str]) -> Weights:
    for variable, dataset, group in file.datasets():
        match = _KERAS_3_VARIABLE.match(variable)
        if match is None or variable.startswith(_OPTIMIZERS):
            continue
        name = group.any_text("name")
        if name is None:
            raise CheckpointError(
                f"{path} numbers its layers and does not name them ({printable(match[1])}, for "
                f"example), like older versions of Keras 3, so they cannot be identified. Save the "
                f"model as *.h5, which holds the names, or again with a newer Keras."
            )
        if len(name) > MAX_NAME:
            raise ValueError(f"a layer's name has {len(name):,} characters")
        node = known.get(name) or names.layer_name(name) or name
        number = int(match[2])
        yield f"{node}/{_ROLES[number] if number < len(_ROLES) else number}", dataset


def _keras_2_weights(file: Group, path: Path, known: dict[str, str]) -> Weights:
    for variable, dataset, _ in file.datasets():
        match = _KERAS_2_WEIGHT.match(variable)
        if match is None or variable.startswith(_OPTIMIZERS):
            continue
        # The group is the layer's name, and the weight repeats it after any scopes.
        scope = match[1]
        node = known.get(scope.split("/")[0]) or names.layer_name(scope) or scope
        yield f"{node}/{match[2]}", dataset


def _weights(checkpoint: Checkpoint, node: str) -> list[tuple[str, NDArray[np.float32]]]:
    weights = checkpoint.state.weights
    return [(role, weights[f"{node}/{role}"]) for role in _ROLES if f"{node}/{role}" in weights]
