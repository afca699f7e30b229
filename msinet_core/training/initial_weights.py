"""The weights that training starts from, made on the host: every device gets the same bits."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.checkpoint import keras_vgg16, read_weights
from msinet_core.checkpoint.formats import find_format
from msinet_core.checkpoint.published import fetch_vgg16
from msinet_core.errors import CheckpointError, GraphError, UsageError, did_you_mean
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import State
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.network.graph import Graph
    from msinet_core.network.state import Tensors

KEYWORDS = ("auto", "vgg16", "random")
"""What ``--init`` takes beside files and published weights."""

ENCODER_OUTPUT = "pool5"
"""The last node of the VGG16 encoder in MSI-Net."""


def random_state(graph: Graph, seed: int) -> State:
    """Draw weights for a network; biases are zero.

    Kernels before a ReLU are uniform with variance 2 / fan_in (He uniform), which keeps the
    signal's size through any number of ReLU layers; Glorot's variance, the default of the
    published training, halves it at each of the 23, which mattered little there, where VGG16
    brought 13 of them trained. Kernels of linear layers are Glorot uniform as published: no ReLU
    halves their output, and MSI-Net's only one ends in a normalization that undoes its scale.

    Uniform and not normal numbers, since these come from the generator's raw bits by exact
    arithmetic: logarithms differ in their last bit between processors and NumPy's normal
    numbers may change between its versions, but these never do.

    Args:
        graph: The network.
        seed: Any whole number from 0 on; the same one gives the same weights everywhere.

    Raises:
        UsageError: The seed is below 0.

    Source: He et al., Delving deep into rectifiers, 2015, equation 10; Glorot and Bengio,
        Understanding the difficulty of training deep feedforward neural networks, 2010,
        equation 16.
    """
    if seed < 0:
        raise UsageError(f"The seed must be 0 or above. Received: {seed}")
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


def initial_state(
    graph: Graph, init: str, seed: int, progress: Progress | None = None
) -> tuple[State, str]:
    """Give the weights that training starts from, and a sentence about where they come from.

    Args:
        graph: The network.
        init: ``"vgg16"``: the encoder from Keras' VGG16, which is downloaded unless it is here,
            the rest random; ``"random"``: all random; ``"auto"``: VGG16 where its file is on this
            machine and fits, else random, and never a download; otherwise a file in any format
            that `read_weights` takes, or VGG16 weights.
        seed: For what is random.
        progress: Shows the download.

    Raises:
        CheckpointError: The file is not there, damaged, or does not fit the network.
        MsinetError: VGG16 cannot be downloaded; says where to put it by hand.
        UsageError: The seed is below 0.
    """
    if init == "random":
        return random_state(graph, seed), f"All layers start from random weights, seed {seed}."
    if init in ("auto", "vgg16"):
        return _from_cache(graph, seed, progress, required=init == "vgg16")
    path = Path(init)
    if find_format(path).encoder_only:
        return _from_vgg16(graph, path, seed)
    weights = State(read_weights(path, graph).state.weights)
    return weights, f"All layers start from the weights in {path}."


def check_init(init: str) -> None:
    """Refuse what is neither a keyword nor a file, before anything else is opened.

    Args:
        init: As for `initial_state`.

    Raises:
        UsageError: There is no such file; suggests the keyword that was meant.
    """
    if init in KEYWORDS:
        return
    try:
        find_format(Path(init))
    except UsageError as error:
        hint = did_you_mean(init, KEYWORDS)
        raise UsageError(
            f"--init {init}:{hint} {error} --init takes auto, vgg16, random, "
            f"published:salicon (or another set's), or the path of a weights file."
        ) from error


def _from_cache(
    graph: Graph, seed: int, progress: Progress | None, *, required: bool
) -> tuple[State, str]:
    path = keras_vgg16.find()
    if path is None and required:
        _check_encoder(graph, keras_vgg16.FILE_NAME)
        path = fetch_vgg16(progress)
    if path is None:
        reason = (
            "since no VGG16 weights are on this machine. A trained encoder learns faster: --init "
            f"vgg16 downloads it (59 MB, {keras_vgg16.ADDRESS})"
        )
    elif not required and _encoder(graph) != _encoder(msinet_graph()):
        reason = "since VGG16 weights fit only a network with the published encoder, width 1"
    else:
        return _from_vgg16(graph, path, seed)
    return random_state(
        graph, seed
    ), f"All layers start from random weights, seed {seed}, {reason}."


def _from_vgg16(graph: Graph, path: Path, seed: int) -> tuple[State, str]:
    encoder = _check_encoder(graph, path)
    with find_format(path).open(path) as archive:
        trained: Tensors = archive.read_state(encoder).weights
    weights = {**random_state(graph, seed).weights, **trained}
    return State(weights), (
        f"The encoder starts from the VGG16 weights in {path}, the other layers from random "
        f"weights, seed {seed}."
    )


def _check_encoder(graph: Graph, path: Path | str) -> Graph:
    """Return the network's encoder if VGG16 fits it."""
    encoder = _encoder(graph)
    if encoder is None or encoder != _encoder(msinet_graph()):
        raise CheckpointError(
            f"{path} holds VGG16 weights, which fit only a network with the published encoder, "
            f"width 1. Use --init random, or a checkpoint of this network."
        )
    return encoder


def _encoder(graph: Graph) -> Graph | None:
    """Cut out what VGG16 has weights for; None where the network has no such part."""
    try:
        return graph.between(graph.input.name, ENCODER_OUTPUT)
    except GraphError:
        return None


def _limit(op: Conv2D, shape: tuple[int, ...]) -> float:
    """Give the largest magnitude of a uniform kernel."""
    height, width, inputs, filters = shape
    fan_in, fan_out = height * width * inputs, height * width * filters
    return math.sqrt(6 / (fan_in if op.activation == "relu" else fan_in + fan_out))


def _uniform(seed: int, name: str, size: int) -> NDArray[np.float64]:
    """Draw numbers in [-1, 1) that depend on the seed and the name alone."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest(), "little")
    bits = np.random.PCG64(np.random.SeedSequence((seed, key))).random_raw(size)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
