"""What a checkpoint is in memory, and what a file of any format holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint.guard import reason
from msinet_core.errors import CheckpointError, bullet_list, command, counted, printable
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Coordinates, Size
from msinet_core.network.state import OptimizerState, State, Tensors, find_mismatches
from msinet_core.system.threads import each

MAX_LISTED = 60
"""How many tensors a message lists: all of MSI-Net's 46 weights."""

_FEW = 6
"""Up to this many mismatches are all listed; more mean another network, and three suffice."""

_MAX_GROWTH, _MIN_MEMORY = 3, 2**26
"""How many times a file's size, plus how many bytes, its tensors may take."""

_MAX_PIXELS = 2**24
"""Of an image size in the metadata; predicting at that size takes gigabytes."""

_MAX_AXES = 32
"""Like NumPy's; a kernel has four."""

_MAX_STEP = 2**53
"""Devices compute Adam's bias correction in float64, which has no larger odd numbers."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what was saved with them, canonical and independent of any device.

    Args:
        graph: The network.
        state: Canonical weights, and Adam's moments or None.
        training: JSON-able: the trainer's position, history and configuration; None if the
            checkpoint holds weights only.
        metadata: JSON-able: where the weights come from (device, versions, dataset,
            image_size [H, W], epoch, step, created ...).
    """

    graph: Graph
    state: State
    training: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_size(self) -> Size | None:
        """Height and width in pixels that the weights were trained at; None if unknown.

        Raises:
            CheckpointError: The metadata hold something else.
        """
        return image_size_of(self.metadata)


def image_size_of(metadata: Mapping[str, Any]) -> Size | None:
    """Return the image size in a checkpoint's metadata, in pixels; None if there is none.

    Args:
        metadata: Of the checkpoint.

    Raises:
        CheckpointError: The metadata hold something else.
    """
    size = metadata.get("image_size")
    if size is None:
        return None
    try:
        height, width = (int(axis) for axis in size)
        if min(height, width) < 1 or height * width > _MAX_PIXELS:
            raise ValueError
        return height, width
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"Invalid image_size in checkpoint: {size!r}; use --image-size HxW."
        ) from error


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file that has not been read yet.

    Args:
        shape: As the file declares it; canonical.
        dtype: As the file declares it.
        has_checksum: Whether the file holds a checksum of the values.
        read: Reads and verifies the tensor; raises `CheckpointError` with a short reason. Several
            tensors of a file are read at the same time.
    """

    shape: tuple[int, ...]
    dtype: str
    has_checksum: bool
    read: Callable[[], NDArray[np.float32]]

    def load(self) -> NDArray[np.float32]:
        """Read and verify the tensor.

        Raises:
            CheckpointError: It is damaged; the message is a short reason.
        """
        try:
            return self.read()
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(reason(error)) from error

    @property
    def bytes(self) -> int:
        """The memory that it takes as float32."""
        return 4 * math.prod(self.shape)


StoredTensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class StoredOptimizer:
    """Adam's moments in a file; they have not been read yet.

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
    """What a file of any format holds: names and shapes are known, no tensor has been read yet.

    Args:
        path: The file, for messages.
        weights: By canonical name.
        optimizer: Adam's moments, if the file holds them.
        graph: The network it was written for, if the file holds it.
        metadata: Where the weights come from, as far as the file knows.
        read_training: Reads what the trainer saved; returns None if the file holds nothing of it.
        unused: Names that are recognized but not needed, such as another optimizer's state.
        files: The files on disk, if that is not `path` alone.
        resize: The coordinates of the resizes in another program's description of the network.

    Raises:
        CheckpointError: The optimizer's step or a tensor's number of axes is impossible.
    """

    path: Path
    weights: StoredTensors
    optimizer: StoredOptimizer | None = None
    graph: Graph | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    read_training: Callable[[], Mapping[str, Any] | None] = lambda: None
    unused: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resize: frozenset[Coordinates] = frozenset()

    def __post_init__(self) -> None:
        # Names are escaped here, so that messages and tables can show them as they are.
        object.__setattr__(self, "weights", self._checked(self.weights))
        object.__setattr__(self, "unused", tuple(map(printable, self.unused)))
        if self.optimizer is not None:
            if not 0 <= self.optimizer.step <= _MAX_STEP:
                raise CheckpointError(
                    f"{self.path} is damaged: its optimizer step is {self.optimizer.step}."
                )
            moments = self._checked(self.optimizer.m), self._checked(self.optimizer.v)
            optimizer = StoredOptimizer(self.optimizer.step, *moments)
            object.__setattr__(self, "optimizer", optimizer)

    def _checked(self, tensors: StoredTensors) -> StoredTensors:
        for name, tensor in tensors.items():
            if len(tensor.shape) > _MAX_AXES:
                raise CheckpointError(
                    f"{self.path} is refused: '{printable(name)}' has {len(tensor.shape):,} axes."
                )
        return {printable(name): tensor for name, tensor in tensors.items()}

    @property
    def size(self) -> int:
        """The size on disk in bytes."""
        return sum(file.stat().st_size for file in self.files or (self.path,))

    @property
    def max_bytes(self) -> int:
        """The most memory that its tensors may take: they can be repeated or compressed."""
        return _MAX_GROWTH * self.size + _MIN_MEMORY

    @property
    def network(self) -> Graph:
        """The file's network; the published one if the file holds none."""
        return msinet_graph() if self.graph is None else self.graph

    def groups(self, graph: Graph) -> Mapping[str, StoredTensors]:
        """Return every stored tensor, in groups named as in the native format.

        Args:
            graph: Its order of computation is that of the tensors; unknown ones come last.
        """
        groups = {"weights": self.weights}
        if self.optimizer is not None:
            groups |= {"optimizer/m": self.optimizer.m, "optimizer/v": self.optimizer.v}
        order = [parameter.name for parameter in graph.parameters]
        return {
            group: {name: stored[name] for name in (*order, *sorted(stored)) if name in stored}
            for group, stored in groups.items()
        }

    def weights_only(self) -> Archive:
        """Return the archive without Adam's moments, so that they are not read."""
        return replace(self, optimizer=None)

    def mismatches(self, graph: Graph) -> list[str]:
        """List every way in which the stored tensors do not fit a graph, from their shapes alone.

        A weight's moments are left out if they differ just as the weight does.

        Args:
            graph: The network they are for.
        """
        return find_mismatches(graph, *self.groups(graph).values())

    def read_state(self, graph: Graph, options: Mapping[str, object] | None = None) -> State:
        """Read and verify every tensor, after comparing the declared shapes with the graph's.

        Args:
            graph: The network they are for.
            options: Those of the command line that the suggested command must repeat.

        Raises:
            CheckpointError: Lists every tensor that does not fit, or every damaged one; or the
                tensors would take more than `max_bytes`.
        """
        mismatches = self.mismatches(graph)
        if mismatches:
            hint = ""
            if self.graph is None and graph in (msinet_graph(), msinet_graph(resize="half_pixel")):
                words = "convert", self.path, "NEW.msinet.h5"
                convert = command(*words, network="CHECKPOINT", **(options or {}))
                hint = (
                    f" If it belongs to a network other than the published one (another width, for "
                    f"example), name a checkpoint of that network: {convert}"
                )
            raise CheckpointError(
                f"{self.path} does not fit the network, which has {len(graph.parameters)} weights; "
                f"{counted(len(mismatches), 'tensor differs', 'tensors differ')}:\n"
                f"{list_mismatches(mismatches)}\n"
                f"Use a checkpoint of this network; {command('inspect', self.path)} shows every "
                f"tensor in the file.{hint}"
            )
        groups = self.groups(graph)
        declared = sum(tensor.bytes for stored in groups.values() for tensor in stored.values())
        if declared > self.max_bytes:
            raise CheckpointError(
                f"{self.path} is truncated or made to exhaust memory: its tensors would take "
                f"{declared:,} bytes, and the file has {self.size:,}. Copy or download it again."
            )
        damage: list[str] = []
        tensors = {group: _read_all(group, stored, damage) for group, stored in groups.items()}
        if damage:
            raise CheckpointError(damage_message(self.path, damage))
        if self.optimizer is None:
            return State(tensors["weights"])
        moments = tensors["optimizer/m"], tensors["optimizer/v"]
        return State(tensors["weights"], OptimizerState(self.optimizer.step, *moments))


def damage_message(path: Path | str, damage: list[str]) -> str:
    """Say that a file is damaged, and where.

    Args:
        path: The file.
        damage: A line for each damaged part.
    """
    return (
        f"{path} is damaged:\n{bullet_list(damage, MAX_LISTED)}\n"
        f"Copy or download it again, or use another checkpoint."
    )


def list_mismatches(mismatches: list[str]) -> str:
    """List mismatches: all if they are few, else the first three.

    Args:
        mismatches: The list from `Archive.mismatches`.
    """
    return bullet_list(mismatches, _FEW if len(mismatches) <= _FEW else 3)


def _read_all(group: str, stored: StoredTensors, damage: list[str]) -> Tensors:
    def read(tensor: StoredTensor) -> NDArray[np.float32] | CheckpointError:
        try:
            return tensor.load()
        except CheckpointError as error:
            return error

    tensors = {}
    for name, found in zip(stored, each(read, stored.values()), strict=True):
        if isinstance(found, CheckpointError):
            damage.append(f"{group}/{name}: {found}")
        else:
            tensors[name] = found
    return tensors
