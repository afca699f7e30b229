"""Memory that the CPU and the GPU share: limits, what a step needs, and running out of it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

from msinet_core import Graph, MsinetError, UsageError, hardware, ops
from msinet_mlx.layers import mx

FLOAT32_BYTES = 4
GIB = 2**30
FIRST_MACOS_WITH_WIRING = 15
_EXHAUSTION = ("[malloc]", "metal::malloc", "Insufficient Memory", "OutOfMemory", "out of memory")
"""What MLX's messages contain if memory is the reason."""

_ADVICE = (
    "Try in this order: a smaller --batch-size (for training with an --accumulate that keeps their "
    "product; --resume continues the run), --precision bfloat16, a smaller --image-size, or "
    "--device-option memory=90% if other programs need little memory."
)


def set_limits(options: Mapping[str, str], facts: Mapping[str, Any]) -> int | None:
    """Set MLX's memory limits for this process; return the bytes it may use, None if unknown.

    MLX's own limit is half as much again as macOS recommends for a GPU, which starves other
    programs.

    Args:
        options: The device's ``memory``, ``cache`` and ``wired``.
        facts: The result of `mlx.core.device_info`.

    Raises:
        UsageError: This system cannot wire memory.
    """
    recommended = facts.get("max_recommended_working_set_size")
    total = facts.get("memory_size") or facts.get("total_memory") or hardware.cpu_hardware().memory
    limit: int | None = recommended or total
    if options["memory"] != "auto" and total:
        limit = total * int(options["memory"].rstrip("%")) // 100
    if limit:
        mx.set_memory_limit(limit)
        caches = {"auto": limit, "off": 0, "1GiB": GIB, "4GiB": 4 * GIB, "16GiB": 16 * GIB}
        mx.set_cache_limit(caches[options["cache"]])
    if options["wired"] == "on":
        _check_wiring()
        mx.set_wired_limit(min(limit, recommended) if limit and recommended else 0)
    return limit


def check_memory(
    graph: Graph, shape: tuple[int, int, int, int], itemsize: int, training: bool, limit: int | None
) -> None:
    """Refuse a step that cannot fit: on a CPU, MLX ends the process without a message.

    The bound leaves out MLX's temporary buffers.

    Args:
        graph: The network.
        shape: The images' ``(N, H, W, C)``.
        itemsize: Bytes per feature value.
        training: Whether every convolution's input is kept for the gradient of its kernel.
        limit: The bytes that MLX may use; None if unknown.

    Raises:
        MsinetError: The step needs more than the limit.
    """
    sizes = {name: prod(size) * itemsize for name, size in graph.shapes(shape).items()}
    convolutions = [node for node in graph.nodes if isinstance(node.op, ops.Conv2D)]
    if training:  # with the weights' gradients and two moments
        features = sum(sizes[name] for name in {node.inputs[0] for node in convolutions})
    else:
        features = max(
            (sizes[node.inputs[0]] + sizes[node.name] for node in convolutions), default=0
        )
    copies = 4 if training else 1
    needed = features + copies * FLOAT32_BYTES * graph.parameter_count
    if limit is None or needed <= limit:
        return
    kind = "A training step" if training else "A prediction"
    count, height, width, _ = shape
    raise MsinetError(
        f"{kind} with {count} images of {height}x{width} needs more than {needed / GIB:.1f} GiB, "
        f"but MLX may use only {limit / GIB:.1f} GiB. {_ADVICE}"
    )


@contextmanager
def explain_exhaustion() -> Iterator[None]:
    """Add advice to MLX's errors about memory.

    Raises:
        MsinetError: MLX ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(text in str(error) for text in _EXHAUSTION):
            raise MsinetError(f"MLX ran out of memory: {error} {_ADVICE}") from error
        raise


def _check_wiring() -> None:
    release = platform.mac_ver()[0]
    major = release.partition(".")[0]
    if not major.isdigit() or int(major) < FIRST_MACOS_WITH_WIRING:
        raise UsageError(
            f"--device-option wired=on requires macOS {FIRST_MACOS_WITH_WIRING} or later; this is "
            f"{f'macOS {release}' if release else platform.system()}"
        )
