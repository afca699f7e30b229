"""What a checkpoint file holds and whether it is whole, for `msinet-run inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import safetensors
from msinet_core.checkpoint.archive import Archive, StoredTensor
from msinet_core.checkpoint.formats import find_format
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph

if TYPE_CHECKING:
    from msinet_core.network.graph import Graph


def describe(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint of any format through and tell what is in it; JSON-able.

    Damaged tensors do not stop the reading: they are marked, and listed under ``damage``. Where
    safetensors do not tell their kernels' layout, names and shapes are those in the file.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Returns:
        ``file``, ``format``, ``title``, ``bytes``, ``graph`` (fingerprint, nodes, parameters; None
        where the format holds none), ``published`` (whether it is the published network),
        ``metadata``, ``optimizer_step`` and ``training`` (the record's keys) or None, ``tensors``
        (``group``, ``name``, ``shape``, ``dtype``, ``checksum``: ``"ok"``, ``"none"`` or
        ``"damaged"``, ``min``, ``max``, ``mean``, ``not_finite``), ``unused`` names, and
        ``damage``: sentences, none where the file is whole.

    Raises:
        CheckpointError: There is nothing to describe: no such file, no known format, or damage
            outside the tensors.
    """
    path = Path(path)
    found = find_format(path)
    is_raw = found.name == safetensors.UNTOLD
    opened = safetensors.open_as_stored(path) if is_raw else found.open(path)
    with opened as archive:
        damage = [] if archive.graph is None else archive.mismatches(archive.graph)
        graph = archive.graph or msinet_graph()
        tensors = [
            _describe_tensor(group, name, tensor, damage)
            for group, stored in archive.groups(graph).items()
            for name, tensor in stored.items()
        ]
        return {
            "file": str(archive.path),
            "format": found.name,
            "title": found.title,
            "bytes": archive.size,
            "graph": None if archive.graph is None else _describe_graph(archive.graph),
            "published": _is_published_as_stored(path) if is_raw else _is_published(archive),
            "metadata": dict(archive.metadata),
            "optimizer_step": None if archive.optimizer is None else archive.optimizer.step,
            "training": _training_keys(archive, damage),
            "tensors": tensors,
            "unused": list(archive.unused),
            "damage": damage,
        }


def _describe_graph(graph: Graph) -> Mapping[str, Any]:
    return {
        "fingerprint": graph.fingerprint,
        "nodes": len(graph.nodes),
        "parameters": graph.parameter_count,
    }


def _is_published(archive: Archive) -> bool:
    if archive.graph is not None:
        return archive.graph == msinet_graph()
    return not archive.weights_only().mismatches(msinet_graph())


def _is_published_as_stored(path: Path) -> bool:
    try:
        return bool(safetensors.fitting_layouts(path, msinet_graph()))
    except CheckpointError:  # two models under the same names: shown all the same
        return False


def _training_keys(archive: Archive, damage: list[str]) -> list[str] | None:
    try:
        training = archive.read_training()
    except CheckpointError as error:
        damage.append(str(error))
        return None
    return None if training is None else sorted(training)


def _describe_tensor(
    group: str, name: str, tensor: StoredTensor, damage: list[str]
) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "group": group,
        "name": name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "checksum": "ok" if tensor.has_checksum else "none",
        "min": None,
        "max": None,
        "mean": None,
        "not_finite": None,
    }
    try:
        values = tensor.read()
    except CheckpointError as error:
        damage.append(f"{group}/{name}: {error}")
        row["checksum"] = "damaged"
        return row
    finite = np.isfinite(values)
    row["not_finite"] = int(values.size - np.count_nonzero(finite))
    if row["not_finite"]:
        values = values[finite]
    if values.size:
        row["min"], row["max"] = float(values.min()), float(values.max())
        row["mean"] = float(values.mean(dtype=np.float64))
    return row
