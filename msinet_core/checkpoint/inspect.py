"""Describe what a checkpoint file holds, and whether it is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.formats import safetensors
from msinet_core.checkpoint.guard import reading
from msinet_core.checkpoint.published import resolve_weights
from msinet_core.data.split import StoredSplit
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress


@dataclass(frozen=True)
class NetworkSummary:
    """The network in a file.

    Args:
        fingerprint: Differs if the network differs.
        nodes: The number of nodes.
        parameters: The number of parameters.
    """

    fingerprint: str
    nodes: int
    parameters: int


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of a file.

    Args:
        group: ``"weights"``, ``"optimizer/m"`` or ``"optimizer/v"``.
        name: Canonical, or as in the file if its layout is unknown.
        shape: As `name`.
        dtype: In the file.
        checksum: ``"ok"``, ``"none"`` or ``"damaged"``.
        min: Of the finite values; None if the tensor is damaged or has none.
        max: As `min`.
        mean: As `min`.
        not_finite: The number of NaN and infinite values; None if the tensor is damaged.
    """

    group: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    checksum: str
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    not_finite: int | None = None


@dataclass(frozen=True)
class Description:
    """What a checkpoint file holds; `dataclasses.asdict` makes it JSON-able.

    Args:
        file: The path.
        format: The format's name.
        title: The format's name for people.
        bytes: The size on disk.
        graph: The network; None if the format holds none.
        published: Whether it is the published network.
        metadata: Where the weights come from.
        optimizer_step: The number of steps that Adam's moments are from; None without them.
        training: The keys of the training record; None without one.
        tensors: Every tensor.
        unused: Names that are recognized but not needed.
        damage: A line for each damaged part; empty if the file is whole.
    """

    file: str
    format: str
    title: str
    bytes: int
    graph: NetworkSummary | None
    published: bool
    metadata: Mapping[str, Any]
    optimizer_step: int | None
    training: list[str] | None
    tensors: list[TensorSummary]
    unused: list[str]
    damage: list[str]


def inspect(path: str | Path, progress: bool | Progress = False) -> Description:
    """Read a checkpoint of any format and describe what it holds.

    Damaged tensors do not stop the reading: they are marked, and listed in ``damage``. If a
    safetensors file does not declare its kernels' layout, names and shapes are those in the file.

    Args:
        path: A file, the prefix of a TensorFlow checkpoint, or ``"published:DATASET"``.
        progress: Show the download of published weights.

    Raises:
        CheckpointError: The format is unknown, or there is damage outside the tensors.
        UsageError: The file does not exist.
    """
    path = resolve_weights(path, as_progress(progress))
    found = find_format(path)
    is_raw = found.name == safetensors.UNKNOWN_LAYOUT
    with reading(path):
        archive = safetensors.open_as_stored(path) if is_raw else found.open(path)
        graph = archive.graph
        damage = [] if graph is None else archive.mismatches(graph)
        _check_split(archive.metadata, damage)
        tensors, left = [], archive.max_bytes
        for group, stored in archive.groups(archive.network).items():
            for name, tensor in stored.items():
                tensors.append(_summarize_tensor(group, name, tensor, left, damage))
                left -= tensor.bytes if tensor.bytes <= left else 0
        return Description(
            file=str(archive.path),
            format=found.name,
            title=found.title,
            bytes=archive.size,
            graph=None if graph is None else _summarize_network(graph),
            published=_fits_as_stored(path) if is_raw else _is_published(archive),
            metadata=dict(archive.metadata),
            optimizer_step=None if archive.optimizer is None else archive.optimizer.step,
            training=_training_keys(archive, damage),
            tensors=tensors,
            unused=list(archive.unused),
            damage=damage,
        )


def _summarize_network(graph: Graph) -> NetworkSummary:
    return NetworkSummary(graph.fingerprint, len(graph.nodes), graph.parameter_count)


def _is_published(archive: Archive) -> bool:
    if archive.graph is not None:
        return archive.graph == msinet_graph()
    return not archive.weights_only().mismatches(msinet_graph())


def _fits_as_stored(path: Path) -> bool:
    try:
        return bool(safetensors.fitting_layouts(path, msinet_graph()))
    except CheckpointError:  # several tensors for one weight: shown all the same
        return False


def _check_split(metadata: Mapping[str, Any], damage: list[str]) -> None:
    try:
        StoredSplit.from_metadata(metadata)
    except CheckpointError as error:
        damage.append(str(error))


def _training_keys(archive: Archive, damage: list[str]) -> list[str] | None:
    try:
        training = archive.read_training()
    except CheckpointError as error:
        damage.append(str(error))
        return None
    return None if training is None else sorted(training)


def _summarize_tensor(
    group: str, name: str, tensor: StoredTensor, max_bytes: int, damage: list[str]
) -> TensorSummary:
    try:
        if tensor.bytes > max_bytes:
            raise CheckpointError(f"would take {tensor.bytes:,} bytes, far more than the file has")
        values = tensor.load()
    except CheckpointError as error:
        damage.append(f"{group}/{name}: {error}")
        return TensorSummary(group, name, tensor.shape, tensor.dtype, "damaged")
    checksum = "ok" if tensor.has_checksum else "none"
    finite = values[np.isfinite(values)]
    numbers = {}
    if finite.size:
        mean = float(finite.mean(dtype=np.float64))
        numbers = {"min": float(finite.min()), "max": float(finite.max()), "mean": mean}
    not_finite = values.size - finite.size
    return TensorSummary(
        group, name, tensor.shape, tensor.dtype, checksum, not_finite=not_finite, **numbers
    )
