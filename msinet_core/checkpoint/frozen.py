"""TensorFlow's frozen graphs (``*.pb``) and SavedModels, read by hand: weights are Const nodes.

Kernels are HWIO in every TensorFlow graph, whatever the data format of the images: a graph for the
GPU that computes in NCHW holds the same constants.

Sources: tensorflow/core/framework/graph.proto, node_def.proto, attr_value.proto, tensor.proto and
function.proto; tensorflow/core/protobuf/saved_model.proto and meta_graph.proto.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import names, origin, tf1
from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.checkpoint.protobuf import fields
from msinet_core.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph

SUFFIX = ".pb"
SAVED_MODEL = "saved_model.pb"
ORIGIN = "msinet_origin"
"""The constant that holds `origin.origin_texts`."""

CHECKSUM = "_sha256"
"""The attribute of a constant that holds its checksum; graphs may have any that begin so."""

FLOAT, STRING = 1, 7
_MOST_REPEATED = 2**24
"""Values that one stored value may stand for: more than any tensor of MSI-Net has."""

_WEIGHT = re.compile(r"(.+)/(kernel|bias)$")
_READ_VARIABLE = re.compile(r"(.+)/(Conv2D|BiasAdd)/ReadVariableOp/resource$")
"""What freezing a Keras model calls its weights."""

_ROLES = {"Conv2D": "kernel", "BiasAdd": "bias"}


@dataclass(frozen=True)
class _Constant:
    """A Const node's value (TensorProto), not read yet."""

    dtype: int
    shape: tuple[int, ...]
    content: memoryview
    floats: memoryview
    checksum: str | None


def matches_graph(path: Path) -> bool:
    """Tell whether a file is named as frozen graphs are.

    Args:
        path: Any path.
    """
    return path.name.endswith(SUFFIX) and path.name != SAVED_MODEL and path.is_file()


def matches_saved_model(path: Path) -> bool:
    """Tell whether a path is a SavedModel's folder or the file in it.

    Args:
        path: Any path.
    """
    return (path / SAVED_MODEL).is_file() or (path.name == SAVED_MODEL and path.is_file())


@contextmanager
def open_graph(path: Path) -> Iterator[Archive]:
    """Open a frozen graph: find its constants, read no values.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, or has no weights.
    """
    with _mapped(path) as data:
        with _readable(path):
            archive = _parse(path, list(_nodes(data)))
        if not archive.weights:
            raise CheckpointError(
                f"{path} has no constants named as MSI-Net's layers are, such as "
                f"conv1/conv1_1/kernel. It is another network, or was not frozen."
            )
        yield archive


@contextmanager
def open_saved_model(path: Path) -> Iterator[Archive]:
    """Open a SavedModel, with its weights frozen inside or in ``variables/``.

    Args:
        path: Its folder, or the file in it.

    Raises:
        CheckpointError: It is damaged, or has no weights.
    """
    folder = path.parent if path.name == SAVED_MODEL else path
    with _mapped(folder / SAVED_MODEL) as data:
        with _readable(folder / SAVED_MODEL):
            graphs = [
                graph
                for number, meta in fields(data)
                if number == 2
                for inner, graph in fields(meta)
                if inner == 2
            ]
            nodes = [node for graph in graphs for node in _nodes(graph)]
            archive = _parse(folder, nodes, (folder / SAVED_MODEL,))
        variables = folder / "variables" / "variables"
        if archive.weights or not tf1.index_of(variables).is_file():
            if not archive.weights:
                raise CheckpointError(
                    f"{folder} has no weights of MSI-Net: no constants named as its layers are, "
                    f"and no variables/. Copy the whole folder."
                )
            yield archive
            return
    with tf1.open_archive(variables) as archive:
        yield archive


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """Lend a file's bytes without reading them."""
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty. Copy or download it again.")
    with path.open("rb") as stream:
        # Closed by the last view of it that goes away: tensors may be read after the block.
        yield memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no TensorFlow graph, or damaged: {error}. Copy or download it again."
        ) from error


def _nodes(graph: memoryview) -> Iterator[memoryview]:
    """Give every node of a graph and of the functions in its library."""
    for number, value in fields(graph):
        if number == 1:
            yield value
        elif number == 2:
            for inner, function in fields(value):
                if inner == 1:
                    yield from (node for field, node in fields(function) if field == 3)


def _parse(path: Path, nodes: list[memoryview], files: tuple[Path, ...] = ()) -> Archive:
    constants = [
        (bytes(head.get(1, b"")).decode(), node)
        for node, head in ((node, dict(fields(node))) for node in nodes)
        if bytes(head.get(2, b"")) == b"Const"
    ]
    own = [node for name, node in constants if name == ORIGIN]
    graph, metadata = _read_origin(_constant(own[0]) if own else None, path)
    known = set() if graph is None else {parameter.name for parameter in graph.parameters}
    found: list[tuple[str, str]] = []
    whole: dict[str, _Constant] = {}
    for place, node in constants:
        name = _canonical(place, known)
        if name is None:
            continue
        constant = _constant(node)
        # Several functions of a SavedModel may hold the same weights.
        if whole.setdefault(name, constant) != constant or name not in dict(found):
            found.append((name, place))
    places = names.unique(found, path)
    weights = {
        name: StoredTensor(
            constant.shape,
            "float32" if constant.dtype == FLOAT else f"type {constant.dtype}",
            constant.checksum is not None,
            partial(_read_tensor, places[name], constant),
        )
        for name, constant in whole.items()
    }
    return Archive(path, weights, graph=graph, metadata=metadata, files=files)


def _canonical(name: str, known: set[str]) -> str | None:
    if name in known:
        return name
    if known:
        return None
    if match := _READ_VARIABLE.match(name):
        layer, role = names.layer_name(match[1]), _ROLES[match[2]]
    elif match := _WEIGHT.match(name):
        layer, role = names.layer_name(match[1]), match[2]
    else:
        return None
    return f"{layer}/{role}" if layer else None


def _constant(node: memoryview) -> _Constant:
    attributes = {}
    for number, value in fields(node):
        if number == 5:
            entry = dict(fields(value))
            attributes[bytes(entry[1]).decode()] = dict(fields(entry[2]))
    tensor = attributes["value"][8]
    values: Mapping[int, Any] = dict(fields(tensor))
    checksum = attributes.get(CHECKSUM, {}).get(2)
    shape = tuple(
        dict(fields(axis)).get(1, 0) for number, axis in fields(values.get(2, b"")) if number == 2
    )
    text = values.get(8, b"")
    return _Constant(
        dtype=values.get(1, 0),
        shape=shape,
        content=memoryview(text if values.get(1) == STRING else values.get(4, b"")),
        floats=_floats(tensor),
        checksum=None if checksum is None else bytes(checksum).decode(),
    )


def _floats(tensor: memoryview) -> memoryview:
    """Give what is stored value by value: packed, or each in a field of its own."""
    packed = b""
    for number, value in fields(tensor):
        if number == 5 and isinstance(value, int):
            packed += struct.pack("<I", value)
        elif number == 5:
            return memoryview(value)
    return memoryview(packed)


def _read_origin(constant: _Constant | None, path: Path) -> tuple[Graph | None, Mapping[str, Any]]:
    if constant is None or constant.dtype != STRING:
        return None, {}
    return origin.parse_origin(bytes(constant.content).decode(), path)


def _read_tensor(name: str, constant: _Constant) -> NDArray[np.float32]:
    if constant.dtype != FLOAT:
        raise CheckpointError(f"it is type {constant.dtype}, and weights are float32 (type 1)")
    count = math.prod(constant.shape)
    data = constant.content if len(constant.content) else constant.floats
    if len(data) != 4 * count:
        if len(constant.content) or len(data) % 4 or len(data) > 4 * count:
            raise CheckpointError(f"it has {len(data)} bytes for shape {constant.shape}")
        if count > _MOST_REPEATED:
            raise CheckpointError(f"it claims shape {constant.shape} and holds {len(data)} bytes")
    # The last value stands for all that follow, and none at all for zeros.
    tensor = np.zeros(count, np.float32)
    stored = np.frombuffer(data, "<f4")
    tensor[: stored.size] = stored
    if stored.size:
        tensor[stored.size :] = stored[-1]
    tensor = tensor.reshape(constant.shape)
    origin.verify(name, tensor, constant.checksum)
    return tensor
