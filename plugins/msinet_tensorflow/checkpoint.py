"""Write whole Keras models, ``*.keras``: the network in Keras' own terms, described by Keras.

Reading them needs no Keras, so msinet_core does that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from msinet_core import (
    Checkpoint,
    CheckpointError,
    Format,
    Graph,
    ops,
    suppress_native_stderr,
    write_keras_archive,
)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a model that `keras.models.load_model` loads, with its weights.

    Args:
        path: The file to make or replace, ``*.keras``.
        checkpoint: The network and its weights.

    Raises:
        CheckpointError: Keras is not installed, or an op of the network has no counterpart in it.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    write_keras_archive(path, checkpoint, _describe)


KERAS_MODEL = Format(
    "keras",
    "Keras 3 model (*.keras)",
    write=write,
    suffixes=(".keras",),
    holds=frozenset({"network"}),
)


def _describe(
    graph: Graph, names: Mapping[str, str]
) -> tuple[Mapping[str, Any], Mapping[str, str], list[str]]:
    with suppress_native_stderr():
        keras = _import_keras()
        model = build_model(keras, graph, names)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": keras.__version__, "date_saved": now}
    return config, metadata, [layer.name for layer in model.layers]


def _import_keras() -> Any:
    # Read when its backend is imported; it concerns TensorFlow alone, and what is set stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
    except ImportError as error:
        raise CheckpointError(
            f"Writing *.keras needs Keras, which is not installed ({error}). "
            f'Run: pip install "msinet[cpu]". Or write *.weights.h5, which does not need it.'
        ) from error
    return keras


def build_model(keras: Any, graph: Graph, names: Mapping[str, str]) -> Any:
    """Build the network from Keras' own layers, so that loading it needs none of our code.

    Args:
        keras: The package.
        graph: The network.
        names: The name of each convolution's layer, by the convolution's node.

    Raises:
        CheckpointError: An op has no counterpart in Keras.
    """
    channels = graph.channels[graph.input.name]
    values = {graph.input.name: keras.Input((None, None, channels), name=graph.input.name)}
    for node in graph.nodes[1:]:
        build = _BUILDERS.get(type(node.op))
        if build is None:
            raise _no_counterpart(node.name, node.op)
        inputs = [values[name] for name in node.inputs]
        values[node.name] = build(keras, names.get(node.name, node.name), node.op, inputs)
    return keras.Model(values[graph.input.name], values[graph.output.name], name="msinet")


def _subtract_mean(keras: Any, name: str, op: ops.SubtractMean, inputs: Sequence[Any]) -> Any:
    return keras.layers.Rescaling(1.0, [-mean for mean in op.mean])(inputs[0])


def _conv(keras: Any, name: str, op: ops.Conv2D, inputs: Sequence[Any]) -> Any:
    return keras.layers.Conv2D(
        op.filters,
        op.kernel_size,
        strides=op.strides,
        padding=op.padding.lower(),
        dilation_rate=op.dilation,
        activation=op.activation,
        use_bias=op.use_bias,
        name=name,
    )(inputs[0])


def _pool(keras: Any, name: str, op: ops.MaxPool2D, inputs: Sequence[Any]) -> Any:
    return keras.layers.MaxPooling2D(op.pool_size, op.strides, op.padding.lower())(inputs[0])


def _resize(keras: Any, name: str, op: ops.Resize, inputs: Sequence[Any]) -> Any:
    if op.coordinates == "half_pixel":
        return keras.layers.UpSampling2D(op.scale, interpolation="bilinear")(inputs[0])
    if op.scale != 2:
        raise _no_counterpart(name, op)
    # Asymmetric: each pixel twice, then the mean of each with the next one. The last has no next
    # one, and SAME pooling ignores what is outside.
    doubled = keras.layers.UpSampling2D(2, interpolation="nearest")(inputs[0])
    return keras.layers.AveragePooling2D(2, strides=1, padding="same")(doubled)


def _resize_like(keras: Any, name: str, op: ops.ResizeLike, inputs: Sequence[Any]) -> Any:
    if tuple(inputs[0].shape[1:3]) != (1, 1):
        raise _no_counterpart(name, op)
    # A single value is the same at every pixel, whatever the coordinates.
    return keras.ops.add(keras.ops.zeros_like(inputs[1][..., :1]), inputs[0])


def _concat(keras: Any, name: str, op: ops.Concat, inputs: Sequence[Any]) -> Any:
    return keras.layers.Concatenate()(list(inputs))


def _global_mean(keras: Any, name: str, op: ops.GlobalMean, inputs: Sequence[Any]) -> Any:
    return keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs[0])


def _min_max(keras: Any, name: str, op: ops.MinMaxNormalize, inputs: Sequence[Any]) -> Any:
    axes = (1, 2, 3)
    above = keras.ops.subtract(inputs[0], keras.ops.min(inputs[0], axis=axes, keepdims=True))
    high = keras.ops.max(above, axis=axes, keepdims=True)
    return keras.ops.divide(above, keras.ops.add(high, op.epsilon))


_BUILDERS: Mapping[type[ops.Op], Callable[[Any, str, Any, Sequence[Any]], Any]] = {
    ops.SubtractMean: _subtract_mean,
    ops.Conv2D: _conv,
    ops.MaxPool2D: _pool,
    ops.Resize: _resize,
    ops.ResizeLike: _resize_like,
    ops.Concat: _concat,
    ops.GlobalMean: _global_mean,
    ops.MinMaxNormalize: _min_max,
}


def _no_counterpart(name: str, op: ops.Op) -> CheckpointError:
    return CheckpointError(
        f"'{name}' is {op}, which Keras' own layers do not compute, so this network cannot be "
        f"written as *.keras. Write *.weights.h5 instead, which holds weights alone."
    )
