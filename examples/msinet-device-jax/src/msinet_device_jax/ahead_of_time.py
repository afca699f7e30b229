"""Compile the training step for a TPU elsewhere, in a separate process.

`main` prints the result as JSON; the step itself is not run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # do not look for a TPU
    "TPU_SKIP_MDS_QUERY": "1",  # or for Google's metadata server, which would take minutes
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # libtpu's lock file protects a chip, which is not used
}


def compile_step(
    topology: str, batch: int, size: Sequence[int], precision: str, width: float = 1.0
) -> dict[str, Any]:
    """Compile MSI-Net's training step for one chip, or core, of a topology.

    Args:
        topology: For example ``"v5e:1x1"``.
        batch: The number of images.
        size: Height and width of the images in pixels.
        precision: The precision of convolutions.
        width: Scales the network's channels.

    Returns:
        The chip, the FLOPs of a step and the bytes it needs; or ``error``, libtpu's message.
    """
    import jax
    import numpy as np
    from jax.experimental.topologies import get_topology_desc
    from msinet_core import Adam, Batch, KLDivergence, State, msinet_graph

    from msinet_device_jax import SPEC

    graph = msinet_graph(width)
    device = SPEC.open(precision, {"platform": "cpu"})
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    model: Any = device.compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())
    try:
        chip = get_topology_desc(platform="tpu", topology_name=topology).devices[0]
        sharding = jax.sharding.SingleDeviceSharding(chip)

        def array(*shape: int) -> Any:
            return jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)

        memory = {item.name: array(*item.shape) for item in graph.parameters}
        data = Batch(array(batch, *size, 3), array(batch, *size, 1))
        started = time.monotonic()
        step = model.compiled_train.lower((memory,) * 3, data, array(), array()).compile()
    except jax.errors.JaxRuntimeError as error:
        return {"error": str(error)}
    sizes = step.memory_analysis()
    # Weights and moments are updated in place: results that alias arguments need no memory.
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    arguments, temporaries = sizes.argument_size_in_bytes, sizes.temp_size_in_bytes
    return {
        "chip": chip.device_kind,
        "flops": step.cost_analysis()["flops"],
        "bytes": arguments + results + temporaries + sizes.generated_code_size_in_bytes,
        "in_place": sizes.alias_size_in_bytes,
        "seconds": time.monotonic() - started,
    }


def main() -> None:
    """Compile what the command line describes, and print the result as JSON."""
    os.environ |= ENVIRONMENT
    print(json.dumps(compile_step(**json.loads(sys.argv[1]))))
