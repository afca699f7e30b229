"""Every format in one table, those that plugins contribute, and which one a file is in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msinet_core.checkpoint import native
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.formats import (
    frozen,
    keras,
    onnx,
    safetensors,
    tf1,
    torch,
    vgg16,
)
from msinet_core.checkpoint.guard import reading
from msinet_core.checkpoint.wire.hdf5 import is_hdf5
from msinet_core.checkpoint.wire.mapped import is_named
from msinet_core.errors import (
    CheckpointError,
    UsageError,
    bullet_list,
    describe_error,
    did_you_mean,
)
from msinet_core.registry.registry import load_registry


def _never(path: Path) -> bool:
    return False


def _named(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: is_named(path, *suffixes)


def _write_only(path: Path) -> Archive:
    raise CheckpointError(f"{path} is in a format that can only be written.")


@dataclass(frozen=True)
class Format:
    """A file format that holds weights.

    Args:
        name: Its name after ``--to``; formats of one family that differ in the kind of file share
            a name.
        title: Its name for people.
        matches: Returns from content and name whether a path is in this format.
        open: Describes what is in a file, and reads no tensor; see `Archive`.
        encoder_only: Whether it holds a pretrained encoder and not the whole network.
        write: Writes a checkpoint to a path; None if the format is only read.
        suffixes: How the names of its files end.
        holds: What it holds besides weights: ``"network"``, ``"optimizer"``, ``"training"``.
    """

    name: str
    title: str
    matches: Callable[[Path], bool] = _never
    open: Callable[[Path], Archive] = _write_only
    encoder_only: bool = False
    write: Callable[[Path, Checkpoint], None] | None = None
    suffixes: tuple[str, ...] = ()
    holds: frozenset[str] = frozenset()


_NETWORK = frozenset({"network"})

FORMATS: tuple[Format, ...] = (
    Format(
        "msinet",
        "MSI-Net checkpoint (*.msinet.h5)",
        native.matches,
        native.open_archive,
        write=native.save_checkpoint,
        suffixes=(native.SUFFIX,),
        holds=frozenset({"network", "optimizer", "training"}),
    ),
    Format(
        "tf1-vgg16",
        "TensorFlow VGG16 checkpoint (PREFIX.index, PREFIX.data-*)",
        vgg16.matches_hybrid,
        vgg16.open_hybrid,
        encoder_only=True,
    ),
    Format(
        "tf1",
        "TensorFlow checkpoint (PREFIX.index, PREFIX.data-*)",
        tf1.matches,
        tf1.open_archive,
        write=tf1.write,
        suffixes=(".ckpt", ".ckpt.index"),
        holds=frozenset({"optimizer"}),
    ),
    Format(
        "keras-vgg16",
        "Keras VGG16 weights (*.h5)",
        vgg16.matches_keras,
        vgg16.open_keras,
        encoder_only=True,
    ),
    Format(
        "keras",
        "Keras 3 weights (*.weights.h5)",
        keras.matches_keras_3,
        keras.open_keras_3,
        write=keras.write_keras_3,
        suffixes=(".weights.h5",),
        holds=_NETWORK,
    ),
    Format(
        "keras2",
        "Keras 2 weights or model (*.h5)",
        keras.matches_keras_2,
        keras.open_keras_2,
        write=keras.write_keras_2,
        suffixes=(".h5",),
        holds=_NETWORK,
    ),
    Format(  # msinet_tensorflow writes it
        "keras", "Keras 3 model (*.keras)", _named(keras.MODEL_SUFFIX), keras.open_model
    ),
    Format(
        "torch-vgg16",
        "torchvision VGG16 weights (*.pt, *.pth)",
        vgg16.matches_torch_file,
        vgg16.open_torch_file,
        encoder_only=True,
    ),
    Format(
        "torch-vgg16",
        "torchvision VGG16 weights (*.safetensors)",
        vgg16.matches_safetensors,
        vgg16.open_safetensors,
        encoder_only=True,
    ),
    Format(
        "torch",
        "PyTorch state_dict (*.pt, *.pth)",
        _named(*torch.SUFFIXES),
        torch.open_archive,
        write=torch.write,
        suffixes=torch.SUFFIXES,
        holds=_NETWORK,
    ),
    *(
        Format(
            name,
            f"{title} weights (*.safetensors, {safetensors.LAYOUTS[name]})",
            partial(safetensors.matches, name=name),
            safetensors.open_archive,
            write=partial(safetensors.write, name=name),
            suffixes=(safetensors.SUFFIX,),
            holds=_NETWORK,
        )
        for name, title in (("torch", "PyTorch"), ("mlx", "MLX"))
    ),
    Format(
        "savedmodel",
        "TensorFlow SavedModel (a folder with saved_model.pb)",
        frozen.matches_saved_model,
        frozen.open_saved_model,
        write=frozen.write_saved_model,
        suffixes=(frozen.SAVED_MODEL,),
        holds=_NETWORK,
    ),
    Format(
        "frozen",
        "TensorFlow frozen graph (*.pb)",
        frozen.matches_graph,
        frozen.open_graph,
        write=frozen.write_graph,
        suffixes=(frozen.SUFFIX,),
        holds=_NETWORK,
    ),
    Format(
        onnx.NAME,
        "ONNX model (*.onnx)",
        _named(onnx.SUFFIX),
        onnx.open_archive,
        write=onnx.write,
        suffixes=(onnx.SUFFIX,),
        holds=_NETWORK,
    ),
    Format(
        safetensors.UNKNOWN_LAYOUT,
        "safetensors file of unknown kernel layout (*.safetensors)",
        safetensors.matches,
        safetensors.open_archive,
    ),
)
"""The first that matches reads a file."""


def contributed_formats() -> tuple[tuple[Format, ...], list[str]]:
    """Import the formats that plugins contribute (`DeviceSpec.checkpoint_formats`).

    Returns:
        The formats, and a line for each that cannot be used.
    """
    formats, problems = {}, []
    for registration in load_registry().registrations:
        for location in registration.spec.checkpoint_formats:
            try:
                module, _, attribute = location.partition(":")
                found = getattr(importlib.import_module(module), attribute)
                if not isinstance(found, Format):
                    raise TypeError(f"{found!r} is not a msinet_core.Format")
                formats[location] = found
            except Exception as error:
                problem = f"{registration.plugin}: format '{location}': {describe_error(error)}"
                problems.append(problem)
    return tuple(formats.values()), problems


def problem_list(problems: list[str]) -> str:
    """Return the end of a message that names the formats that cannot be used.

    Args:
        problems: The lines from `contributed_formats`.
    """
    return f"\nFormats that could not be loaded:\n{bullet_list(problems)}" if problems else ""


def find_format(path: Path) -> Format:
    """Find out which format a file is in, from its content and its name.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Raises:
        CheckpointError: The file is in none of the formats, or cannot be read.
        UsageError: The file does not exist, or is a directory.
    """
    problems: list[str] = []
    contributed: tuple[Format, ...] = ()
    with reading(path):
        for candidate in FORMATS:
            if candidate.matches(path):
                return candidate
        if path.exists():
            contributed, problems = contributed_formats()
        for candidate in contributed:
            if candidate.matches(path):
                return candidate
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a checkpoint file in it.")
    if not path.exists():
        raise UsageError(f"{path} does not exist.{_nearby(path)}")
    if not path.is_file() or path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty or not a regular file. Copy or download it again.")
    readable = [one.title for one in (*FORMATS, *contributed) if one.open is not _write_only]
    kind = "an HDF5 file, but " if is_hdf5(path) else ""
    raise CheckpointError(
        f"{path} is {kind}not in a supported format. Supported formats:\n{bullet_list(readable)}"
        f"{problem_list(problems)}"
    )


@contextmanager
def open_checkpoint(path: Path) -> Iterator[tuple[Format, Archive]]:
    """Open a file in any format, and turn whatever goes wrong with it into `CheckpointError`.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Raises:
        CheckpointError: The file is in none of the formats, or cannot be read.
        UsageError: The file does not exist, or is a directory.
    """
    found = find_format(path)
    with reading(path):
        yield found, found.open(path)


def _nearby(path: Path) -> str:
    if path.is_symlink():
        return f" It is a link to {path.readlink()}."
    if not path.parent.exists():
        return f" There is no directory {path.parent}."
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)
