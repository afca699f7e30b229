"""The weights that training starts from, computed on the host: the same bits on every device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.checkpoint.archive import Archive
from msinet_core.checkpoint.catalog import find_format, open_checkpoint
from msinet_core.checkpoint.published import VGG16_ADDRESS, VGG16_FILE, fetch_vgg16, find_vgg16
from msinet_core.checkpoint.read import read_fitting
from msinet_core.errors import CheckpointError, GraphError, UsageError, did_you_mean
from msinet_core.network.msinet import PARTS, msinet_graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import State
from msinet_core.system.progress import Progress
from msinet_core.training.config import INIT_KEYWORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph

ENCODER = "encoder"
ENCODER_OUTPUT = "pool5"
"""The last node of the VGG16 encoder in MSI-Net."""


def random_state(graph: Graph, seed: int) -> State:
    """Draw random weights for a network; biases are zero.

    Kernels before a ReLU are uniform with variance 2 / fan_in (He uniform), which preserves the
    signal through any number of ReLU layers; Glorot's variance, the default of the published
    training, halves it at each of the 23, which mattered little there because VGG16 provided 13 of
    them. Kernels of linear layers are Glorot uniform as published.

    The numbers are uniform because these follow from the generator's raw bits by exact arithmetic:
    logarithms differ in their last bit between processors, and NumPy's normal numbers may change
    between its versions.

    Args:
        graph: The network.
        seed: An integer of at least 0; the same seed gives the same weights everywhere.

    Source: He et al., Delving deep into rectifiers, 2015, equation 10; Glorot and Bengio,
        Understanding the difficulty of training deep feedforward neural networks, 2010,
        equation 16.
    """
    ops = {node.name: node.op for node in graph.nodes}
    weights = {}
    for parameter in graph.parameters:
        op = ops[parameter.name.rsplit("/", 1)[0]]
        if parameter.role == "kernel" and isinstance(op, Conv2D):
            limit = _limit(op, parameter.shape)
            uniform = _uniform(seed, parameter.name, parameter.size)
            values = (uniform * limit).astype(np.float32).reshape(parameter.shape)
        else:
            values = np.zeros(parameter.shape, np.float32)
        weights[parameter.name] = values
    return State(weights)


_Initial = tuple[State, str, Collection[str]]
"""Weights, a sentence about their origin, and the parts of the network that are random."""


def initial_state(
    graph: Graph,
    init: str,
    seed: int,
    progress: Progress | None = None,
    frozen: Sequence[str] = (),
) -> tuple[State, str]:
    """Return the weights that training starts from, and sentences about their origin.

    Args:
        graph: The network.
        init: ``"vgg16"``: the encoder from Keras' VGG16, which is downloaded if missing, the rest
            random; ``"random"``: all random; ``"auto"``: VGG16 if its file is on this machine and
            fits, else random, and never a download; otherwise a weights file in any format that
            `read_weights` accepts, or VGG16 weights.
        seed: For random weights.
        progress: Shows the download.
        frozen: The parts of the network that are not trained.

    Raises:
        CheckpointError: The file is damaged, or does not fit the network.
        MsinetError: VGG16 cannot be downloaded; says where to put it by hand.
        UsageError: The file does not exist.
    """
    state, origin, random = _initial(graph, init, seed, progress)
    if still := [part for part in frozen if part in random]:
        origin += f" The frozen {' and '.join(still)} will stay random."
    return state, origin


def _initial(graph: Graph, init: str, seed: int, progress: Progress | None) -> _Initial:
    if init == "random":
        return _all_random(graph, seed)
    if init in ("auto", "vgg16"):
        return _from_cache(graph, seed, progress, required=init == "vgg16")
    with open_checkpoint(Path(init)) as (found, archive):
        if found.encoder_only:
            return _from_vgg16(graph, archive, seed)
        state = read_fitting(found, archive.weights_only(), graph)
        return state, f"All layers start from the weights in {archive.path}.", ()


def check_init(init: str) -> None:
    """Check that `init` is a keyword or an existing file.

    Args:
        init: As for `initial_state`.

    Raises:
        UsageError: The file does not exist; suggests the keyword that was meant.
    """
    if init in INIT_KEYWORDS:
        return
    try:
        find_format(Path(init))
    except UsageError as error:
        hint = did_you_mean(init, INIT_KEYWORDS)
        raise UsageError(
            f"Invalid init: {init!r}.{hint} {error} Use auto, vgg16, random, published:salicon "
            f"(or another dataset), or the path of a weights file."
        ) from error


def _from_cache(graph: Graph, seed: int, progress: Progress | None, *, required: bool) -> _Initial:
    path = find_vgg16()
    if path is None and required:
        _check_encoder(graph, VGG16_FILE)
        path = fetch_vgg16(progress)
    if path is None:
        reason = (
            ", because VGG16 weights are not on this machine. A pretrained encoder learns faster: "
            f"--init vgg16 downloads it (59 MB, {VGG16_ADDRESS})"
        )
    elif not required and _encoder(graph) != _encoder(msinet_graph()):
        reason = ", because VGG16 weights only fit a network with the published encoder, width 1"
    else:
        with open_checkpoint(path) as (_, archive):
            return _from_vgg16(graph, archive, seed)
    return _all_random(graph, seed, reason)


def _all_random(graph: Graph, seed: int, reason: str = "") -> _Initial:
    origin = f"All layers start from random weights (seed {seed}){reason}."
    return random_state(graph, seed), origin, PARTS


def _from_vgg16(graph: Graph, archive: Archive, seed: int) -> _Initial:
    trained = archive.read_state(_check_encoder(graph, archive.path)).weights
    weights = {**random_state(graph, seed).weights, **trained}
    origin = (
        f"The encoder starts from the VGG16 weights in {archive.path}, the other layers from "
        f"random weights (seed {seed})."
    )
    return State(weights), origin, PARTS.keys() - {ENCODER}


def _check_encoder(graph: Graph, path: Path | str) -> Graph:
    """Return the network's encoder if VGG16 fits it."""
    encoder = _encoder(graph)
    if encoder is None or encoder != _encoder(msinet_graph()):
        raise CheckpointError(
            f"{path} contains VGG16 weights, which only fit a network with the published encoder, "
            f"width 1. Use --init random, or a checkpoint of this network."
        )
    return encoder


def _encoder(graph: Graph) -> Graph | None:
    """Return the part that VGG16 has weights for; None if the network has no such part."""
    try:
        return graph.between(graph.input.name, ENCODER_OUTPUT)
    except GraphError:
        return None


def _limit(op: Conv2D, shape: tuple[int, ...]) -> float:
    """Return the largest magnitude in a uniform kernel."""
    height, width, inputs, filters = shape
    fan_in, fan_out = height * width * inputs, height * width * filters
    return math.sqrt(6 / (fan_in if op.activation == "relu" else fan_in + fan_out))


def _uniform(seed: int, name: str, size: int) -> NDArray[np.float64]:
    """Draw numbers in [-1, 1) that depend only on the seed and the name."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest(), "little")
    bits = np.random.PCG64(np.random.SeedSequence((seed, key))).random_raw(size)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
