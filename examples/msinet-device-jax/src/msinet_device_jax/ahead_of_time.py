"""Compile the training step for TPUs elsewhere, in a separate process.

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
    """Compile MSI-Net's training step for every chip, or core, of a topology.

    Args:
        topology: For example ``"v5e:1x1"`` or ``"v6e:4x4"``.
        batch: The number of images; each chip computes an equal part.
        size: Height and width of the images in pixels.
        precision: The precision of convolutions.
        width: Scales the network's channels.

    Returns:
        The chip and the number of them; for each, FLOPs, bytes of memory and libtpu's estimate of a
        step's seconds; or ``error``, libtpu's message.
    """
    import jax
    import numpy as np
    from jax.experimental.topologies import get_topology_desc
    from msinet_core import Batch, msinet_graph, untrained_program

    from msinet_device_jax import SPEC
    from msinet_device_jax.placement import Placement

    graph = msinet_graph(width)
    model: Any = SPEC.open(precision, {"platform": "cpu"}).build(untrained_program(graph))
    try:
        chips = get_topology_desc(platform="tpu", topology_name=topology).devices
        placement = Placement(chips)
        rows = placement.padded(batch)

        def array(sharding: Any, *shape: int) -> Any:
            return jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)

        memory = {item.name: array(placement.copied, *item.shape) for item in graph.parameters}
        data = Batch(*(array(placement.split, rows, *size, channels) for channels in (3, 1)))
        shares, rate = array(placement.split, rows), array(placement.copied)
        started = time.monotonic()
        step = model.jit_train(placement).lower((memory,) * 3, data, shares, rate).compile()
    except jax.errors.JaxRuntimeError as error:
        return {"error": str(error)}
    sizes, cost = step.memory_analysis(), step.cost_analysis()
    # Weights and moments are updated in place: results that alias arguments need no memory.
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    arguments, temporaries = sizes.argument_size_in_bytes, sizes.temp_size_in_bytes
    return {
        "chip": chips[0].device_kind,
        "chips": len(chips),
        "images": rows,
        "flops": cost["flops"],
        "bytes": arguments + results + temporaries + sizes.generated_code_size_in_bytes,
        "bytes_accessed": cost["bytes accessed"],
        "optimal_seconds": cost.get("optimal_seconds"),
        "in_place": sizes.alias_size_in_bytes,
        "sums_over_chips": "all-reduce" in step.as_text(),
        "seconds": time.monotonic() - started,
    }


def main() -> None:
    """Compile what the command line describes, and print the result as JSON."""
    os.environ |= ENVIRONMENT
    print(json.dumps(compile_step(**json.loads(sys.argv[1]))))
