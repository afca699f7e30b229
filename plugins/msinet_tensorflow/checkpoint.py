"""Write whole Keras models, ``*.keras``: the network in Keras' own terms, described by Keras.

Reading them needs no Keras, so msinet_core does that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from msinet_core import (
    Checkpoint,
    CheckpointError,
    Format,
    Graph,
    Inputs,
    Layers,
    Parameters,
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
    images = keras.Input((None, None, channels), name=graph.input.name)
    layers = KerasLayers(keras, names)
    unused = dict.fromkeys((parameter.name for parameter in graph.parameters), None)
    maps = graph.apply(layers.builders(), images, unused, layers.enter)
    return keras.Model(images, maps, name="msinet")


class KerasLayers(Layers):
    """Compute every op with Keras' own layers, but no loss.

    Args:
        keras: The package.
        names: The name of each convolution's layer, by the convolution's node.
    """

    def __init__(self, keras: Any, names: Mapping[str, str]) -> None:
        self._keras = keras
        self._names = names
        self._node = ""

    def enter(self, node: Any) -> None:
        """Name the next layer after a node of the network.

        Args:
            node: The node.
        """
        self._node = node.name

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Any:
        return self._keras.layers.Rescaling(1.0, [-mean for mean in op.mean])(inputs[0])

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Any:
        return self._keras.layers.Conv2D(
            op.filters,
            op.kernel_size,
            strides=op.strides,
            padding=op.padding.lower(),
            dilation_rate=op.dilation,
            activation=op.activation,
            use_bias=op.use_bias,
            name=self._names[self._node],
        )(inputs[0])

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Any:
        pool = self._keras.layers.MaxPooling2D(op.pool_size, op.strides, op.padding.lower())
        return pool(inputs[0])

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Any:
        layers = self._keras.layers
        if op.coordinates == "half_pixel":
            return layers.UpSampling2D(op.scale, interpolation="bilinear")(inputs[0])
        if op.scale != 2:
            raise self._no_counterpart(op)
        # Asymmetric: each pixel twice, then the mean of each with the next one. The last has no
        # next one, and SAME pooling ignores what is outside.
        doubled = layers.UpSampling2D(2, interpolation="nearest")(inputs[0])
        return layers.AveragePooling2D(2, strides=1, padding="same")(doubled)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Any:
        if tuple(inputs[0].shape[1:3]) != (1, 1):
            raise self._no_counterpart(op)
        # A single value is the same at every pixel, whatever the coordinates.
        zeros = self._keras.ops.zeros_like(inputs[1][..., :1])
        return self._keras.ops.add(zeros, inputs[0])

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Any:
        return self._keras.layers.Concatenate()(list(inputs))

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Any:
        return self._keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs[0])

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Any:
        keras, axes = self._keras.ops, (1, 2, 3)
        above = keras.subtract(inputs[0], keras.min(inputs[0], axis=axes, keepdims=True))
        high = keras.max(above, axis=axes, keepdims=True)
        return keras.divide(above, keras.add(high, op.epsilon))

    def _no_counterpart(self, op: ops.Op) -> CheckpointError:
        return CheckpointError(
            f"'{self._node}' is {op}, which Keras' own layers do not compute, so this network "
            f"cannot be written as *.keras. Write *.weights.h5 instead, which holds weights alone."
        )
