"""What a checkpoint is in memory, and what an open file of any format looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msinet_core.checkpoint.threads import each
from msinet_core.errors import CheckpointError, bullet_list
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph
    from msinet_core.network.state import Tensors

MOST_LISTED = 60
"""How many tensors a message lists: every one of MSI-Net's 46 weights."""

FEW = 6
"""As many mismatches are a list; more are another network, of which three show enough."""

_WEIGHT = "weight "
_MOMENTS = ("first moment ", "second moment ")
"""How the lines of `State.mismatches` begin."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and whatever else was saved with them, canonical and free of any device.

    Args:
        graph: The network.
        state: Canonical weights, and Adam's memory or None.
        training: JSON-able: the trainer's position, history and configuration; None for weights
            only.
        metadata: JSON-able: where the weights come from (device, versions, dataset,
            image_size [H, W], epoch, step, created ...).
    """

    graph: Graph
    state: State
    training: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in an open file, not read yet.

    Args:
        shape: As the file declares it; canonical.
        dtype: As the file declares it.
        has_checksum: Whether the file tells a damaged tensor from a whole one.
        read: Reads and verifies it; raises `CheckpointError` with what is wrong in a few words.
            Several tensors of a file are read at the same time.
    """

    shape: tuple[int, ...]
    dtype: str
    has_checksum: bool
    read: Callable[[], NDArray[np.float32]]


StoredTensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class StoredOptimizer:
    """Adam's memory in an open file.

    Args:
        step: The number of steps made.
        m: First moment of each parameter.
        v: Second moment of each parameter.
    """

    step: int
    m: StoredTensors
    v: StoredTensors


@dataclass(frozen=True)
class Archive:
    """An open file of any format: names and shapes are known, no tensor is read yet.

    Args:
        path: The file, for messages.
        weights: By canonical name.
        optimizer: Adam's memory, where it is stored and understood.
        graph: The network it was written for, where the format tells.
        metadata: Where the weights come from, as far as the file tells.
        read_training: Reads what the trainer saved; None where the format holds nothing of it.
        unused: Names that were recognized and are of no use, such as another optimizer's memory.
        files: What it consists of on disk, where that is not `path` alone.
    """

    path: Path
    weights: StoredTensors
    optimizer: StoredOptimizer | None = None
    graph: Graph | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    read_training: Callable[[], Mapping[str, Any] | None] = lambda: None
    unused: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """The bytes it takes on disk."""
        return sum(file.stat().st_size for file in self.files or (self.path,))

    def groups(self, graph: Graph) -> Mapping[str, StoredTensors]:
        """Give every stored tensor, in groups named as in the native format.

        Args:
            graph: Whose order of computation the tensors are sorted by; others come last.
        """
        groups = {"weights": self.weights}
        if self.optimizer is not None:
            groups |= {"optimizer/m": self.optimizer.m, "optimizer/v": self.optimizer.v}
        places = {parameter.name: place for place, parameter in enumerate(graph.parameters)}
        return {
            group: {
                name: stored[name]
                for name in sorted(stored, key=lambda name: (places.get(name, len(places)), name))
            }
            for group, stored in groups.items()
        }

    def weights_only(self) -> Archive:
        """Leave out Adam's memory, so that it is not read."""
        return replace(self, optimizer=None)

    def mismatches(self, graph: Graph) -> list[str]:
        """List every way in which the stored tensors do not fit a graph, from their shapes alone.

        A weight's moments are left out where they differ just as the weight does.

        Args:
            graph: The network they are for.
        """
        # State.mismatches looks at names and shapes only, and stored tensors have both.
        found = State.mismatches(cast("State", self), graph)
        weights = {line.removeprefix(_WEIGHT) for line in found if line.startswith(_WEIGHT)}
        return [
            line
            for line in found
            if not line.startswith(_MOMENTS) or line.split(" moment ", 1)[1] not in weights
        ]

    def _way_out(self, graph: Graph) -> str:
        """Say how a file that does not tell its network is read where it is not the usual one."""
        if self.graph is not None or graph != msinet_graph():
            return ""
        return (
            f" If it is of another network than the published one (of another width, for example), "
            f"name a checkpoint that holds that network: "
            f"msinet-run convert {self.path} NEW.msinet.h5 --network CHECKPOINT"
        )

    def read_state(self, graph: Graph) -> State:
        """Read and verify every tensor, after comparing the declared shapes with the graph's.

        Args:
            graph: The network they are for.

        Raises:
            CheckpointError: Lists every tensor that does not fit, or every one that is damaged.
        """
        mismatches = self.mismatches(graph)
        if mismatches:
            raise CheckpointError(
                f"{self.path} does not fit the network: {summarize(mismatches, graph)}\n"
                f"{list_mismatches(mismatches)}\n"
                f"Use a checkpoint of this network; msinet-run inspect {self.path} shows every "
                f"tensor that it holds.{self._way_out(graph)}"
            )
        damage: list[str] = []
        tensors = {
            group: _read_all(group, stored, damage) for group, stored in self.groups(graph).items()
        }
        if damage:
            raise CheckpointError(
                f"{self.path} is damaged:\n{bullet_list(damage, MOST_LISTED)}\n"
                f"Copy or download it again, or use another checkpoint."
            )
        memory = None
        if self.optimizer is not None:
            memory = OptimizerState(
                self.optimizer.step, tensors["optimizer/m"], tensors["optimizer/v"]
            )
        return State(tensors["weights"], memory)


def summarize(mismatches: list[str], graph: Graph) -> str:
    """Say in a few words how much of a file does not fit.

    Args:
        mismatches: What `Archive.mismatches` lists.
        graph: The network that they do not fit.
    """
    weights = [line for line in mismatches if line.startswith(_WEIGHT)]
    shapes = sum("has shape" in line for line in weights)
    names = len(weights) - shapes
    told = [f"{shapes} of {len(graph.parameters)} weights have other shapes"] if shapes else []
    told += [f"{names} are missing or have no place in it"] if names else []
    if moments := len(mismatches) - len(weights):
        told += [f"{moments} of the optimizer's moments differ"]
    return ", ".join(told) + "."


def list_mismatches(mismatches: list[str]) -> str:
    """List mismatches: all if they are few, else the first.

    Args:
        mismatches: What `Archive.mismatches` lists.
    """
    return bullet_list(mismatches, len(mismatches) if len(mismatches) <= FEW else 3)


def _read_all(group: str, stored: StoredTensors, damage: list[str]) -> Tensors:
    def read(tensor: StoredTensor) -> NDArray[np.float32] | CheckpointError:
        try:
            return tensor.read()
        except CheckpointError as error:
            return error

    tensors = {}
    for name, found in zip(stored, each(read, stored.values()), strict=True):
        if isinstance(found, CheckpointError):
            damage.append(f"{group}/{name}: {found}")
        else:
            tensors[name] = found
    return tensors
