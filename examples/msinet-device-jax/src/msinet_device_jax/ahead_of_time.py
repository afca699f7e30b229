"""Compile the training step for a TPU that is not here, in a process of its own.

``python -m msinet_device_jax.ahead_of_time JSON`` prints one JSON document; nothing is executed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # nothing is executed, and no TPU is looked for
    "TPU_SKIP_MDS_QUERY": "1",  # nor is Google's metadata server, which would take minutes
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # a lock file keeps libtpu from a chip, which nobody uses
}


def compile_step(
    topology: str, batch: int, size: Sequence[int], precision: str, width: float = 1.0
) -> dict[str, Any]:
    """Compile MSI-Net's training step for one chip, or core, of a topology.

    Args:
        topology: For example ``"v5e:1x1"``.
        batch: The number of images.
        size: Height and width of the images in pixels.
        precision: What convolutions compute in.
        width: Scales the network's channels.

    Returns:
        What libtpu says: the chip, FLOPs of a step, bytes needed; or ``refused``, its reason.
    """
    import jax
    import numpy as np
    from jax.experimental.topologies import get_topology_desc
    from msinet_core.network.adam import Adam
    from msinet_core.network.loss import KLDivergence
    from msinet_core.network.msinet import msinet_graph
    from msinet_core.network.state import Batch, State

    from msinet_device_jax import SPEC

    graph = msinet_graph(width)
    device = SPEC.open(precision, {"platform": "cpu"})
    weights = {item.name: np.zeros(item.shape, np.float32) for item in graph.parameters}
    model: Any = device.compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())
    try:
        chip = get_topology_desc(platform="tpu", topology_name=topology).devices[0]
        there = jax.sharding.SingleDeviceSharding(chip)

        def described(*shape: int) -> Any:
            return jax.ShapeDtypeStruct(shape, np.float32, sharding=there)

        memory = {item.name: described(*item.shape) for item in graph.parameters}
        data = Batch(described(batch, *size, 3), described(batch, *size, 1))
        started = time.monotonic()
        step = model.compiled_train.lower((memory,) * 3, data, described(), described()).compile()
    except jax.errors.JaxRuntimeError as error:
        return {"refused": str(error)}
    sizes = step.memory_analysis()
    # Weights and moments are updated in place: what is written over an argument needs no room.
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    arguments, temporaries = sizes.argument_size_in_bytes, sizes.temp_size_in_bytes
    return {
        "chip": chip.device_kind,
        "flops": step.cost_analysis()["flops"],
        "bytes": arguments + results + temporaries + sizes.generated_code_size_in_bytes,
        "in_place": sizes.alias_size_in_bytes,
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    os.environ |= ENVIRONMENT
    print(json.dumps(compile_step(**json.loads(sys.argv[1]))))
