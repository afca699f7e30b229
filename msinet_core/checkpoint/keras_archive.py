"""Full Keras 3 models, ``*.keras``: an archive of config.json, metadata.json, model.weights.h5.

Source: https://keras.io/guides/serialization_and_saving
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from msinet_core.checkpoint import keras_weights
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.errors import CheckpointError
from msinet_core.system.files import atomic_path

SUFFIX = ".keras"
_WEIGHTS = "model.weights.h5"
_MEMBERS = {"config.json", "metadata.json", _WEIGHTS}
_MOST_MEMBERS = 1000
_MOST_BYTES = 2**31
_LARGEST_RATIO = 20
"""Weights hardly shrink by half; an archive of zeros shrinks a thousandfold."""


def matches(path: Path) -> bool:
    """Tell whether a file is named as full Keras models are.

    Args:
        path: Any path.
    """
    return path.name.endswith(SUFFIX) and path.is_file()


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the weights of a full Keras model; nothing in it is run.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, refused, or does not tell its layers' names.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, path)
            # zipfile compares with the checksum of the whole member when its end is read.
            content = archive.read(_WEIGHTS)
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} is no Keras model, or damaged: {error}. Copy or download it again."
        ) from error
    with keras_weights.open_keras_3(path, content) as opened:
        yield opened


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a model that `keras.models.load_model` loads, with its weights.

    Args:
        path: The file to make or replace, ``*.keras``.
        checkpoint: The network and its weights.

    Raises:
        CheckpointError: Keras is not installed, or an op of the network has no counterpart in it.
        MsinetError: The disk refuses; the old file is whole.
    """
    from msinet_core.checkpoint.keras_model import describe_model

    config, metadata, order = describe_model(checkpoint.graph)
    layout = keras_weights.lay_out_keras_3(checkpoint, order)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in (("metadata.json", metadata), ("config.json", config)):
            archive.writestr(name, json.dumps(value))
        stream: IO[bytes]
        with archive.open(_WEIGHTS, "w", force_zip64=True) as stream:
            layout.copy_to(stream)


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse what no Keras model has, from the directory alone: nothing is unpacked yet."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > _MOST_MEMBERS:
        raise CheckpointError(f"{path} is refused: it has {len(members):,} members.")
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        outside = parts.is_absolute() or ".." in parts.parts
        if outside or (name not in _MEMBERS and parts.parts[:1] != ("assets",)):
            raise CheckpointError(
                f"{path} is refused: its member '{name}' is no part of a Keras model. "
                f"Use a file from a source you trust."
            )
    if len(set(names)) < len(names) or _WEIGHTS not in names:
        raise CheckpointError(f"{path} is no Keras model: it needs one {_WEIGHTS}. Copy it again.")
    weights = archive.getinfo(_WEIGHTS)
    most = min(_MOST_BYTES, max(2**20, _LARGEST_RATIO * weights.compress_size))
    if weights.file_size > most:
        raise CheckpointError(
            f"{path} is refused: its {_WEIGHTS} unpacks from {weights.compress_size:,} to "
            f"{weights.file_size:,} bytes. Use a file from a source you trust."
        )
