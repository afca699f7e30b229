"""Names of the tensors in a checkpoint of TensorFlow 2 objects, such as a SavedModel's.

Its keys number objects; a graph of the objects, stored beside the tensors as one text, has the
variables' names.

Source: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

from msinet_core.checkpoint import names
from msinet_core.checkpoint.wire.protobuf import fields, read_varint

KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The name of the tensor that is the graph of the objects."""

_CHECKSUM_SIZE = 4


def canonical_names(text: bytes) -> Iterator[tuple[str, str]]:
    """Find MSI-Net's weights, without an optimizer's.

    Args:
        text: The tensor `KEY`: a length, a checksum, and the graph.

    Yields:
        A weight's canonical name, and a key of it. Keras' `Model.export` gives each variable two.

    Raises:
        ValueError: It is not a graph of objects.
        IndexError: It is cut off.
    """
    length, position = read_varint(text, 0)
    start = position + _CHECKSUM_SIZE
    if start + length > len(text):
        raise ValueError("the graph of its objects is cut off")
    return _weights(text[start : start + length])


def _weights(graph: bytes) -> Iterator[tuple[str, str]]:
    for number, node in fields(graph):
        if number != 1:
            continue
        for kind, value in fields(node):
            if kind != 2:
                continue
            attribute = dict(fields(value))
            key = attribute.get(3, b"").decode()
            name = names.weight_name(attribute.get(2, b"").decode())
            # An optimizer names its moments of a weight after the weight, too.
            if name and "optimizer" not in key.lower():
                yield name, key
