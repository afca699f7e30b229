"""Find nodes of traced steps that have no GPU kernel or keep float data in host memory.

`audit` walks the graphs of concrete functions and of all functions they call, and looks up each
node in the device's kernel table. The doctors of `cuda` and `metal` share the findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msinet_core import (
    DEFAULT_IMAGE_SIZE,
    AuditProblem,
    AuditReport,
    Finding,
    Graph,
    ProblemKind,
    untrained_program,
)
from msinet_tensorflow.versions import import_trouble, installed_wheels

if TYPE_CHECKING:
    from msinet_tensorflow.device import TensorFlowDevice

IMAGES = (1, *DEFAULT_IMAGE_SIZE, 3)
"""The shape of the images that steps are traced for, ``(N, H, W, C)``."""

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64", "complex64", "complex128"})


@dataclass(frozen=True)
class Kernel:
    """A registered kernel that a node on the GPU can use.

    Args:
        device: ``"GPU"``, or ``"DEFAULT"`` for a kernel of every device.
        constraints: The supported dtypes of each type attribute, by the attribute's name.
        host_memory: The inputs and outputs that must be in host memory.
    """

    device: str
    constraints: Mapping[str, frozenset[str]]
    host_memory: frozenset[str]


KernelTable = Mapping[str, Sequence[Kernel]]
"""The kernels of each op."""


@dataclass(frozen=True)
class NodeTypes:
    """A node with the dtypes that select its kernel.

    Args:
        name: The node's name in its function.
        op: The op's name.
        attributes: The dtypes of each type attribute; a list attribute can have several.
        arguments: The name and dtypes of each input and output in the op's definition.
    """

    name: str
    op: str
    attributes: Mapping[str, tuple[str, ...]]
    arguments: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def dtypes(self) -> str:
        """The type attributes as text."""
        return ", ".join(f"{name}={'|'.join(types)}" for name, types in self.attributes.items())


def audit(functions: Mapping[str, Any], table: KernelTable) -> AuditReport:
    """Look up the GPU kernel of every node of concrete functions and of the functions they call.

    The graphs are audited as traced, before TensorFlow's optimizer (constant folding, fusion)
    rewrites them.

    Args:
        functions: Concrete functions by the name that problems refer to.
        table: The available kernels.
    """
    graphs = {name: function.graph.as_graph_def() for name, function in functions.items()}
    return audit_graphs(graphs, table)


def audit_graphs(graphs: Mapping[str, Any], table: KernelTable) -> AuditReport:
    """Look up the GPU kernel of every node of graphs and of the functions they call.

    Args:
        graphs: A ``GraphDef`` by the name that problems refer to.
        table: The available kernels.
    """
    counts: Counter[str] = Counter()
    problems = []
    walked = 0
    for name, graph in graphs.items():
        for path, nodes in walk(graph, name):
            walked += 1
            for node in nodes:
                counts[node.op] += 1
                problem = examine_node(node, table, path)
                if problem is not None:
                    problems.append(problem)
    return AuditReport(dict(counts), walked, tuple(problems))


def examine_node(node: NodeTypes, table: KernelTable, function: str = "") -> AuditProblem | None:
    """Return why the GPU cannot compute a node; None if it can.

    Args:
        node: The node.
        table: The available kernels.
        function: The function that holds the node.
    """

    def problem(kind: ProblemKind, why: str) -> AuditProblem:
        return AuditProblem(function, node.name, node.op, node.dtypes, kind, why)

    kernels = table.get(node.op, ())
    if not kernels:
        return problem("no kernel", f"{node.op} has no GPU kernel.")
    kernel = find_kernel(node, kernels)
    if kernel is None:
        return problem(
            "no kernel", f"{node.op} has no GPU kernel for {node.dtypes or 'this node'}."
        )
    hosted = [
        argument
        for argument, dtypes in node.arguments
        if argument in kernel.host_memory and not FLOATS.isdisjoint(dtypes)
    ]
    if hosted:
        return problem(
            "through the host", f"{node.op} keeps float data in host memory: {', '.join(hosted)}."
        )
    return None


def find_kernel(node: NodeTypes, kernels: Sequence[Kernel]) -> Kernel | None:
    """Return the kernel that computes a node; a GPU kernel is preferred over a default kernel.

    Args:
        node: The node.
        kernels: The kernels of its op.
    """
    matching = [kernel for kernel in kernels if _supports(kernel, node)]
    return min(matching, key=lambda kernel: kernel.device != "GPU", default=None)


def _supports(kernel: Kernel, node: NodeTypes) -> bool:
    return all(
        attribute in node.attributes and allowed.issuperset(node.attributes[attribute])
        for attribute, allowed in kernel.constraints.items()
    )


def walk(graph: Any, name: str) -> Iterator[tuple[str, Iterator[NodeTypes]]]:
    """Yield the nodes of a graph and of each function that its nodes refer to, once each.

    Calls, branches and loop bodies are functions that a node has as an attribute; so are gradients
    that TensorFlow derives at run time.

    Args:
        graph: A ``GraphDef`` with its library.
        name: The name of the graph; its functions are called ``name/function``.
    """
    library = {function.signature.name: function for function in graph.library.function}
    gradients = {entry.function_name: entry.gradient_func for entry in graph.library.gradient}
    waiting, seen = [(name, graph.node)], set()
    while waiting:
        path, nodes = waiting.pop(0)
        yield path, (_node_types(node, library) for node in nodes)
        for called in _called(nodes, library, gradients):
            if called not in seen:
                seen.add(called)
                waiting.append((f"{name}/{called}", library[called].node_def))


def _called(nodes: Any, library: Mapping[str, Any], gradients: Mapping[str, str]) -> Iterator[str]:
    for node in nodes:
        names = [node.op]  # an op named like a function calls it
        for value in node.attr.values():
            names += [value.func.name, *(function.name for function in value.list.func)]
        names += [gradients[name] for name in names if name in gradients]
        yield from (name for name in names if name in library)


def _node_types(node: Any, library: Mapping[str, Any]) -> NodeTypes:
    """Read dtypes from a ``NodeDef`` and the definition of its op."""
    from tensorflow.python.framework import op_def_registry

    called = library.get(node.op)
    definition = called.signature if called else op_def_registry.get(node.op)
    attributes = {
        attribute.name: _dtypes(node, attribute.name)
        for attribute in definition.attr
        if attribute.type in ("type", "list(type)")
    }
    arguments = (
        (argument.name, _argument_dtypes(argument, attributes))
        for argument in (*definition.input_arg, *definition.output_arg)
    )
    return NodeTypes(node.name, node.op, attributes, tuple(arguments))


def _dtypes(node: Any, attribute: str) -> tuple[str, ...]:
    value = node.attr[attribute]
    return tuple(_dtype_name(number) for number in (value.list.type or [value.type]) if number)


def _argument_dtypes(argument: Any, attributes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if argument.type_attr or argument.type_list_attr:
        return attributes[argument.type_attr or argument.type_list_attr]
    return (_dtype_name(argument.type),)


def _dtype_name(number: int) -> str:
    from tensorflow import dtypes

    name: str = dtypes.as_dtype(number).name
    return name


# The parts that the doctors of devices share.


def trace_steps(
    device: TensorFlowDevice, graph: Graph, images: tuple[int, int, int, int] = IMAGES
) -> Mapping[str, Any]:
    """Trace the steps of a network on a device, without running them.

    Args:
        device: The device.
        graph: The network.
        images: The shape of the images, ``(N, H, W, C)``.

    Returns:
        A concrete function by the step's name.
    """
    return device.build(untrained_program(graph)).concrete_steps(images)


def tensorflow_missing(install: str) -> Finding | None:
    """Return the finding that TensorFlow, which tracing needs, cannot be imported; None if it can.

    Args:
        install: The command that installs it.
    """
    title, detail = "kernel audit", "Tracing the steps requires TensorFlow: "
    if trouble := import_trouble():
        reason, fix = trouble
        return Finding(title, "problem", detail + reason, fix)
    if installed_wheels():
        return None
    return Finding(title, "note", f"{detail}it is not installed.", install)
