"""JSON texts in files: networks and metadata, treated as untrusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from msinet_core.checkpoint.wire.limits import MAX_TEXT, MAX_VALUES
from msinet_core.errors import CheckpointError, GraphError
from msinet_core.network.graph import Graph, Node

_MAX_NETWORK = 2**20
"""Characters of a network's JSON; the published one has 8,000."""

_MAX_OUTPUT = 1024
"""Values in a node's output for each pixel of an image; the published network has 64."""

_MAX_EXTENT = 512
"""Pixels that a window spans; the published network has 25."""

_PIXELS = 1024
"""Height and width, at least, of the image for which outputs are counted."""


def parse_object(text: str, path: Path, name: str) -> Mapping[str, Any]:
    """Read a JSON object.

    Args:
        text: The JSON.
        path: The file, for messages.
        name: What it is, for messages.

    Raises:
        CheckpointError: It is not a JSON object, or too long.
    """
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its {name} cannot be used: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: its {name} is a {type(value).__name__}, not an object.")
    return value


def parse_network(text: str, path: Path) -> Graph:
    """Read a network, and refuse one that would take enormous amounts of memory.

    Args:
        text: The result of `Graph.to_json`.
        path: The file, for messages.

    Raises:
        CheckpointError: It is not a network, or too large.
    """
    try:
        _parse(text, _MAX_NETWORK)
        graph = Graph.from_json(text)
        for node in graph.nodes:
            _check_attributes(node)
        _check_memory(graph)
    except (GraphError, ValueError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path}: its network cannot be used: {error}.") from error
    return graph


def _parse(text: str, limit: int = MAX_TEXT) -> Any:
    if len(text) > limit:
        raise ValueError(f"{len(text):,} characters, more than {limit:,}")
    if sum(map(text.count, "[{,")) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    return json.loads(text)


def _check_attributes(node: Node) -> None:
    """Check the types of an op's attributes, which Python does not."""
    if not node.name.isprintable():
        raise GraphError(f"Node {node.name!r}: its name has control characters")
    for attribute in fields(node.op):
        value, kind = getattr(node.op, attribute.name), type(attribute.default)
        numbers = value if isinstance(value, tuple) else (value,)
        if (
            type(value) not in ((float, int) if kind is float else (kind,))
            or (kind is tuple and any(type(number) not in (float, int) for number in numbers))
            or any(isinstance(number, float) and not math.isfinite(number) for number in numbers)
        ):
            raise GraphError(f"Node '{node.name}': invalid {attribute.name} {value!r}")
    for name in ("extent", "pool_size", "strides"):
        if getattr(node.op, name, 0) > _MAX_EXTENT:
            raise GraphError(f"Node '{node.name}': its {name} is above {_MAX_EXTENT} pixels")


def _check_memory(graph: Graph) -> None:
    size = -(-_PIXELS // graph.size_multiple) * graph.size_multiple
    for name, (height, width) in graph.sizes((size, size)).items():
        if height * width * graph.channels[name] > _MAX_OUTPUT * size**2:
            raise GraphError(
                f"Node '{name}' would compute more than {_MAX_OUTPUT:,} values for each pixel of "
                f"the image"
            )
