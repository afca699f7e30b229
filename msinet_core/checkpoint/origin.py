"""What msinet writes into foreign files beside the tensors: layout, network and provenance.

No foreign format has fields for these, but most carry texts that their own readers ignore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint.wire.checksums import text_checksum
from msinet_core.errors import CheckpointError, GraphError
from msinet_core.network.graph import Graph
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT

if TYPE_CHECKING:
    from msinet_core.checkpoint.archive import Checkpoint

FORMAT = "msinet weights 1"
_MAX_LENGTH = 2**24
"""Characters; a longer text is not a description of a network and would take minutes to parse."""

Origin = tuple["Graph | None", Mapping[str, Any]]
"""The network, and where the weights come from."""


def origin_texts(
    checkpoint: Checkpoint, kernel_layout: str = CANONICAL_KERNEL_LAYOUT
) -> dict[str, str]:
    """Return what is written into a foreign file beside the tensors.

    Args:
        checkpoint: What is written.
        kernel_layout: The order of its kernels' axes in the file.
    """
    texts = {
        "msinet_format": FORMAT,
        "kernel_layout": kernel_layout,
        "graph": checkpoint.graph.to_json(),
        "metadata": json.dumps(dict(checkpoint.metadata)),
    }
    return {**texts, "msinet_sha256": _checksum(texts)}


def origin_json(checkpoint: Checkpoint) -> str:
    """Return `origin_texts` as one JSON text.

    Args:
        checkpoint: What is written.
    """
    return json.dumps(origin_texts(checkpoint))


def read_origin(texts: Mapping[str, Any], path: Path) -> Origin:
    """Read the network and the provenance; None and nothing if the file holds neither.

    Args:
        texts: The result of `origin_texts`, perhaps among others.
        path: The file, for messages.

    Raises:
        CheckpointError: The texts cannot be used.
    """
    version = texts.get("msinet_format")
    if version is None:
        return None, {}
    if version != FORMAT:
        raise CheckpointError(
            f"{path} was written by a newer msinet, as '{version}'; this one reads '{FORMAT}'. "
            f"Upgrade msinet."
        )
    try:
        if max(len(texts["graph"]), len(texts["metadata"])) > _MAX_LENGTH:
            raise ValueError(f"longer than {_MAX_LENGTH:,} characters")
        if texts["msinet_sha256"] != _checksum(texts):
            raise ValueError("wrong checksum")
        graph = Graph.from_json(texts["graph"])
        metadata = json.loads(texts["metadata"])
        if not isinstance(metadata, dict):
            raise ValueError("the metadata are not a JSON object")
    except (GraphError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the network or metadata cannot be used: {error}. Copy or download it again."
        ) from error
    return graph, metadata


def parse_origin(text: str, path: Path) -> Origin:
    """Read the result of `origin_json`.

    Args:
        text: The JSON.
        path: The file, for messages.

    Raises:
        CheckpointError: The text cannot be used.
    """
    try:
        texts = json.loads(text)
        if not isinstance(texts, dict):
            raise ValueError("not a JSON object")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the network and metadata are damaged ({error}). Copy or download it again."
        ) from error
    return read_origin(texts, path)


def _checksum(texts: Mapping[str, Any]) -> str:
    parts = (texts[name] for name in ("msinet_format", "kernel_layout", "graph", "metadata"))
    return text_checksum("/origin", "\n".join(parts))
