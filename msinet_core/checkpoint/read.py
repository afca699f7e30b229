"""Read a checkpoint without knowing its format: all of it, its weights, or its network.

Weights fit a network with either resize coordinates, and with the wrong ones its maps look right:
they are stored in the file, requested, or assumed with a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, get_args

from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.catalog import Format, open_checkpoint
from msinet_core.checkpoint.compare import require_equal
from msinet_core.checkpoint.published import PREFIX
from msinet_core.errors import CheckpointError, UsageError
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Coordinates, Resize, ResizeLike
from msinet_core.network.state import State
from msinet_core.system.progress import Progress

_PUBLISHED: Coordinates = "asymmetric"
"""Those of the published network, which are assumed if a file does not store any."""


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
        state = read_fitting(found, archive, graph, {"resize": resize})
        return Checkpoint(graph, state, metadata=archive.metadata)


def read_fitting(
    found: Format, archive: Archive, graph: Graph, options: Mapping[str, object] | None = None
) -> State:
    """Read the tensors of a file for a network.

    Args:
        found: The file's format.
        archive: What the file holds.
        graph: The network that they must fit.
        options: As for `Archive.read_state`.

    Raises:
        CheckpointError: The file was written for another network, does not fit, or is damaged.
    """
    require_equal(archive, graph)
    if archive.mismatches(graph):
        require_whole_network(found, archive.path)
    return archive.read_state(graph, options)


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
    with open_checkpoint(Path(path)) as (found, archive):
        if found.encoder_only:
            return msinet_graph(width or 1.0, resize or _PUBLISHED), {}
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


def check_resize(weights: str | Path, resize: Coordinates | None) -> Coordinates | None:
    """Check requested coordinates before any file is read.

    Args:
        weights: A file, or ``"published:DATASET"``.
        resize: The requested coordinates, or None.

    Returns:
        The requested ones, or those of published weights; None if the file decides.

    Raises:
        UsageError: They do not exist, or the published weights were trained with others.
    """
    known = get_args(Coordinates)
    if resize not in (None, *known):
        raise UsageError(f"Invalid resize: {resize!r}; use {' or '.join(known)}.")
    if not str(weights).startswith(PREFIX):
        return resize
    if resize not in (None, _PUBLISHED):
        raise UsageError(
            f"{weights} was trained with {_PUBLISHED} resize coordinates, not {resize}. "
            f"Leave out --resize."
        )
    return _PUBLISHED


def choose_network(
    archive: Archive,
    resize: Coordinates | None = None,
    *,
    width: float | None = None,
    progress: Progress | None = None,
) -> Graph:
    """Return the network that a file's weights are for.

    Args:
        archive: What the file holds.
        resize: The requested coordinates; None: those in the file, else asymmetric.
        width: A requested width, for `msinet_graph`; None: as in the file, else 1.
        progress: Gets a note if the coordinates had to be assumed.

    Raises:
        CheckpointError: The file stores other coordinates than the requested ones.
    """
    if archive.graph is not None:
        nodes = archive.graph.nodes
        stored = {node.op.coordinates for node in nodes if isinstance(node.op, Resize | ResizeLike)}
    else:
        # Several: some resize something else, such as the images before they enter the network.
        stored = set(archive.resize) if len(archive.resize) == 1 else set()
    if resize is not None and stored and stored != {resize}:
        raise CheckpointError(
            f"{archive.path} stores {' and '.join(sorted(stored))} resize coordinates, and "
            f"--resize requests {resize}. Leave out --resize; if the file was converted with the "
            f"wrong coordinates, convert the original again with --resize {resize}."
        )
    if archive.graph is not None and width is None:
        return archive.graph
    if not stored and resize is None and progress is not None:
        progress.warn(
            f"{archive.path} does not store its resize coordinates; assuming {_PUBLISHED}, as in "
            f"the published weights. If it was trained with half pixels, as TensorFlow 2 and "
            f"PyTorch resize by default, add --resize half_pixel."
        )
    chosen: Coordinates = next(iter(stored), _PUBLISHED) if resize is None else resize
    return msinet_graph(width or 1.0, chosen)


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
            f"Train from it with --init {quote(str(path))}"
        )
