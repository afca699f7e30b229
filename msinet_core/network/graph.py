"""A network as data: named ops in order, their parameters, sizes, cost and fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar

from msinet_core.errors import GraphError, UsageError
from msinet_core.network.ops import OPS, GlobalMean, Input, Op, Resize, ResizeLike, Size

__all__ = [
    "JSON_FORMAT",
    "Graph",
    "GraphBuilder",
    "LayerBuilder",
    "Node",
    "Parameter",
    "Tensor",
]

Tensor = TypeVar("Tensor")
LayerBuilder = Callable[[Any, Sequence[Tensor], Mapping[str, Tensor]], Tensor]
"""Computes one op: called with the op, its inputs and its parameters by role."""

JSON_FORMAT = 1


@dataclass(frozen=True)
class Parameter:
    """One trained tensor of a graph.

    Args:
        name: The node's name and the role, for example ``conv1/conv1_1/kernel``.
        role: ``"kernel"`` or ``"bias"``.
        shape: Canonical: HWIO for a kernel, ``(filters,)`` for a bias.
    """

    name: str
    role: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of values."""
        product = 1
        for axis in self.shape:
            product *= axis
        return product


@dataclass(frozen=True)
class Node:
    """An op at its place in a graph.

    Args:
        name: Unique in the graph; parameters are named after it.
        op: What is computed.
        inputs: The names of the nodes it reads, in order.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network: nodes in the order of computation, from one input to one output.

    Args:
        nodes: The first is the `Input`, the last is the output; each reads earlier ones only.

    Raises:
        GraphError: The nodes do not make a graph; the message names the node.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        self._check_nodes()
        self.channels  # noqa: B018  -- every op checks its inputs' channels

    def _check_nodes(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0].op, Input):
            raise GraphError("A graph begins with an Input node.")
        seen: set[str] = set()
        for node in self.nodes:
            if not node.name or node.name in seen:
                raise GraphError(f"Node name '{node.name}' is empty or used twice.")
            if isinstance(node.op, Input) and seen:
                raise GraphError(f"Node '{node.name}': a graph has one Input, the first node.")
            for name in node.inputs:
                if name not in seen:
                    raise GraphError(f"Node '{node.name}' reads '{name}', which is not before it.")
            arity = node.op.arity
            if (arity is None and len(node.inputs) < 2) or (arity not in (None, len(node.inputs))):
                wanted = "two or more" if arity is None else arity
                raise GraphError(
                    f"Node '{node.name}': {type(node.op).__name__} takes {wanted} inputs. "
                    f"Received: {len(node.inputs)}"
                )
            seen.add(node.name)

    @property
    def input(self) -> Node:
        """The first node."""
        return self.nodes[0]

    @property
    def output(self) -> Node:
        """The last node."""
        return self.nodes[-1]

    @cached_property
    def channels(self) -> Mapping[str, int]:
        """The number of output channels of each node."""
        channels: dict[str, int] = {}
        for node in self.nodes:
            if isinstance(node.op, Input):
                channels[node.name] = node.op.channels
            else:
                with _NodeNamed(node):
                    channels[node.name] = node.op.output_channels(_read(channels, node))
        return channels

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every trained tensor, in the order of computation."""
        return tuple(
            Parameter(f"{node.name}/{role}", role, tuple(shape))
            for node in self.nodes
            if node.inputs
            for role, shape in node.op.parameter_shapes(_read(self.channels, node)).items()
        )

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""
        return sum(parameter.size for parameter in self.parameters)

    @cached_property
    def size_multiple(self) -> int:
        """The number of pixels that height and width must be a multiple of.

        It is the strongest reduction inside the graph, so that whatever is pooled away in whole
        windows comes back when the decoder enlarges.
        """
        reduction: dict[str, Fraction] = {}
        for node in self.nodes:
            if isinstance(node.op, Input):
                reduction[node.name] = Fraction(1)
            elif isinstance(node.op, ResizeLike):
                reduction[node.name] = reduction[node.inputs[1]]
            elif isinstance(node.op, GlobalMean):
                reduction[node.name] = Fraction(1)  # one value: resized by whoever reads it
            else:
                before = max(_read(reduction, node))
                factor = Fraction(getattr(node.op, "strides", 1))
                if isinstance(node.op, Resize):
                    factor = Fraction(1, node.op.scale)
                reduction[node.name] = before * factor
        return int(max(reduction.values()))

    def check_image_size(self, size: Size) -> None:
        """Refuse an image size that the network would not return unchanged.

        Args:
            size: Height and width in pixels.

        Raises:
            UsageError: Names the nearest valid sizes.
        """
        multiple = self.size_multiple
        height, width = size
        if height % multiple or width % multiple or height < multiple or width < multiple:
            below = "x".join(str(max(axis // multiple, 1) * multiple) for axis in size)
            above = "x".join(str(max(-(-axis // multiple), 1) * multiple) for axis in size)
            raise UsageError(
                f"Invalid image size {height}x{width}: height and width must be multiples of "
                f"{multiple}, because the network shrinks images by that factor and enlarges them "
                f"again. Try {' or '.join(dict.fromkeys([below, above]))}."
            )

    def sizes(self, size: Size) -> Mapping[str, Size]:
        """Give height and width of each node's output.

        Args:
            size: Height and width of the input in pixels.

        Raises:
            GraphError: An op cannot be applied to that size; the message names its node.
        """
        sizes: dict[str, Size] = {}
        for node in self.nodes:
            if isinstance(node.op, Input):
                sizes[node.name] = size
            else:
                with _NodeNamed(node):
                    sizes[node.name] = node.op.output_size(_read(sizes, node))
        return sizes

    def shapes(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, int, int, int]]:
        """Give the shape ``(N, H, W, C)`` of each node's output.

        Args:
            shape: The input's ``(N, H, W, C)``.

        Raises:
            GraphError: The channels are not the input's, or an op cannot be applied.
        """
        batch, height, width, channels = shape
        if channels != self.channels[self.input.name]:
            raise GraphError(
                f"The graph takes {self.channels[self.input.name]} channels. Received: {channels}"
            )
        return {
            name: (batch, *size, self.channels[name])
            for name, size in self.sizes((height, width)).items()
        }

    def flops(self, size: Size) -> int:
        """Count the floating-point operations of one forward pass over one image.

        Args:
            size: Height and width of the image in pixels.
        """
        sizes = self.sizes(size)
        return sum(
            node.op.flops(_read(self.channels, node), sizes[node.name])
            for node in self.nodes
            if node.inputs
        )

    def apply(
        self,
        builders: Mapping[type, LayerBuilder[Tensor]],
        images: Tensor,
        parameters: Mapping[str, Tensor],
    ) -> Tensor:
        """Compute the output by calling a builder for each node in order.

        This is the only walk over the network: a device brings builders, never a network.

        Args:
            builders: One for each type of op in the graph but `Input`.
            images: What the builders take as the input, in the device's own format.
            parameters: The device's own tensor for each name in `parameters`.

        Raises:
            GraphError: An op has no builder.
        """
        self.check_builders(builders)
        last_use = {name: node.name for node in self.nodes for name in node.inputs}
        values = {self.input.name: images}
        for node in self.nodes[1:]:
            own = {
                role: parameters[f"{node.name}/{role}"]
                for role in node.op.parameter_shapes(_read(self.channels, node))
            }
            inputs = _read(values, node)
            values[node.name] = builders[type(node.op)](node.op, inputs, own)
            for name in node.inputs:  # an eager framework frees what nobody reads again
                if last_use[name] == node.name:
                    values.pop(name, None)
        return values[self.output.name]

    def check_builders(self, builders: Mapping[type, Any]) -> None:
        """Refuse a table of builders that leaves an op of this graph out.

        Args:
            builders: The table.

        Raises:
            GraphError: Names every op without a builder.
        """
        missing = {type(node.op) for node in self.nodes[1:]} - set(builders)
        if missing:
            names = ", ".join(sorted(op.__name__ for op in missing))
            raise GraphError(f"No layer builder for: {names}. The device's plugin must add it.")

    def between(self, start: str, stop: str) -> Graph:
        """Cut out the part that computes `stop` from `start`.

        Args:
            start: The node whose output becomes the new graph's input.
            stop: The node that becomes the output.

        Raises:
            GraphError: A name is unknown, or `stop` needs more than `start`.
        """
        by_name = {node.name: node for node in self.nodes}
        for name in (start, stop):
            if name not in by_name:
                raise GraphError(f"The graph has no node '{name}'.")
        needed: set[str] = set()
        waiting = [stop]
        while waiting:
            name = waiting.pop()
            if name not in needed and name != start:
                if isinstance(by_name[name].op, Input):
                    raise GraphError(f"'{stop}' also needs what lies before '{start}'.")
                needed.add(name)
                waiting.extend(by_name[name].inputs)
        head = Node(start, Input(self.channels[start]))
        return Graph((head, *(node for node in self.nodes if node.name in needed)))

    def to_json(self) -> str:
        """Write the graph as JSON; equal graphs give equal text."""
        nodes = [
            {
                "name": node.name,
                "op": type(node.op).__name__,
                "attributes": asdict(node.op),
                "inputs": list(node.inputs),
            }
            for node in self.nodes
        ]
        return json.dumps({"format": JSON_FORMAT, "nodes": nodes}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read a graph from JSON.

        Args:
            text: What `to_json` wrote.

        Raises:
            GraphError: The text is not a graph, or names an op or attribute unknown here.
        """
        try:
            document = json.loads(text)
            if document["format"] != JSON_FORMAT:
                raise GraphError(
                    f"The graph is written in format {document['format']}; this version reads "
                    f"format {JSON_FORMAT}. Install a newer msinet."
                )
            return cls(tuple(_node_from_json(entry) for entry in document["nodes"]))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise GraphError(f"Not the JSON of a graph: {error!r}") from error

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ when the graph differs."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


class GraphBuilder:
    """Write a graph down in the order of computation."""

    def __init__(self, channels: int = 3, name: str = "input") -> None:
        """Begin with the input.

        Args:
            channels: The input's number of channels.
            name: The input's name.
        """
        self._nodes = [Node(name, Input(channels))]
        self.input = name

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """Append a node and return its name.

        Args:
            name: The new node's name.
            op: What it computes.
            inputs: The names of the nodes it reads.
        """
        self._nodes.append(Node(name, op, inputs))
        return name

    def build(self) -> Graph:
        """Return the graph; its output is the node added last."""
        return Graph(tuple(self._nodes))


def _node_from_json(entry: Mapping[str, Any]) -> Node:
    if entry["op"] not in OPS:
        raise GraphError(f"Node '{entry['name']}' is a {entry['op']}, an op unknown here.")
    attributes = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry["attributes"].items()
    }
    return Node(entry["name"], OPS[entry["op"]](**attributes), tuple(entry["inputs"]))


_Value = TypeVar("_Value")


def _read(values: Mapping[str, _Value], node: Node) -> list[_Value]:
    return [values[name] for name in node.inputs]


class _NodeNamed:
    """Put the node's name in front of what its op complains about."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, GraphError):
            raise GraphError(f"Node '{self._node.name}': {error}") from error
