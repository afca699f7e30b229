"""Every format that can be read, in one table, and reading without knowing which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from msinet_core.checkpoint import (
    frozen,
    frozen_save,
    hdf5,
    keras_archive,
    keras_vgg16,
    keras_weights,
    native,
    safetensors,
    tf1,
    tf1_save,
    torch_file,
    vgg16,
)
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.compare import require_equal
from msinet_core.checkpoint.native_save import save_checkpoint
from msinet_core.errors import CheckpointError, UsageError, bullet_list, did_you_mean, os_reason
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph


@dataclass(frozen=True)
class Format:
    """A file format that holds weights.

    Args:
        name: What the command line calls it; formats of one family that differ in the kind of
            file share it.
        title: What people call it.
        matches: Tells from content and name whether a path is in this format.
        open: Opens it; see `Archive`.
        encoder_only: Whether it holds a pretrained encoder and not the whole network.
        write: Writes a checkpoint's weights and what else it holds; None: it is only read.
        suffixes: How the names of its files end.
        holds: What it holds beside weights: ``"network"``, ``"optimizer"``, ``"training"``.
        needs: The package that writing needs, in words; empty where it needs none.
    """

    name: str
    title: str
    matches: Callable[[Path], bool]
    open: Callable[[Path], AbstractContextManager[Archive]]
    encoder_only: bool = False
    write: Callable[[Path, Checkpoint], None] | None = None
    suffixes: tuple[str, ...] = ()
    holds: frozenset[str] = frozenset()
    needs: str = ""


_NETWORK = frozenset({"network"})

FORMATS: tuple[Format, ...] = (
    Format(
        "msinet",
        "MSI-Net checkpoint (*.msinet.h5)",
        native.matches,
        native.open_archive,
        write=save_checkpoint,
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
        write=tf1_save.write,
        suffixes=(".ckpt", ".ckpt.index"),
        holds=frozenset({"optimizer"}),
    ),
    Format(
        "keras-vgg16",
        "Keras VGG16 weights (*.h5)",
        keras_vgg16.matches,
        keras_vgg16.open_archive,
        encoder_only=True,
    ),
    Format(
        "keras",
        "Keras 3 weights (*.weights.h5)",
        keras_weights.matches_keras_3,
        keras_weights.open_keras_3,
        write=keras_weights.write_keras_3,
        suffixes=(".weights.h5",),
        holds=_NETWORK,
    ),
    Format(
        "keras2",
        "Keras 2 weights or model (*.h5)",
        keras_weights.matches_keras_2,
        keras_weights.open_keras_2,
        write=keras_weights.write_keras_2,
        suffixes=(".h5",),
        holds=_NETWORK,
    ),
    Format(
        "keras",
        "Keras 3 model (*.keras)",
        keras_archive.matches,
        keras_archive.open_archive,
        write=keras_archive.write,
        suffixes=(keras_archive.SUFFIX,),
        holds=_NETWORK,
        needs="Keras",
    ),
    Format(
        "torch-vgg16",
        "torchvision VGG16 weights (vgg16*.pth)",
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
        torch_file.matches,
        torch_file.open_archive,
        write=torch_file.write,
        suffixes=torch_file.SUFFIXES,
        holds=_NETWORK,
        needs="PyTorch",
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
        write=frozen_save.write_saved_model,
        suffixes=(frozen.SAVED_MODEL,),
        holds=_NETWORK,
    ),
    Format(
        "frozen",
        "TensorFlow frozen graph (*.pb)",
        frozen.matches_graph,
        frozen.open_graph,
        write=frozen_save.write_graph,
        suffixes=(frozen.SUFFIX,),
        holds=_NETWORK,
    ),
    Format(
        safetensors.UNTOLD,
        "safetensors that do not tell their kernels' layout (*.safetensors)",
        safetensors.matches,
        safetensors.open_archive,
    ),
)
"""The first that matches reads the file."""


def find_format(path: Path) -> Format:
    """Find out which format a file is in, from its content and its name.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Raises:
        CheckpointError: The file is in none of the formats.
        UsageError: There is no such file.
    """
    try:
        for candidate in FORMATS:
            if candidate.matches(path):
                return candidate
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {os_reason(error)}. Check the file's permissions."
        ) from error
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a checkpoint file in it.")
    if not path.exists():
        near = _nearby(path)
        raise UsageError(f"There is no file {path}.{near} Check the name and the folder.")
    if not path.is_file() or path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty or no plain file. Copy or download it again.")
    known = bullet_list([candidate.title for candidate in FORMATS])
    if hdf5.is_hdf5(path):
        what = "an HDF5 file, but in no format that is known here"
    else:
        what = "in no format that is known here"
    raise CheckpointError(f"{path} is {what}. Known are:\n{known}")


def _nearby(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return "" if path.parent.exists() else f" Nor is there a folder {path.parent}."
    return did_you_mean(path.name, names)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a native checkpoint whole: weights, Adam's memory and the trainer's record.

    Args:
        path: A file that `save_checkpoint` wrote.

    Raises:
        CheckpointError: It is not native, damaged (which tensors), or incomplete.
    """
    path = Path(path)
    found = find_format(path)
    if found.name != "msinet":
        raise CheckpointError(
            f"{path} is a {found.title}: it holds weights to start from, and no training run to "
            f"continue. Pass it to --init or --weights."
        )
    with found.open(path) as archive:
        graph = own_graph(archive)
        return Checkpoint(
            graph, archive.read_state(graph), archive.read_training(), archive.metadata
        )


def read_graph(path: Path) -> Graph | None:
    """Read the network that a file was written for, and no tensor.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Returns:
        None where the format holds none.

    Raises:
        CheckpointError: The file cannot be read.
        UsageError: There is no such file.
    """
    return read_header(path)[0]


def read_header(path: Path) -> tuple[Graph | None, Mapping[str, Any]]:
    """Read what a file tells about its weights, and no tensor.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.

    Returns:
        The network, None where the format holds none; and where the weights come from, as
        `Checkpoint.metadata`.

    Raises:
        CheckpointError: The file cannot be read.
        UsageError: There is no such file.
    """
    path = Path(path)
    with find_format(path).open(path) as archive:
        return archive.graph, archive.metadata


def read_weights(path: Path, graph: Graph | None = None) -> Checkpoint:
    """Read the weights alone from a file in any known format; Adam's memory is not touched.

    Args:
        path: A file, or the prefix of a TensorFlow checkpoint.
        graph: The network that they must fit; None: the file's own, or the published one where the
            format holds none.

    Raises:
        CheckpointError: The file cannot be read, or does not fit; every mismatch is listed.
    """
    path = Path(path)
    found = find_format(path)
    with found.open(path) as opened:
        archive = opened.weights_only()
        if graph is None:
            graph = own_graph(archive)
        elif archive.graph is not None:
            require_equal(archive, graph)
        if found.encoder_only and archive.mismatches(graph):
            raise CheckpointError(
                f"{path} is a {found.title}: it holds an encoder and not the whole network. "
                f"Train from it with --init {path}"
            )
        return Checkpoint(graph, archive.read_state(graph), metadata=archive.metadata)


def own_graph(archive: Archive) -> Graph:
    """Give the network that an open file is for: the published one where the file does not tell.

    Args:
        archive: The open file.
    """
    return msinet_graph() if archive.graph is None else archive.graph
