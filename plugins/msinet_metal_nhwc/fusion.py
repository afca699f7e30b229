"""Convolutions that tensorflow-metal would fuse with their bias, and what the fused op computes.

tensorflow-metal rewrites graphs: a convolution or product whose result goes to BiasAdd becomes one
op of its own, with the activation that follows. No kernel table lists what that op computes, and
users report wrong results of the one for products. So the steps of `metal` have no such pair, and
the rewriter is disabled.

Source: FindContractionWithBias and FindContractionWithBiasAndActivation in libmetal_plugin.dylib
1.2.0; https://github.com/tensorflow/tensorflow/issues/92686, 62137, 61650
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from msinet_core import Finding, run_python
from msinet_tensorflow.loading import REMAPPER_VARIABLE

CONTRACTIONS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
BIAS = "BiasAdd"
TIMEOUT = 120.0
"""The seconds after which the comparison is stopped; it takes a few."""

TOLERANCE = 1e-4
"""The largest difference of results up to 4, each a sum of 576 products, in float32."""


def fusible(functions: Mapping[str, Any]) -> list[str]:
    """Name the BiasAdd nodes that tensorflow-metal would fuse with the op before them.

    Args:
        functions: Concrete functions by name.
    """
    names = []
    for name, function in functions.items():
        graph = function.graph.as_graph_def()
        for nodes in (graph.node, *(called.node_def for called in graph.library.function)):
            products = {node.name for node in nodes if node.op in CONTRACTIONS}
            names += [
                f"{name}: {node.name}"
                for node in nodes
                if node.op == BIAS and node.input[0].partition(":")[0] in products
            ]
    return names


def compare(placement: str) -> dict[str, float]:
    """Compute a convolution with bias and ReLU, as one that can be fused and as one that cannot.

    Args:
        placement: TensorFlow's name of the device, for example ``"/GPU:0"``.

    Returns:
        The largest difference of each from the processor's result.
    """
    import numpy as np
    import tensorflow as tf  # not through `load_tensorflow`, which disables the rewriter

    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (2, 30, 40, 64)).astype(np.float32)
    kernel = (random.uniform(-1, 1, (3, 3, 64, 128)) / 8).astype(np.float32)
    bias = random.uniform(-1, 1, 128).astype(np.float32)

    tf.config.set_soft_device_placement(False)

    def compute(add: Any, placement: str) -> Any:
        def chain(images: Any, kernel: Any, bias: Any) -> Any:
            with tf.device(placement):
                return tf.nn.relu(add(tf.nn.conv2d(images, kernel, 1, "SAME"), bias))

        # Arguments, because TensorFlow would compute constants on the processor.
        return tf.function(chain, autograph=False)(images, kernel, bias).numpy()

    wanted = compute(tf.add, "/CPU:0")
    return {
        name: float(np.abs(compute(add, placement) - wanted).max())
        for name, add in (("fusible", tf.nn.bias_add), ("separate", tf.add))
    }


def examine_fusion(placement: str) -> Finding:
    """Compare both forms of a convolution with bias in another process, with the rewriter enabled.

    Args:
        placement: TensorFlow's name of the device.
    """
    title = "fusion test"
    environment = {name: value for name, value in os.environ.items() if name != REMAPPER_VARIABLE}
    code = f"from {__name__} import main; main(sys.argv[1:])"
    done = run_python(code, placement, timeout=TIMEOUT, env=environment)
    if done.code != 0:
        reason = done.how if done.code is None else done.last_line
        return Finding(title, "problem", f"The test failed: {reason}")
    data: dict[str, float] = json.loads(done.output.splitlines()[-1])
    detail = (
        "A convolution with bias and ReLU, compared with the processor: difference "
        f"{data['separate']:.1e} as msinet computes it, {data['fusible']:.1e} in the form that "
        "tensorflow-metal fuses. Please report both."
    )
    is_exact = data["separate"] <= TOLERANCE
    return Finding(title, "ok" if is_exact else "problem", detail, data=data)


def main(arguments: Sequence[str]) -> None:
    """Print the differences as JSON.

    Args:
        arguments: TensorFlow's name of the device.
    """
    (placement,) = arguments
    sys.stdout.write(json.dumps(compare(placement)) + "\n")
