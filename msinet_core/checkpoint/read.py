"""Read a checkpoint without knowing its format: all of it, its weights, or its header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.catalog import Format, open_checkpoint
from msinet_core.checkpoint.compare import require_equal
from msinet_core.errors import CheckpointError

if TYPE_CHECKING:
    from msinet_core.network.graph import Graph


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
                f"{path} is a {found.title}: it holds weights to start from, but no training run "
                f"to resume. Pass it to --init or --weights."
            )
        graph = archive.network
        state = archive.read_state(graph)
        return Checkpoint(graph, state, archive.read_training(), archive.metadata)


def read_weights(path: Path, graph: Graph | None = None) -> Checkpoint:
    """Read the weights alone from a file in any format; Adam's moments are not touched.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.
        graph: The network that they must fit; None: the file's own, or the published one if the
            file holds none.

    Raises:
        CheckpointError: The file cannot be read, or does not fit; every mismatch is listed.
        UsageError: The file does not exist.
    """
    path = Path(path)
    with open_checkpoint(path) as (found, opened):
        archive = opened.weights_only()
        if graph is None:
            graph = archive.network
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
    return read_header(path)[0]


def read_header(path: Path) -> tuple[Graph | None, Mapping[str, Any]]:
    """Read what a file says about its weights, and no tensor.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Returns:
        The network, None if the file holds none; and where the weights come from, as
        `Checkpoint.metadata`.

    Raises:
        CheckpointError: The file cannot be read.
        UsageError: The file does not exist.
    """
    with open_checkpoint(Path(path)) as (_, archive):
        return archive.graph, archive.metadata


def require_whole_network(found: Format, path: Path) -> None:
    """Refuse a file that holds only a pretrained encoder.

    Args:
        found: The file's format.
        path: The file.

    Raises:
        CheckpointError: It does.
    """
    if found.encoder_only:
        raise CheckpointError(
            f"{path} is a {found.title}: it holds the encoder, not the whole network. "
            f"Train from it with --init {path}"
        )
