"""A network as data: named ops in order, their parameters, sizes, cost and fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar

from msinet_core.errors import GraphError, UsageError
from msinet_core.network.ops import OPS, GlobalMean, Input, Op, ResizeLike, Size

_Value = TypeVar("_Value")
Tensor = TypeVar("Tensor")
LayerBuilder = Callable[[Any, Sequence[Tensor], Mapping[str, Tensor]], Tensor]
"""Computes one op; called with the op, its input tensors and its parameters by role."""

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
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """A named op in a graph.

    Args:
        name: Unique in the graph; parameters are named after it.
        op: The op.
        inputs: The names of its input nodes, in order.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network: nodes in the order of computation, from one input to one output.

    Args:
        nodes: The first is the `Input`, the last is the output; inputs come before their nodes.

    Raises:
        GraphError: The nodes are not a valid graph; the message names the node.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        self._check_nodes()
        self.channels  # noqa: B018  -- every op checks its inputs' channels

    def _check_nodes(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0].op, Input):
            raise GraphError("A graph must begin with an Input node")
        seen: set[str] = set()
        for node in self.nodes:
            if not node.name or node.name in seen:
                raise GraphError(f"Node name '{node.name}' is empty or used twice")
            if isinstance(node.op, Input) and seen:
                raise GraphError(f"Node '{node.name}': only the first node may be an Input")
            for name in node.inputs:
                if name not in seen:
                    raise GraphError(f"Node '{node.name}': its input '{name}' does not precede it")
            arity = node.op.arity
            if (arity is None and len(node.inputs) < 2) or (arity not in (None, len(node.inputs))):
                raise GraphError(
                    f"Node '{node.name}': {type(node.op).__name__} takes "
                    f"{'two or more' if arity is None else arity} inputs, got {len(node.inputs)}"
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
        return self._computed({}, lambda op, channels: op.output_channels(channels))

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

        This is the largest reduction in the graph: other sizes lose a partial window in pooling and
        come out smaller.
        """

        def reduction(op: Op, before: list[Fraction]) -> Fraction:
            if isinstance(op, GlobalMean):
                return Fraction(1)  # one value, which a later node resizes
            if isinstance(op, ResizeLike):
                return before[1]
            return max(before) * Fraction(getattr(op, "strides", 1), getattr(op, "scale", 1))

        return int(max(self._computed({self.input.name: Fraction(1)}, reduction).values()))

    def check_image_size(self, size: Size) -> None:
        """Raise an error if maps would not have the size of the images.

        Args:
            size: Height and width of the images in pixels.

        Raises:
            UsageError: The size is invalid; the message names the nearest valid sizes.
        """
        multiple = self.size_multiple
        height, width = size
        if height % multiple or width % multiple or height < multiple or width < multiple:
            below = "x".join(str(max(axis // multiple, 1) * multiple) for axis in size)
            above = "x".join(str(max(-(-axis // multiple), 1) * multiple) for axis in size)
            raise UsageError(
                f"Invalid image size {height}x{width}: height and width must be multiples of "
                f"{multiple}, for example {' or '.join(dict.fromkeys([below, above]))}."
            )

    def sizes(self, size: Size) -> Mapping[str, Size]:
        """Return the height and width of each node's output.

        Args:
            size: Height and width of the input in pixels.

        Raises:
            GraphError: An op does not accept its input's size; the message names its node.
        """
        return self._computed({self.input.name: size}, lambda op, sizes: op.output_size(sizes))

    def _computed(
        self, values: dict[str, _Value], compute: Callable[[Op, list[_Value]], _Value]
    ) -> dict[str, _Value]:
        """Add what each node's op computes from the values of its inputs, in order."""
        for node in self.nodes:
            if node.name not in values:
                try:
                    values[node.name] = compute(node.op, _read(values, node))
                except GraphError as error:
                    raise GraphError(f"Node '{node.name}': {error}") from error
        return values

    def shapes(self, shape: tuple[int, int, int, int]) -> Mapping[str, tuple[int, int, int, int]]:
        """Return the shape ``(N, H, W, C)`` of each node's output.

        Args:
            shape: The input's ``(N, H, W, C)``.

        Raises:
            GraphError: The number of channels is wrong, or an op does not accept its input's size.
        """
        batch, height, width, channels = shape
        if channels != self.channels[self.input.name]:
            raise GraphError(
                f"The network takes {self.channels[self.input.name]} channels, got {channels}"
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
        before: Callable[[Node], object] = lambda node: None,
    ) -> Tensor:
        """Compute the output by calling a builder for each node in order.

        Args:
            builders: One for each type of op in the graph but `Input`.
            images: The device's own tensor of images, in its own format.
            parameters: The device's own tensor for each of the graph's `parameters`, by name.
            before: Called with each node before its builder, for builders that use its name.

        Returns:
            The output, in the device's own format.

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
            before(node)
            values[node.name] = builders[type(node.op)](node.op, _read(values, node), own)
            for name in node.inputs:  # so that an eager framework can free it
                if last_use[name] == node.name:
                    values.pop(name, None)
        return values[self.output.name]

    def check_builders(self, builders: Mapping[type, Any]) -> None:
        """Raise an error if an op of this graph has no builder.

        Args:
            builders: Builders by type of op.

        Raises:
            GraphError: Some ops have no builder; the message names them all.
        """
        missing = {type(node.op) for node in self.nodes[1:]} - set(builders)
        if missing:
            names = ", ".join(sorted(op.__name__ for op in missing))
            raise GraphError(f"The device has no layer builder for: {names}")

    def between(self, start: str, stop: str) -> Graph:
        """Return the part of the graph that computes `stop` from `start`.

        Args:
            start: The node whose output becomes the new graph's input.
            stop: The node that becomes the output.

        Raises:
            GraphError: A name is unknown, or `stop` depends on more than `start`.
        """
        for name in (start, stop):
            if name not in self.channels:
                raise GraphError(f"The graph has no node '{name}'")
        needed = {stop}
        for node in reversed(self.nodes):
            if node.name in needed and node.name != start:
                if not node.inputs:
                    raise GraphError(f"'{stop}' also depends on nodes before '{start}'")
                needed.update(node.inputs)
        head = Node(start, Input(self.channels[start]))
        return Graph((head, *(node for node in self.nodes if node.name in needed - {start})))

    def to_json(self) -> str:
        """Return the graph as JSON; equal graphs give equal text."""
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
            text: The result of `to_json`.

        Raises:
            GraphError: The text is not a graph, or contains an unknown op or attribute.
        """
        try:
            document = json.loads(text)
            if document["format"] != JSON_FORMAT:
                raise GraphError(
                    f"The graph has format {document['format']}, and this version of msinet reads "
                    f"format {JSON_FORMAT}; install a newer msinet"
                )
            return cls(tuple(_node_from_json(entry) for entry in document["nodes"]))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise GraphError(f"Not a graph in JSON: {error!r}") from error

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the graph."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


class GraphBuilder:
    """Build a graph node by node, in the order of computation.

    Args:
        channels: The number of input channels.
        name: The name of the input.
    """

    def __init__(self, channels: int = 3, name: str = "input") -> None:
        self._nodes = [Node(name, Input(channels))]
        self.input = name

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """Append a node and return its name.

        Args:
            name: The new node's name.
            op: Its op.
            inputs: The names of its input nodes.
        """
        self._nodes.append(Node(name, op, inputs))
        return name

    def build(self) -> Graph:
        """Return the graph; its output is the node added last."""
        return Graph(tuple(self._nodes))


def _node_from_json(entry: Mapping[str, Any]) -> Node:
    if entry["op"] not in OPS:
        raise GraphError(f"Node '{entry['name']}': unknown op {entry['op']}")
    attributes = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry["attributes"].items()
    }
    return Node(entry["name"], OPS[entry["op"]](**attributes), tuple(entry["inputs"]))


def _read(values: Mapping[str, _Value], node: Node) -> list[_Value]:
    return [values[name] for name in node.inputs]
