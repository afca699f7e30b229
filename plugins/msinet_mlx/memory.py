"""Memory that the processor and the GPU share: limits, what a step needs, and running out of it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

from msinet_core.errors import MsinetError, UsageError
from msinet_core.hardware.host import cpu_hardware
from msinet_core.network.graph import Graph
from msinet_core.network.ops import Conv2D
from msinet_mlx.layers import mx

FLOAT32_BYTES = 4
GIB = 2**30
FIRST_MACOS_THAT_WIRES = 15
CACHES: Mapping[str, int | None] = {
    "auto": None,
    "off": 0,
    "1GiB": GIB,
    "4GiB": 4 * GIB,
    "16GiB": 16 * GIB,
}
"""The bytes of freed memory that MLX keeps for reuse; None for as much as it may use at all."""

_EXHAUSTION = ("[malloc]", "metal::malloc", "Insufficient Memory", "OutOfMemory", "out of memory")
"""What MLX's messages contain when memory is the reason."""


def set_limits(options: Mapping[str, str], facts: Mapping[str, Any]) -> int | None:
    """Set how MLX uses memory in this process, and return the bytes it may use; None if unknown.

    By itself MLX would go half as far again as macOS recommends for a GPU, into the memory of every
    other program.

    Args:
        options: The device's ``memory``, ``cache`` and ``wired``.
        facts: What `mlx.core.device_info` tells.

    Raises:
        UsageError: Memory cannot be wired here.
    """
    recommended = facts.get("max_recommended_working_set_size")
    total = facts.get("memory_size") or facts.get("total_memory") or cpu_hardware().memory
    limit: int | None = recommended or total
    if options["memory"] != "auto" and total:
        limit = total * int(options["memory"].rstrip("%")) // 100
    if limit:
        mx.set_memory_limit(limit)
        kept = CACHES[options["cache"]]
        mx.set_cache_limit(limit if kept is None else kept)
    if options["wired"] == "on":
        _check_wiring()
        mx.set_wired_limit(min(limit, recommended) if limit and recommended else 0)
    return limit


def least_needed(
    graph: Graph, shape: tuple[int, int, int, int], itemsize: int, training: bool
) -> int:
    """Give the bytes that a step cannot do without; it takes more, by what MLX keeps besides.

    Args:
        graph: The network.
        shape: The images' ``(N, H, W, C)``.
        itemsize: Bytes of one value of a feature.
        training: Whether every convolution's input is kept for the gradient of its kernel.
    """
    sizes = {name: prod(size) * itemsize for name, size in graph.shapes(shape).items()}
    convolutions = [node for node in graph.nodes if isinstance(node.op, Conv2D)]
    read = {node.inputs[0] for node in convolutions}
    if training:
        # Weights, their gradients and two moments.
        return sum(sizes[name] for name in read) + 4 * FLOAT32_BYTES * graph.parameter_count
    widest = max((sizes[node.inputs[0]] + sizes[node.name] for node in convolutions), default=0)
    return widest + FLOAT32_BYTES * graph.parameter_count


def check_fits(
    graph: Graph, shape: tuple[int, int, int, int], itemsize: int, training: bool, limit: int | None
) -> None:
    """Refuse a step that cannot fit, before MLX tries.

    MLX on a processor ends the process when memory runs out, without a word.

    Args:
        graph: The network.
        shape: The images' ``(N, H, W, C)``.
        itemsize: Bytes of one value of a feature.
        training: Whether the step trains.
        limit: The bytes that MLX may use; None if unknown.

    Raises:
        MsinetError: Says what it needs and what there is.
    """
    needed = least_needed(graph, shape, itemsize, training)
    if limit is None or needed <= limit:
        return
    kind = "A training step" if training else "A prediction"
    count, height, width, _ = shape
    raise MsinetError(
        f"{kind} with {count} images of {height}x{width} needs more than {needed / GIB:.1f} GiB, "
        f"and MLX may use {limit / GIB:.1f} GiB here. {_ways_out()}"
    )


@contextmanager
def exhaustion_explained() -> Iterator[None]:
    """Say what to do when MLX runs out of memory.

    Raises:
        MsinetError: In place of MLX's RuntimeError.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(
            text in str(error) for text in _EXHAUSTION
        ):
            raise
        raise MsinetError(f"MLX ran out of memory: {error} {_ways_out()}") from error


def _check_wiring() -> None:
    release = platform.mac_ver()[0]
    major = release.partition(".")[0]
    if not major.isdigit() or int(major) < FIRST_MACOS_THAT_WIRES:
        raise UsageError(
            "Device 'mlx' cannot keep memory from being swapped out here: "
            f"macOS does since {FIRST_MACOS_THAT_WIRES}, and this is "
            f"{f'macOS {release}' if release else platform.system()}. Leave --device-option "
            "wired=on out."
        )


def _ways_out() -> str:
    return (
        "Use a smaller --batch-size (--accumulate makes up for it) or --image-size, --precision "
        "bfloat16, or --device-option memory=90% if other programs need little."
    )
