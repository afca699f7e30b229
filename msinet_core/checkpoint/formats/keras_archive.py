"""Full Keras 3 models, ``*.keras``: an archive of config.json, metadata.json, model.weights.h5.

Source: https://keras.io/guides/serialization_and_saving
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from msinet_core.checkpoint import names
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.formats.keras import (
    keras_3_image,
    keras_order,
    open_keras_3,
    stored_resize,
)
from msinet_core.checkpoint.wire.zip import Members, open_stored
from msinet_core.errors import CheckpointError, printable
from msinet_core.network.graph import Graph
from msinet_core.system.files import atomic_path

SUFFIX = ".keras"
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_MEMBERS = {_CONFIG, "metadata.json", _WEIGHTS}
KerasModel = tuple[Mapping[str, Any], Mapping[str, str], list[str]]
"""A model's config.json, its metadata.json, and its layers' names in the model's order."""


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the weights of a full Keras model; nothing in it is run.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, refused, or does not name its layers.
    """
    with open_stored(path) as (archive, members):
        _check(members, path)
        # zipfile compares with the checksum of the whole member at its end.
        content = archive.read(_WEIGHTS)
        config = archive.read(_CONFIG).decode()
    with open_keras_3(path, content) as opened:
        yield replace(opened, resize=stored_resize(config))


def write_keras_archive(
    path: Path, checkpoint: Checkpoint, describe: Callable[[Graph, Mapping[str, str]], KerasModel]
) -> None:
    """Write a model that `keras.models.load_model` loads, with its weights.

    Args:
        path: The file to make or replace, ``*.keras``.
        checkpoint: The network and its weights.
        describe: Describes the network in Keras' terms; its arguments are the network and the
            name that each convolution's layer must have, by the convolution's node.

    Raises:
        CheckpointError: `describe` refuses, or the network's names do not fit the format.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    flat = names.flat_names(keras_order(checkpoint.graph), "_")
    config, metadata, layers = describe(checkpoint.graph, flat)
    nodes = {name: node for node, name in flat.items()}
    weights = keras_3_image(checkpoint, [nodes[name] for name in layers if name in nodes])
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        with archive.open(_WEIGHTS, "w", force_zip64=True) as stream:
            stream.write(weights)


def _check(members: Members, path: Path) -> None:
    """Refuse what no Keras model has, from the directory alone."""
    for name in members:
        parts = PurePosixPath(name.replace("\\", "/"))
        outside = parts.is_absolute() or ".." in parts.parts
        if outside or (name not in _MEMBERS and parts.parts[:1] != ("assets",)):
            raise CheckpointError(
                f"{path} is refused: Keras models have no member '{printable(name)}'. "
                f"Use a file from a source you trust."
            )
    if missing := [name for name in (_WEIGHTS, _CONFIG) if name not in members]:
        raise CheckpointError(
            f"{path} is not a Keras model: it has no {missing[0]}. Copy or download it again."
        )
