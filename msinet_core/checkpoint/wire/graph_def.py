"""TensorFlow's graphs (GraphDef): nodes and constants are read, attributes are written.

Source: tensorflow/core/framework/graph.proto, node_def.proto, attr_value.proto, tensor.proto and
function.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msinet_core.checkpoint.wire.protobuf import fields, integer, text, varint

FLOAT, INT, STRING = 1, 3, 7

CHECKSUM = "_sha256"
"""The attribute of a constant for its checksum; TensorFlow ignores names that begin with "_"."""

_MAX_NODES = 100_000
"""Of a file; a SavedModel of MSI-Net has a few thousand."""


@dataclass(frozen=True)
class Constant:
    """The value of a Const node (TensorProto), not decoded yet.

    Args:
        dtype: TensorFlow's number of the type.
        shape: Of the tensor.
        content: All values as bytes, or the text; empty if they are in `floats`.
        floats: float32 values stored one by one; the last one stands for all that follow.
        checksum: Of the values, if the file holds one.
    """

    dtype: int
    shape: tuple[int, ...]
    content: memoryview
    floats: memoryview
    checksum: str | None


def read_nodes(graphs: Iterable[memoryview]) -> Iterator[tuple[str, bytes, memoryview]]:
    """Find the nodes of graphs and of the functions in their libraries.

    Args:
        graphs: The messages.

    Yields:
        A node's name, its operation, and its message.

    Raises:
        ValueError: It is not a graph, or damaged.
        IndexError: It is cut off.
    """
    nodes = (node for graph in graphs for node in _nodes(graph))
    for count, node in enumerate(nodes):
        if count == _MAX_NODES:
            raise ValueError(f"more than {_MAX_NODES:,} nodes")
        head = dict(fields(node))
        yield bytes(head.get(1, b"")).decode(), bytes(head.get(2, b"")), node


def read_resize_flags(node: memoryview) -> tuple[bool, bool]:
    """Return ``align_corners`` and ``half_pixel_centers`` of a bilinear resize.

    Args:
        node: The message.

    Raises:
        ValueError: It is damaged.
        LookupError: It is damaged.
    """
    attributes = _attributes(node)
    corners, centers = (attributes.get(f, {}) for f in ("align_corners", "half_pixel_centers"))
    return bool(corners.get(5)), bool(centers.get(5))


def read_constant(node: memoryview) -> Constant:
    """Read the value of a Const node.

    Args:
        node: The message.

    Raises:
        ValueError: It is damaged.
        LookupError: It is damaged.
    """
    attributes = _attributes(node)
    tensor = attributes["value"][8]
    values: Mapping[int, Any] = dict(fields(tensor))
    checksum = attributes.get(CHECKSUM, {}).get(2)
    shape = tuple(
        dict(fields(axis)).get(1, 0) for number, axis in fields(values.get(2, b"")) if number == 2
    )
    content = values.get(8, b"") if values.get(1) == STRING else values.get(4, b"")
    return Constant(
        dtype=values.get(1, 0),
        shape=shape,
        content=memoryview(content),
        floats=_floats(tensor),
        checksum=None if checksum is None else bytes(checksum).decode(),
    )


def _attributes(node: memoryview) -> Mapping[str, Mapping[int, Any]]:
    entries = [dict(fields(value)) for number, value in fields(node) if number == 5]
    return {bytes(entry[1]).decode(): dict(fields(entry[2])) for entry in entries}


def _nodes(graph: memoryview) -> Iterator[memoryview]:
    for number, value in fields(graph):
        if number == 1:
            yield value
        elif number == 2:
            for inner, function in fields(value):
                if inner == 1:
                    yield from (node for field, node in fields(function) if field == 3)


def _floats(tensor: memoryview) -> memoryview:
    """Return what is stored value by value: packed, or each in a field of its own."""
    single = bytearray()
    for number, value in fields(tensor):
        if number == 5 and isinstance(value, int):
            single += struct.pack("<I", value)
        elif number == 5:
            return memoryview(value)
    return memoryview(single)


def map_entry(number: int, key: str, value: bytes) -> bytes:
    """Write one entry of a map of messages."""
    return text(number, text(1, key) + text(2, value))


def type_(value: int) -> bytes:
    """Write an AttrValue: a type."""
    return integer(6, value)


def boolean(value: bool) -> bytes:
    """Write an AttrValue: true or false."""
    return integer(5, int(value))


def string(value: str) -> bytes:
    """Write an AttrValue: a text."""
    return text(2, value)


def integer_list(*values: int) -> bytes:
    """Write an AttrValue: a list of integers."""
    return text(1, text(3, b"".join(varint(value) for value in values)))


def image_shape(channels: int) -> bytes:
    """Write a TensorShapeProto: images of any number and size, ``(N, H, W, channels)``."""
    unknown = text(2, b"\x08" + b"\xff" * 9 + b"\x01")  # the size -1
    return unknown * 3 + shape_((channels,))


def shape_(axes: tuple[int, ...]) -> bytes:
    """Write a TensorShapeProto."""
    return b"".join(text(2, integer(1, axis)) for axis in axes)
