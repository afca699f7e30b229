"""The network as a functional Keras model, for the configuration that ``*.keras`` files hold."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint import names
from msinet_core.errors import CheckpointError
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Op,
    Resize,
    ResizeLike,
    SubtractMean,
)
from msinet_core.system.install_hints import installable
from msinet_core.system.native_output import suppress_native_stderr

if TYPE_CHECKING:
    from msinet_core.network.graph import Graph


def describe_model(graph: Graph) -> tuple[Mapping[str, Any], Mapping[str, str], list[str]]:
    """Give a model's config.json, its metadata.json and its convolutions in the model's order.

    Args:
        graph: The network.

    Raises:
        CheckpointError: Keras is not installed, or an op has no counterpart in it.
    """
    with suppress_native_stderr():
        keras = _import_keras()
        model = build_model(keras, graph)
    flat = {name: node for node, name in names.flat_names(_convolutions(graph), "_").items()}
    order = [flat[layer.name] for layer in model.layers if layer.name in flat]
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d@%H:%M:%S")
    return config, {"keras_version": keras.__version__, "date_saved": now}, order


def _import_keras() -> Any:
    # Read when its backend is imported; it concerns TensorFlow alone, and what is set stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        # Keras ships no types: what it gives is Any.
        return importlib.import_module("keras")
    except ImportError as error:
        fix = installable('pip install "msinet[cpu]"')
        raise CheckpointError(
            f"A *.keras file describes its network in Keras' own words, and Keras is not here "
            f"({error}). Run: {fix}. Or write *.weights.h5, which needs none."
        ) from error


def build_model(keras: Any, graph: Graph) -> Any:
    """Build the network of Keras' own layers, so that loading it needs no code of ours.

    Args:
        keras: The package.
        graph: The network.

    Raises:
        CheckpointError: An op has no counterpart in Keras.
    """
    flat = names.flat_names(_convolutions(graph), "_")
    channels = graph.channels[graph.input.name]
    values = {graph.input.name: keras.Input((None, None, channels), name=graph.input.name)}
    for node in graph.nodes[1:]:
        build = _BUILDERS.get(type(node.op))
        if build is None:
            raise _no_counterpart(node.name, node.op)
        inputs = [values[name] for name in node.inputs]
        values[node.name] = build(keras, flat.get(node.name, node.name), node.op, inputs)
    return keras.Model(values[graph.input.name], values[graph.output.name], name="msinet")


def _convolutions(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes if isinstance(node.op, Conv2D)]


def _subtract_mean(keras: Any, name: str, op: SubtractMean, inputs: Sequence[Any]) -> Any:
    return keras.layers.Rescaling(1.0, [-mean for mean in op.mean])(inputs[0])


def _conv(keras: Any, name: str, op: Conv2D, inputs: Sequence[Any]) -> Any:
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


def _pool(keras: Any, name: str, op: MaxPool2D, inputs: Sequence[Any]) -> Any:
    return keras.layers.MaxPooling2D(op.pool_size, op.strides, op.padding.lower())(inputs[0])


def _resize(keras: Any, name: str, op: Resize, inputs: Sequence[Any]) -> Any:
    if op.coordinates == "half_pixel":
        return keras.layers.UpSampling2D(op.scale, interpolation="bilinear")(inputs[0])
    if op.scale != 2:
        raise _no_counterpart(name, op)
    # Twice as large, "asymmetric": each pixel twice, then the mean of each with the next one; the
    # last has no next one, and SAME leaves what is outside out of a mean.
    doubled = keras.layers.UpSampling2D(2, interpolation="nearest")(inputs[0])
    return keras.layers.AveragePooling2D(2, strides=1, padding="same")(doubled)


def _resize_like(keras: Any, name: str, op: ResizeLike, inputs: Sequence[Any]) -> Any:
    if tuple(inputs[0].shape[1:3]) != (1, 1):
        raise _no_counterpart(name, op)
    # One value for each channel is the same at every pixel, whatever the coordinates.
    return keras.ops.add(keras.ops.zeros_like(inputs[1][..., :1]), inputs[0])


def _concat(keras: Any, name: str, op: Concat, inputs: Sequence[Any]) -> Any:
    return keras.layers.Concatenate()(list(inputs))


def _global_mean(keras: Any, name: str, op: GlobalMean, inputs: Sequence[Any]) -> Any:
    return keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs[0])


def _min_max(keras: Any, name: str, op: MinMaxNormalize, inputs: Sequence[Any]) -> Any:
    axes = (1, 2, 3)
    above = keras.ops.subtract(inputs[0], keras.ops.min(inputs[0], axis=axes, keepdims=True))
    high = keras.ops.max(above, axis=axes, keepdims=True)
    return keras.ops.divide(above, keras.ops.add(high, op.epsilon))


_BUILDERS: Mapping[type[Op], Callable[[Any, str, Any, Sequence[Any]], Any]] = {
    SubtractMean: _subtract_mean,
    Conv2D: _conv,
    MaxPool2D: _pool,
    Resize: _resize,
    ResizeLike: _resize_like,
    Concat: _concat,
    GlobalMean: _global_mean,
    MinMaxNormalize: _min_max,
}


def _no_counterpart(name: str, op: Op) -> CheckpointError:
    return CheckpointError(
        f"'{name}' is {op}, which Keras' own layers do not compute, so no *.keras file can be "
        f"written of this network. Write *.weights.h5 instead, which holds weights alone."
    )
