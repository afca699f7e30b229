"""Read a checkpoint without knowing its format: all of it, its weights, or its header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.catalog import Format, find_format, open_checkpoint
from msinet_core.checkpoint.compare import require_equal
from msinet_core.checkpoint.coordinates import choose_network
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph

if TYPE_CHECKING:
    from msinet_core.network.graph import Graph
    from msinet_core.network.ops import Coordinates
    from msinet_core.system.progress import Progress


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a native checkpoint: weights, Adam's moments and the training record.

    Args:
        path: A file that `save_checkpoint` wrote.

    Raises:
        CheckpointError: It is not native, damaged (which tensors), or incomplete.
        UsageError: The file does not exist.
    """
    path = Path(path)
    with open_checkpoint(path) as (found, archive):
        if found.name != "msinet":
            raise CheckpointError(
                f"{path} holds weights to start from, but no training run to resume "
                f"(format: {found.title}). Pass it to --init or --weights."
            )
        graph = archive.network
        state = archive.read_state(graph)
        return Checkpoint(graph, state, archive.read_training(), archive.metadata)


def read_weights(
    path: Path,
    graph: Graph | None = None,
    *,
    resize: Coordinates | None = None,
    progress: Progress | None = None,
) -> Checkpoint:
    """Read the weights alone from a file in any format; Adam's moments are not touched.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.
        graph: The network that they must fit; None: the file's own, or the published one if the
            file holds none.
        resize: The resize coordinates of the network if `graph` is None; None: those in the file,
            else asymmetric.
        progress: Gets a note if the coordinates had to be assumed.

    Raises:
        CheckpointError: The file cannot be read, or does not fit; every mismatch is listed.
        UsageError: The file does not exist.
    """
    path = Path(path)
    with open_checkpoint(path) as (found, opened):
        archive = opened.weights_only()
        if graph is None:
            graph = choose_network(archive, resize, progress=progress)
        require_equal(archive, graph)
        if archive.mismatches(graph):
            require_whole_network(found, path)
        return Checkpoint(graph, archive.read_state(graph), metadata=archive.metadata)


def read_graph(path: Path) -> Graph | None:
    """Read the network that a file was written for, and no tensor.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Returns:
        None if the file holds none.

    Raises:
        CheckpointError: The file cannot be read.
        UsageError: The file does not exist.
    """
    with open_checkpoint(path) as (_, archive):
        return archive.graph


def read_network(
    path: Path,
    resize: Coordinates | None = None,
    width: float | None = None,
    progress: Progress | None = None,
) -> tuple[Graph, Mapping[str, Any]]:
    """Read the network that weights are for and what a file says about them, and no tensor.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.
        resize: As for `choose_network`.
        width: As for `choose_network`.
        progress: Gets a note if the coordinates had to be assumed.

    Returns:
        The network; and where the weights come from, as `Checkpoint.metadata`.

    Raises:
        CheckpointError: The file cannot be read, or stores other resize coordinates.
        UsageError: The file does not exist.
    """
    if find_format(Path(path)).encoder_only:
        return msinet_graph(width or 1.0, resize or "asymmetric"), {}
    with open_checkpoint(Path(path)) as (_, archive):
        graph = choose_network(archive, resize, width=width, progress=progress)
        return graph, archive.metadata


def read_metadata(path: str | Path) -> Mapping[str, Any]:
    """Read where weights come from, as `Checkpoint.metadata`, and no tensor.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Raises:
        CheckpointError: The file cannot be read.
        UsageError: The file does not exist.
    """
    with open_checkpoint(Path(path)) as (_, archive):
        return archive.metadata


def require_whole_network(found: Format, path: Path) -> None:
    """Refuse a file that holds only a pretrained encoder.

    Args:
        found: The file's format.
        path: The file.

    Raises:
        CheckpointError: The file holds only an encoder.
    """
    if found.encoder_only:
        raise CheckpointError(
            f"{path} holds an encoder, not the whole network (format: {found.title}). "
            f"Train from it with --init {path}"
        )
