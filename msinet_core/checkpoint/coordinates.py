"""The resize coordinates of the network that weights are for: stored, requested or assumed.

Weights fit a network with either coordinates, and with the wrong ones its maps look right.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from msinet_core.checkpoint.published import PREFIX
from msinet_core.errors import CheckpointError, UsageError
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Coordinates, Resize, ResizeLike
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from msinet_core.checkpoint.archive import Archive
    from msinet_core.network.graph import Graph

_PUBLISHED: Coordinates = "asymmetric"
"""Those of the published network, which are assumed if a file does not store any."""


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
        raise UsageError(f"Invalid resize: {resize!r}; use {' or '.join(known)}")
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
    """Return the network that an open file's weights are for.

    Args:
        archive: The open file.
        resize: The requested coordinates; None: those in the file, else asymmetric.
        width: A requested width, for `msinet_graph`; None: as in the file, else 1.
        progress: Gets a note if the coordinates had to be assumed.

    Raises:
        CheckpointError: The file stores other coordinates than the requested ones.
    """
    if archive.graph is not None:
        stored = resize_coordinates(archive.graph)
    else:
        # Several: some resize something else, such as the images before they enter the network.
        stored = set(archive.resize) if len(archive.resize) == 1 else set()
    require_coordinates(archive.path, stored, resize)
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


def require_coordinates(path: Path, stored: set[Coordinates], resize: Coordinates | None) -> None:
    """Refuse requested coordinates that contradict a file's.

    Args:
        path: The file.
        stored: The coordinates in it; empty if it holds none.
        resize: The requested ones, or None.

    Raises:
        CheckpointError: They differ.
    """
    if resize is not None and stored and stored != {resize}:
        raise CheckpointError(
            f"{path} stores {' and '.join(sorted(stored))} resize coordinates, and --resize "
            f"requests {resize}. Leave out --resize; if the file was converted with the wrong "
            f"coordinates, convert the original again with --resize {resize}."
        )


def resize_coordinates(graph: Graph) -> set[Coordinates]:
    """Return the coordinates of a network's resizes.

    Args:
        graph: The network.
    """
    return {node.op.coordinates for node in graph.nodes if isinstance(node.op, Resize | ResizeLike)}
