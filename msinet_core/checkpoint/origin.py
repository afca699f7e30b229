"""What a foreign file says about itself: layout, network, provenance and checksums, as texts.

No foreign format has a place for these, but most carry texts that their readers ignore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint.native import tensor_checksum, text_checksum
from msinet_core.errors import CheckpointError, GraphError
from msinet_core.network.graph import Graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.checkpoint.archive import Checkpoint

FORMAT = "msinet weights 1"
_LONGEST = 2**24
"""Characters; a longer text is no description, and would be parsed for minutes."""


def origin_texts(checkpoint: Checkpoint, kernel_layout: str) -> dict[str, str]:
    """Give what is written into a foreign file beside the tensors.

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
    return {**texts, "msinet_sha256": _texts_checksum(texts)}


def read_origin(texts: Mapping[str, Any], path: Path) -> tuple[Graph | None, Mapping[str, Any]]:
    """Read the network and the provenance, where they are there.

    Args:
        texts: What `origin_texts` gave, among others.
        path: The file, for messages.

    Raises:
        CheckpointError: They are there and cannot be read.
    """
    if texts.get("msinet_format") is None:
        return None, {}
    if texts["msinet_format"] != FORMAT:
        raise CheckpointError(
            f"{path} was written by another version of msinet: it says "
            f"'{texts['msinet_format']}', and this one reads '{FORMAT}'. Upgrade msinet."
        )
    try:
        if max(len(texts["graph"]), len(texts["metadata"])) > _LONGEST:
            raise ValueError(f"they are longer than {_LONGEST:,} characters")
        if texts["msinet_sha256"] != _texts_checksum(texts):
            raise ValueError("they do not have the checksum stored with them")
        graph = Graph.from_json(texts["graph"])
        metadata = json.loads(texts["metadata"])
    except (GraphError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} holds a network or metadata that cannot be used: {error}. "
            f"Copy or download it again."
        ) from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: its metadata are no JSON object. Copy it again.")
    return graph, metadata


def parse_origin(text: str, path: Path) -> tuple[Graph | None, Mapping[str, Any]]:
    """Read `origin_texts` where they are stored as one JSON text.

    Args:
        text: The JSON.
        path: The file, for messages.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        texts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: what msinet wrote into it is damaged ({error}).") from error
    if not isinstance(texts, dict):
        raise CheckpointError(f"{path}: what msinet wrote into it is damaged. Copy it again.")
    return read_origin(texts, path)


def checksum(name: str, tensor: NDArray[np.float32]) -> str:
    """Compute the checksum of a tensor as it lies in the file.

    Args:
        name: The tensor's name in the file.
        tensor: float32, contiguous, in the file's layout.
    """
    return tensor_checksum(name, np.ascontiguousarray(tensor, "<f4"))


def verify(name: str, tensor: NDArray[np.float32], stored: str | None) -> None:
    """Compare a tensor with the checksum stored beside it; nothing where there is none.

    Args:
        name: The tensor's name in the file.
        tensor: float32, as it lies in the file.
        stored: The checksum.

    Raises:
        CheckpointError: They differ.
    """
    if stored is not None and checksum(name, tensor) != stored:
        raise CheckpointError("its values do not have the checksum stored with them")


def _texts_checksum(texts: Mapping[str, Any]) -> str:
    parts = (texts[name] for name in ("msinet_format", "kernel_layout", "graph", "metadata"))
    return text_checksum("/origin", "\n".join(parts))
