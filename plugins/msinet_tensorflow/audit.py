"""Find nodes of a traced step that have no GPU kernel, or take float data through the host.

`audit` walks the graphs of concrete functions and every function they call, and looks up each node
in a table of kernels that the device provides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64", "complex64", "complex128"})

Kind = Literal["no kernel", "through the host"]


@dataclass(frozen=True)
class Kernel:
    """One registration of a kernel that a node on the GPU can find.

    Args:
        device: ``"GPU"``, or ``"DEFAULT"`` for one that serves every device.
        constraints: The dtypes that each type attribute may have, by the attribute's name.
        host_memory: The arguments, of inputs and outputs, that it wants in host memory.
    """

    device: str
    constraints: Mapping[str, frozenset[str]]
    host_memory: frozenset[str]


KernelTable = Mapping[str, Sequence[Kernel]]
"""The kernels of each op."""


@dataclass(frozen=True)
class NodeTypes:
    """What decides which kernel computes a node.

    Args:
        name: The node's name in its function.
        op: The op's name.
        attributes: The dtypes in each type attribute; a list may have several.
        arguments: Name and dtypes of each input and output, as the op's definition names them.
    """

    name: str
    op: str
    attributes: Mapping[str, tuple[str, ...]]
    arguments: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def dtypes(self) -> str:
        """The type attributes for people."""
        return ", ".join(f"{name}={'|'.join(types)}" for name, types in self.attributes.items())


@dataclass(frozen=True)
class Problem:
    """A node that the GPU does not compute.

    Args:
        function: Which of the audited functions it belongs to, and the path of calls to it.
        node: Its name there.
        op: Its op.
        dtype: Its type attributes.
        kind: Whether there is no kernel, or one that has its data in host memory.
        why: A sentence.
    """

    function: str
    node: str
    op: str
    dtype: str
    kind: Kind
    why: str


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Args:
        counts: The number of nodes of each op.
        functions: The number of graphs that were walked.
        problems: In the order of the graphs.
    """

    counts: Mapping[str, int]
    functions: int
    problems: tuple[Problem, ...]

    @property
    def nodes(self) -> int:
        """How many nodes were audited."""
        return sum(self.counts.values())

    @property
    def passed(self) -> bool:
        """Whether there was something to audit and no problem in it."""
        return self.nodes > 0 and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "passed": self.passed,
            "nodes": self.nodes,
            "functions": self.functions,
            "counts": dict(sorted(self.counts.items())),
            "problems": [asdict(problem) for problem in self.problems],
        }


def audit(functions: Mapping[str, Any], table: KernelTable) -> AuditReport:
    """Look up the GPU kernel of every node of some functions and of the functions they call.

    The graphs are audited as they were traced. What TensorFlow rewrites before it runs them
    (constant folding, fusion) is not seen.

    Args:
        functions: Concrete functions, by the name that problems carry.
        table: The available kernels.
    """
    graphs = {name: function.graph.as_graph_def() for name, function in functions.items()}
    return audit_graphs(graphs, table)


def audit_graphs(graphs: Mapping[str, Any], table: KernelTable) -> AuditReport:
    """Look up the GPU kernel of every node of some graphs and of the functions they call.

    Args:
        graphs: A ``GraphDef`` each, by the name that problems carry.
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


def examine_node(node: NodeTypes, table: KernelTable, function: str = "") -> Problem | None:
    """Find what keeps a node from being computed on the GPU; None if nothing does.

    Args:
        node: The node.
        table: The available kernels.
        function: Where the node is, for the problem.
    """

    def problem(kind: Kind, why: str) -> Problem:
        return Problem(function, node.name, node.op, node.dtypes, kind, why)

    kernels = table.get(node.op, ())
    if not kernels:
        return problem("no kernel", f"{node.op} has no GPU kernel.")
    kernel = find_kernel(node, kernels)
    if kernel is None:
        return problem("no kernel", f"{node.op} has no GPU kernel for {node.dtypes or 'it'}.")
    hosted = [
        argument
        for argument, dtypes in node.arguments
        if argument in kernel.host_memory and not FLOATS.isdisjoint(dtypes)
    ]
    if hosted:
        return problem(
            "through the host", f"{node.op} has float data in host memory: {', '.join(hosted)}."
        )
    return None


def find_kernel(node: NodeTypes, kernels: Sequence[Kernel]) -> Kernel | None:
    """Return the kernel that computes a node; one for the GPU goes before one for every device.

    Args:
        node: The node.
        kernels: Those of its op.
    """
    fitting = [kernel for kernel in kernels if _fits(node, kernel)]
    return min(fitting, key=lambda kernel: kernel.device != "GPU", default=None)


def _fits(node: NodeTypes, kernel: Kernel) -> bool:
    return all(
        attribute in node.attributes and allowed.issuperset(node.attributes[attribute])
        for attribute, allowed in kernel.constraints.items()
    )


def walk(graph: Any, name: str) -> Iterator[tuple[str, Iterator[NodeTypes]]]:
    """Give the nodes of a graph, and of each function that a node names, once each.

    Calls, both sides of a condition and the parts of a loop are functions that a node has as an
    attribute; so are gradients that TensorFlow derives when it runs.

    Args:
        graph: A ``GraphDef`` with its library.
        name: What the graph is called; those below it are called ``name/function``.
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
        names = [node.op]  # a function can be called by an op of its own name
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
