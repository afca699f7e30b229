"""The kernels that the installed TensorFlow registers for NVIDIA GPUs."""

from __future__ import annotations

from functools import cache
from typing import Any

from msinet_tensorflow.audit import Kernel, KernelTable

DEVICE_TYPES = ("GPU", "DEFAULT")


@cache
def cuda_kernels() -> KernelTable:
    """Read TensorFlow's registry, without a GPU; ``tensorflow-cpu`` has no GPU kernels."""
    from msinet_tensorflow.loading import load_tensorflow

    load_tensorflow()
    from tensorflow.python.framework import kernels

    table: dict[str, list[Kernel]] = {}
    for entry in kernels.get_all_registered_kernels().kernel:
        if entry.device_type in DEVICE_TYPES and not entry.label:  # labeled kernels are opt-in
            table.setdefault(entry.op, []).append(_kernel(entry))
    return table


def has_gpu_kernels(table: KernelTable) -> bool:
    """Return whether a kernel table comes from a TensorFlow built for GPUs.

    Args:
        table: The kernels of each op.
    """
    return any(kernel.device == "GPU" for kernel in table.get("Conv2D", ()))


def _kernel(entry: Any) -> Kernel:
    from tensorflow import dtypes

    constraints = {
        constraint.name: frozenset(
            dtypes.as_dtype(number).name for number in constraint.allowed_values.list.type
        )
        for constraint in entry.constraint
    }
    return Kernel(entry.device_type, constraints, frozenset(entry.host_memory_arg))
