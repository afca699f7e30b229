"""The result of looking up the GPU kernel of every op of a device's steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from msinet_core.network.adam import Adam
from msinet_core.network.loss import parse_loss
from msinet_core.network.state import State
from msinet_core.registry.doctor import Finding

if TYPE_CHECKING:
    from msinet_core.device.program import Program
    from msinet_core.network.graph import Graph

SHOWN_PROBLEMS = 10

ProblemKind = Literal["no kernel", "through the host"]


@dataclass(frozen=True)
class AuditProblem:
    """A node that the GPU cannot compute.

    Args:
        function: The audited step or function that has the node.
        node: The node's name; empty if nodes have no names.
        op: The op's name.
        dtype: The dtypes that select the kernel.
        kind: Whether the kernel is missing or keeps float data in host memory.
        why: The reason, a sentence.
    """

    function: str
    node: str
    op: str
    dtype: str
    kind: ProblemKind
    why: str


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit.

    Args:
        counts: The number of nodes of each op.
        functions: The number of audited steps or functions.
        problems: The problems, in the order of the nodes.
    """

    counts: Mapping[str, int]
    functions: int
    problems: tuple[AuditProblem, ...]

    @property
    def nodes(self) -> int:
        """The number of audited nodes."""
        return sum(self.counts.values())

    @property
    def passed(self) -> bool:
        """Whether nodes were audited and none has a problem."""
        return self.nodes > 0 and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values for JSON."""
        return {
            "passed": self.passed,
            "nodes": self.nodes,
            "functions": self.functions,
            "counts": dict(sorted(self.counts.items())),
            "problems": [asdict(problem) for problem in self.problems],
        }

    def finding(self, precision: str) -> Finding:
        """Return what a doctor shows of the audit.

        Args:
            precision: The dtype of convolutions in the audited steps.
        """
        title, data = f"kernel audit in {precision}", self.to_dict()
        if self.passed:
            detail = f"All {self.nodes} nodes have GPU kernels and keep float data off the host."
            return Finding(title, "ok", detail, data=data)
        lines = [
            ": ".join(filter(None, (item.function, item.node, item.why))) for item in self.problems
        ]
        if len(lines) > SHOWN_PROBLEMS:
            lines[SHOWN_PROBLEMS:] = [f"and {len(lines) - SHOWN_PROBLEMS} more; --json lists all."]
        count = f"{len(self.problems)} of {self.nodes} nodes cannot run on the GPU:"
        return Finding(title, "problem", "\n".join([count, *lines]), data=data)


def untrained_program(graph: Graph) -> Program:
    """Return a program for training with weights of zero, to trace or compile its steps.

    It has every loss and a factor on some learning rates, so that its ops are those of any run.

    Args:
        graph: The network.
    """
    import numpy as np

    from msinet_core.device.program import Program

    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    loss, optimizer = parse_loss("kld+cc+sim+nss"), Adam(factors=(("aspp/", 0.5),))
    return Program(graph, State(weights), loss, optimizer)
