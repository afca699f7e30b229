"""What msinet writes into foreign files beside the tensors: layout, network and provenance.

No foreign format has fields for these, but most carry texts that their own readers ignore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.tensors import text_checksum
from msinet_core.checkpoint.texts import parse_network, parse_object
from msinet_core.errors import CheckpointError
from msinet_core.network.graph import Graph
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT

FORMAT = "msinet weights 1"
_COVERED = ("msinet_format", "kernel_layout", "graph", "metadata")
"""The texts that the checksum covers."""

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
    if texts.get("msinet_sha256") != _checksum(texts):
        raise CheckpointError(
            f"{path} is damaged: wrong checksum of its network or metadata. Copy or download it "
            f"again."
        )
    graph = parse_network(texts["graph"], path)
    metadata = parse_object(texts["metadata"], path, "metadata")
    return graph, metadata


def parse_origin(text: str, path: Path) -> Origin:
    """Read the result of `origin_json`.

    Args:
        text: The JSON.
        path: The file, for messages.

    Raises:
        CheckpointError: The text cannot be used.
    """
    return read_origin(parse_object(text, path, "description"), path)


def _checksum(texts: Mapping[str, Any]) -> str:
    parts = (str(texts.get(name)) for name in _COVERED)
    return text_checksum("/origin", "\n".join(parts))
