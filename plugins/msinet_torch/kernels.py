"""The kernels that PyTorch registers for MPS.

The first lines of the table say where it comes from.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

TABLE = "mps_kernels_2.13.0.txt"
TABLE_TORCH = "2.13.0"
"""The release that the table was recorded from."""


@cache
def mps_kernels() -> frozenset[str]:
    """Read the names of the kernels."""
    text = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def kernel_names(op: Any) -> frozenset[str]:
    """Return the names that PyTorch's code generator can give the kernel of an op.

    Args:
        op: A ``torch._ops.OpOverload``, for example ``torch.ops.aten.add.Tensor``.

    Source: torchgen/api/native.py and torchgen/dest/register_dispatch_key.py.
    """
    schema = op._schema
    name, overload = schema.name.partition("::")[2], schema.overload_name
    if any(argument.is_out for argument in schema.arguments):
        name += "_out"
    return frozenset((f"{overload}_{name}", f"{name}_{overload}" if overload else name))
