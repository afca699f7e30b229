"""TensorFlow's frozen graphs (``*.pb``) and SavedModels, without TensorFlow: weights are constants.

Kernels are HWIO in every TensorFlow graph, whatever the data format of the images: a graph for the
GPU that computes in NCHW holds the same constants.

Sources: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto;
tensorflow/python/saved_model/builder_impl.py, for what a SavedModel of TensorFlow 1 holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.formats import tf1
from msinet_core.checkpoint.formats.frozen_ops import FrozenLayers
from msinet_core.checkpoint.origin import Origin, origin_json, parse_origin
from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.checkpoint.wire.graph_def import (
    FLOAT,
    STRING,
    Constant,
    image_shape,
    map_entry,
    read_constant,
    read_nodes,
    read_resize_flags,
    type_,
)
from msinet_core.checkpoint.wire.mapped import is_named, map_file
from msinet_core.checkpoint.wire.protobuf import Buffer, fields, integer, message, text
from msinet_core.errors import CheckpointError
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.network.ops import Coordinates
from msinet_core.system.files import atomic_path

SUFFIX = ".pb"
SAVED_MODEL = "saved_model.pb"

_ORIGIN = "msinet_origin"
"""The constant for `origin.origin_json`."""

_READ_VARIABLE = re.compile(r"(.+)/(Conv2D|BiasAdd)/ReadVariableOp/resource$")
"""How a frozen Keras model names its weights."""

_ROLES = {"Conv2D": "kernel", "BiasAdd": "bias"}


def matches_graph(path: Path) -> bool:
    """Return whether a file is named like a frozen graph.

    Args:
        path: Any path.
    """
    return path.name != SAVED_MODEL and is_named(path, SUFFIX)


def matches_saved_model(path: Path) -> bool:
    """Return whether a path is a SavedModel's folder or the file in it.

    Args:
        path: Any path.
    """
    return saved_model_file(path).is_file()


def saved_model_file(path: Path) -> Path:
    """Return the file of a SavedModel.

    Args:
        path: Its folder, or the file itself.
    """
    return path if path.name == SAVED_MODEL else path / SAVED_MODEL


def open_graph(path: Path) -> Archive:
    """Open a frozen graph: find its constants, read no values.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, or has no weights.
    """
    archive = _parse(path, [map_file(path)])
    if not archive.weights:
        raise CheckpointError(
            f"{path} has no constants named like MSI-Net's layers, such as conv1/conv1_1/kernel. "
            f"It is another network, or not frozen."
        )
    return archive


def open_saved_model(path: Path) -> Archive:
    """Open a SavedModel, with its weights frozen inside or in ``variables/``.

    Args:
        path: Its folder, or the file in it.

    Raises:
        CheckpointError: It is damaged, or has no weights.
    """
    file = saved_model_file(path)
    folder = file.parent
    graphs = [
        graph
        for number, meta in fields(map_file(file))
        if number == 2
        for inner, graph in fields(meta)
        if inner == 2
    ]
    archive = _parse(folder, graphs, (file,))
    variables = folder / "variables" / "variables"
    if archive.weights:
        return archive
    if tf1.index_of(variables).is_file():
        opened = tf1.open_archive(variables)
        files = (file, *opened.files)
        return replace(opened, path=folder, files=files, resize=archive.resize)
    raise CheckpointError(
        f"{folder} has no weights of MSI-Net: no constants named like its layers, and no "
        f"variables/. Copy the whole folder."
    )


def write_graph(path: Path, checkpoint: Checkpoint) -> None:
    """Write the network with its weights as a frozen graph; nodes ``input`` and ``output``.

    Args:
        path: The file to make or replace, ``*.pb``.
        checkpoint: The network and its weights.

    Raises:
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    _write(path, _graph_def(checkpoint))


def write_saved_model(path: Path, checkpoint: Checkpoint) -> None:
    """Write a SavedModel with the weights inside and the signature ``serving_default``.

    Args:
        path: Its folder, or ``saved_model.pb`` in it.
        checkpoint: The network and its weights.

    Raises:
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    graph = checkpoint.graph
    infos = [
        map_entry(number, name, text(1, f"{end}:0") + integer(2, FLOAT) + text(3, shape))
        for number, name, end, shape in (
            (1, "input", graph.input.name, image_shape(graph.channels[graph.input.name])),
            (2, "output", graph.output.name, image_shape(graph.channels[graph.output.name])),
        )
    ]
    method = text(3, "tensorflow/serving/predict")
    signature = map_entry(5, "serving_default", b"".join(infos) + method)
    meta = [text(1, text(4, "serve")), *message(2, _graph_def(checkpoint)), signature]
    _write(saved_model_file(path), [integer(1, 1), *message(2, meta)])


def _parse(path: Path, graphs: Sequence[memoryview], files: tuple[Path, ...] = ()) -> Archive:
    nodes = list(read_nodes(graphs))
    constants = [(name, node) for name, kind, node in nodes if kind == b"Const"]
    graph, metadata = _read_origin(dict(constants).get(_ORIGIN), path)
    known = set() if graph is None else {parameter.name for parameter in graph.parameters}
    found: list[tuple[str, str]] = []
    values: dict[str, Constant] = {}
    for stored, node in constants:
        if name := _canonical(stored, known):
            constant = read_constant(node)
            first = values.setdefault(name, constant)
            # Several functions of a SavedModel may hold the same weights.
            if first is constant or first != constant:
                found.append((name, stored))
    weights = {
        name: stored_tensor(
            stored,
            values[name].shape,
            "float32" if values[name].dtype == FLOAT else f"type {values[name].dtype}",
            partial(_read, values[name]),
            checksum=values[name].checksum,
        )
        for name, stored in names.unique(found, path).items()
    }
    flags = {read_resize_flags(node) for _, kind, node in nodes if kind == b"ResizeBilinear"}
    if any(align_corners for align_corners, _ in flags):
        raise CheckpointError(
            f"{path} resizes with align_corners, which msinet does not compute: its maps would be "
            f"wrong. Train the network again with half-pixel or asymmetric resizes."
        )
    resize: frozenset[Coordinates] = frozenset(
        "half_pixel" if half_pixel else "asymmetric" for _, half_pixel in flags
    )
    return Archive(path, weights, graph=graph, metadata=metadata, files=files, resize=resize)


def _read_origin(node: memoryview | None, path: Path) -> Origin:
    constant = None if node is None else read_constant(node)
    if constant is None or constant.dtype != STRING:
        return None, {}
    return parse_origin(bytes(constant.content).decode(), path)


def _canonical(name: str, known: set[str]) -> str | None:
    if known:
        return name if name in known else None
    if match := _READ_VARIABLE.match(name):
        name = f"{match[1]}/{_ROLES[match[2]]}"
    return names.weight_name(name)


def _read(constant: Constant) -> NDArray[np.float32]:
    count = math.prod(constant.shape)
    data = constant.content if len(constant.content) else constant.floats
    is_partial = not len(constant.content) and len(data) % 4 == 0 and len(data) < 4 * count
    if len(data) != 4 * count and not is_partial:
        raise CheckpointError(f"{len(data)} bytes for shape {constant.shape}")
    # The last value stands for all that follow, and no value at all for zeros.
    stored = np.frombuffer(data, "<f4")
    tensor = np.zeros(count, np.float32)
    tensor[: stored.size] = stored
    if stored.size:
        tensor[stored.size :] = stored[-1]
    return tensor.reshape(constant.shape)


def _graph_def(checkpoint: Checkpoint) -> list[Buffer]:
    graph = checkpoint.graph
    weights = prepare_tensors(checkpoint.state.weights, CANONICAL_KERNEL_LAYOUT)
    layers = FrozenLayers({name: checksum for name, (_, checksum) in weights.items()})
    layers.text_constant(_ORIGIN, origin_json(checkpoint))
    shape = text(7, image_shape(graph.channels[graph.input.name]))
    images = layers.node(graph.input.name, "Placeholder", [], dtype=type_(FLOAT), shape=shape)
    parameters = {name: layers.constant(name, value) for name, (value, _) in weights.items()}
    graph.apply(layers.builders(), images, parameters, layers.enter)
    return layers.graph


def _write(path: Path, chunks: list[Buffer]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(chunks)
