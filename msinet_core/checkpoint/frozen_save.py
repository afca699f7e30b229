"""Writing frozen graphs and SavedModels: the network as TensorFlow's nodes, in NHWC.

Sources: as for reading, see `msinet_core.checkpoint.frozen`; the ops are TensorFlow's raw ops,
https://www.tensorflow.org/api_docs/python/tf/raw_ops.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import origin
from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.frozen import CHECKSUM, FLOAT, ORIGIN, SAVED_MODEL, STRING
from msinet_core.checkpoint.protobuf import Buffer, integer, message, text, varint
from msinet_core.checkpoint.threads import each
from msinet_core.errors import CheckpointError
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Op,
    Resize,
    ResizeLike,
    SubtractMean,
)
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph

_INT = 3
_TYPES = {"float32": FLOAT, "int32": _INT}
_PRODUCER = 27
"""The version of graphs since TensorFlow 1.13; every later TensorFlow reads it."""

Chunks = list[Buffer]


def write_graph(path: Path, checkpoint: Checkpoint) -> None:
    """Write the network with its weights as a frozen graph; nodes ``input`` and ``output``.

    Args:
        path: The file to make or replace, ``*.pb``.
        checkpoint: The network and its weights.

    Raises:
        CheckpointError: An op of the network has no counterpart.
        MsinetError: The disk refuses; the old file is whole.
    """
    _write(path, graph_def(checkpoint))


def write_saved_model(path: Path, checkpoint: Checkpoint) -> None:
    """Write a SavedModel with the weights inside and the signature ``serving_default``.

    Args:
        path: Its folder, or ``saved_model.pb`` in it.
        checkpoint: The network and its weights.

    Raises:
        CheckpointError: An op of the network has no counterpart.
        MsinetError: The disk refuses; the old file is whole.

    Source: tensorflow/python/saved_model/builder_impl.py, for what a SavedModel of TensorFlow 1
        holds.
    """
    file = path if path.name == SAVED_MODEL else path / SAVED_MODEL
    graph = graph_def(checkpoint)
    ends = checkpoint.graph.input.name, checkpoint.graph.output.name
    infos = [
        _map_entry(number, name, text(1, f"{end}:0") + integer(2, FLOAT) + text(3, shape))
        for number, name, end, shape in zip(
            (1, 2), ("input", "output"), ends, _shapes(checkpoint.graph), strict=True
        )
    ]
    signature = _map_entry(5, "serving_default", b"".join(infos) + text(3, _PREDICT))
    meta: Chunks = [text(1, text(4, "serve")), *message(2, graph), signature]
    _write(file, [integer(1, 1), *message(2, meta)])


_PREDICT = "tensorflow/serving/predict"


def graph_def(checkpoint: Checkpoint) -> Chunks:
    """Write the network as a GraphDef, in pieces: tensors are not copied.

    Args:
        checkpoint: The network and its weights.

    Raises:
        CheckpointError: An op of the network has no counterpart.
    """
    tensors = checkpoint.state.weights
    checksums = each(lambda item: origin.checksum(*item), tensors.items())
    writer = _GraphWriter(dict(zip(tensors, checksums, strict=True)))
    texts = json.dumps(origin.origin_texts(checkpoint, CANONICAL_KERNEL_LAYOUT))
    writer.text_constant(ORIGIN, texts)
    graph = checkpoint.graph
    shape = text(7, _shapes(graph)[0])
    writer.node(graph.input.name, "Placeholder", [], dtype=_type(FLOAT), shape=shape)
    for node in graph.nodes[1:]:
        build = _BUILDERS.get(type(node.op))
        if build is None:
            raise CheckpointError(
                f"'{node.name}' is a {type(node.op).__name__}, which cannot be written as a "
                f"TensorFlow graph. Write *.msinet.h5 instead."
            )
        prefix = f"{node.name}/"
        weights = {
            name[len(prefix) :]: value
            for name, value in checkpoint.state.weights.items()
            if name.startswith(prefix) and "/" not in name[len(prefix) :]
        }
        build(writer, node.name, node.op, list(node.inputs), weights)
    return [*writer.chunks, text(4, integer(1, _PRODUCER))]


def _shapes(graph: Graph) -> tuple[bytes, bytes]:
    """Write the input's and the output's TensorShapeProto: any batch, height and width."""
    unknown = b"\x08" + b"\xff" * 9 + b"\x01"  # the size -1
    channels = (graph.channels[node.name] for node in (graph.input, graph.output))
    first, last = (text(2, unknown) * 3 + text(2, integer(1, count)) for count in channels)
    return first, last


class _GraphWriter:
    """Collects nodes; attributes are written as AttrValue.

    Args:
        checksums: Of those constants that are weights, by name.
    """

    def __init__(self, checksums: Mapping[str, str]) -> None:
        self.chunks: Chunks = []
        self._checksums = checksums

    def node(self, name: str, op: str, inputs: list[str], **attributes: bytes) -> str:
        """Add a node and return its name."""
        head = text(1, name) + text(2, op) + b"".join(text(3, source) for source in inputs)
        entries = [_map_entry(5, key, value) for key, value in sorted(attributes.items())]
        self.chunks += message(1, [head, *entries])
        return name

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant and return its name; its values stay where they are."""
        tensor = np.ascontiguousarray(value).reshape(np.shape(value))
        kind = _TYPES[tensor.dtype.name]
        shape = b"".join(text(2, integer(1, axis)) for axis in tensor.shape)
        data = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).reshape(-1).data.cast("B")
        proto: Chunks = [integer(1, kind) + text(2, shape), *message(4, [data])]
        chunks: Chunks = [text(1, name) + text(2, "Const"), _map_entry(5, "dtype", _type(kind))]
        if checksum := self._checksums.get(name):
            chunks.append(_map_entry(5, CHECKSUM, text(2, checksum)))
        chunks += message(5, [text(1, "value"), *message(2, message(8, proto))])
        self.chunks += message(1, chunks)
        return name

    def text_constant(self, name: str, value: str) -> str:
        """Add a constant text and return its name."""
        proto = integer(1, STRING) + text(2, b"") + text(8, value)
        return self.node(name, "Const", [], dtype=_type(STRING), value=text(8, proto))

    def floats(self, name: str, op: str, inputs: list[str], **attributes: bytes) -> str:
        """Add a node of float32 and return its name."""
        return self.node(name, op, inputs, T=_type(FLOAT), **attributes)

    def integers(self, name: str, *values: int) -> str:
        """Add a constant list of whole numbers and return its name."""
        return self.constant(name, np.array(values, np.int32))


def _subtract_mean(
    writer: _GraphWriter, name: str, op: SubtractMean, inputs: list[str], _: Mapping[str, Any]
) -> None:
    mean = writer.constant(f"{name}/mean", np.array(op.mean, np.float32))
    writer.floats(name, "Sub", [*inputs, mean])


def _conv(
    writer: _GraphWriter,
    name: str,
    op: Conv2D,
    inputs: list[str],
    weights: Mapping[str, NDArray[np.float32]],
) -> None:
    constants = {role: writer.constant(f"{name}/{role}", value) for role, value in weights.items()}
    steps = [("Conv2D", [*inputs, constants["kernel"]], _convolution_attributes(op))]
    if op.use_bias:
        steps.append(("BiasAdd", [constants["bias"]], {"data_format": _string("NHWC")}))
    if op.activation == "relu":
        steps.append(("Relu", [], {}))
    before: list[str] = []
    for number, (kind, others, attributes) in enumerate(steps, 1):
        place = name if number == len(steps) else f"{name}/{kind}"
        before = [writer.floats(place, kind, [*before, *others], **attributes)]


def _convolution_attributes(op: Conv2D) -> dict[str, bytes]:
    return {
        "strides": _list(1, op.strides, op.strides, 1),
        "dilations": _list(1, op.dilation, op.dilation, 1),
        "padding": _string(op.padding),
        "data_format": _string("NHWC"),
    }


def _pool(
    writer: _GraphWriter, name: str, op: MaxPool2D, inputs: list[str], _: Mapping[str, Any]
) -> None:
    writer.floats(
        name,
        "MaxPool",
        inputs,
        ksize=_list(1, op.pool_size, op.pool_size, 1),
        strides=_list(1, op.strides, op.strides, 1),
        padding=_string(op.padding),
        data_format=_string("NHWC"),
    )


def _resize(
    writer: _GraphWriter, name: str, op: Resize, inputs: list[str], _: Mapping[str, Any]
) -> None:
    size = _size_of(writer, name, inputs[0])
    scale = writer.integers(f"{name}/scale", op.scale)
    larger = writer.node(f"{name}/size", "Mul", [size, scale], T=_type(_INT))
    _bilinear(writer, name, [inputs[0], larger], op)


def _resize_like(
    writer: _GraphWriter, name: str, op: ResizeLike, inputs: list[str], _: Mapping[str, Any]
) -> None:
    _bilinear(writer, name, [inputs[0], _size_of(writer, name, inputs[1])], op)


def _bilinear(writer: _GraphWriter, name: str, inputs: list[str], op: Resize | ResizeLike) -> None:
    writer.floats(
        name,
        "ResizeBilinear",
        inputs,
        align_corners=_bool(False),
        half_pixel_centers=_bool(op.coordinates == "half_pixel"),
    )


def _size_of(writer: _GraphWriter, name: str, source: str) -> str:
    """Add the nodes that tell height and width of a tensor."""
    shape = writer.floats(f"{name}/shape", "Shape", [source], out_type=_type(_INT))
    begin = writer.integers(f"{name}/begin", 1)
    size = writer.integers(f"{name}/count", 2)
    return writer.node(
        f"{name}/slice", "Slice", [shape, begin, size], T=_type(_INT), Index=_type(_INT)
    )


def _concat(
    writer: _GraphWriter, name: str, op: Concat, inputs: list[str], _: Mapping[str, Any]
) -> None:
    axis = writer.constant(f"{name}/axis", np.int32(3))
    count = integer(3, len(inputs))
    writer.floats(name, "ConcatV2", [*inputs, axis], N=count, Tidx=_type(_INT))


def _global_mean(
    writer: _GraphWriter, name: str, op: GlobalMean, inputs: list[str], _: Mapping[str, Any]
) -> None:
    _reduce(writer, name, "Mean", inputs[0], 1, 2)


def _min_max(
    writer: _GraphWriter, name: str, op: MinMaxNormalize, inputs: list[str], _: Mapping[str, Any]
) -> None:
    low = _reduce(writer, f"{name}/min", "Min", inputs[0], 1, 2, 3)
    above = writer.floats(f"{name}/above", "Sub", [inputs[0], low])
    high = _reduce(writer, f"{name}/max", "Max", above, 1, 2, 3)
    epsilon = writer.constant(f"{name}/epsilon", np.array(op.epsilon, np.float32))
    divisor = writer.floats(f"{name}/divisor", "AddV2", [epsilon, high])
    writer.floats(name, "RealDiv", [above, divisor])


def _reduce(writer: _GraphWriter, name: str, op: str, source: str, *axes: int) -> str:
    over = writer.integers(f"{name}/axes", *axes)
    return writer.floats(name, op, [source, over], keep_dims=_bool(True), Tidx=_type(_INT))


_BUILDERS: Mapping[type[Op], Callable[..., None]] = {
    SubtractMean: _subtract_mean,
    Conv2D: _conv,
    MaxPool2D: _pool,
    Resize: _resize,
    ResizeLike: _resize_like,
    Concat: _concat,
    GlobalMean: _global_mean,
    MinMaxNormalize: _min_max,
}


def _map_entry(number: int, key: str, value: bytes) -> bytes:
    return text(number, text(1, key) + text(2, value))


def _type(value: int) -> bytes:
    return integer(6, value)


def _bool(value: bool) -> bytes:
    return integer(5, int(value))


def _string(value: str) -> bytes:
    return text(2, value)


def _list(*values: int) -> bytes:
    return text(1, text(3, b"".join(varint(value) for value in values)))


def _write(path: Path, chunks: Chunks) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(chunks)
