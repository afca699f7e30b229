"""Find ops of a model's steps that have no MPS kernel, on any machine with PyTorch.

The steps run on the CPU with MPS's memory format. PyTorch shows each op that it dispatches, and an
op is fine if the table has its kernel, or if PyTorch computes it with other ops ("composite") that
are fine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from msinet_core import (
    AuditProblem,
    AuditReport,
    Batch,
    DeviceSpec,
    Graph,
    msinet_graph,
    untrained_program,
)
from msinet_torch.device import MpsDevice
from msinet_torch.loading import torch

TABLE = "mps_kernels_2.13.0.txt"
"""The kernels that PyTorch registers for MPS; its first lines say where it comes from."""

TABLE_TORCH = "2.13.0"
"""The release that the table was recorded from."""


TorchDispatchMode: Any = torch.utils._python_dispatch.TorchDispatchMode

aten = torch.ops.aten

BRANCHES: Mapping[Any, tuple[str, ...]] = {
    aten.convolution.default: ("__mps_convolution",),
    aten.convolution_backward.default: ("_mps_convolution_backward",),
    aten.copy_.default: ("__copy_from",),  # the same function
    aten.max_pool2d_with_indices.default: ("_max_pool2d",),
    aten.max_pool2d_with_indices_backward.default: ("_max_pool2d_backward",),
    aten.scalar_tensor.default: ("memory_format_empty", "Scalar_fill_"),
}
"""Composite ops that branch on the type of the device, and the kernels of MPS's branch.

Source: aten/src/ATen/native/Convolution.cpp, Copy.cpp, Pooling.cpp and TensorFactories.cpp.
"""

MISSING_DTYPES = frozenset({torch.float64, torch.complex128})
"""The dtypes that MPS does not support.

Source: https://docs.pytorch.org/docs/stable/notes/mps.html
"""

WIDTH = 1 / 16
"""The width of the audited network, whose steps have the ops of the published one.

The inputs of its dilated convolutions are multiples of 16 channels, as a CPU requires in bfloat16.
"""

SIZE = (16, 16)


class AuditedDevice(MpsDevice):
    """The device `mps`, computing on the CPU."""

    def open_torch_device(self, index: int) -> Any:
        return torch.device("cpu")


class Audit(TorchDispatchMode):  # type: ignore[misc]
    """Look up the MPS kernel of each op that is dispatched while the audit is entered.

    Args:
        kernels: The names of the kernels.
    """

    def __init__(self, kernels: frozenset[str]) -> None:
        super().__init__()
        self._kernels = kernels
        self._counts: Counter[str] = Counter()
        self._steps: list[str] = []
        self._problems: list[AuditProblem] = []
        self._outer: list[Any] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Audit what runs inside as one step.

        Args:
            name: The name that problems refer to.
        """
        self._steps.append(name)
        with self:
            yield

    def report(self) -> AuditReport:
        """Return what was found so far."""
        return AuditReport(dict(self._counts), len(self._steps), tuple(self._problems))

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._counts[str(op)] += 1
        problems = len(self._problems)
        if op in BRANCHES:
            if not self._kernels.issuperset(BRANCHES[op]):
                self._add(op, f"{op} has no MPS kernel.")
            result = op(*args, **kwargs)
        elif self._kernels & kernel_names(op) or op in self._outer:
            result = op(*args, **kwargs)
        elif _is_composite(op):
            result = self._compute_composite(op, args, kwargs)
        else:
            self._add(op, f"{op} has no MPS kernel.")
            result = op(*args, **kwargs)
        missing = MISSING_DTYPES & _dtypes((args, kwargs, result))
        if missing and len(self._problems) == problems:
            names = _names(missing)
            self._add(op, f"{op} computes in {names}, which MPS does not support.", names)
        return result

    def _compute_composite(self, op: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Run the kernel that MPS would use, and audit the ops that it calls."""
        before = self._counts.total()
        self._outer.append(op)
        try:
            with self:
                keys = torch._C.DispatchKeySet(torch._C.DispatchKey.MPS)
                result = op.redispatch(keys, *args, **kwargs)
        finally:
            self._outer.pop()
        is_view = not op._schema.is_mutable and _storages(result) <= _storages((args, kwargs))
        if self._counts.total() == before and not is_view:
            self._add(op, f"{op} is composite, and what it calls is unknown.")
        return result

    def _add(self, op: Any, why: str, dtypes: str = "") -> None:
        self._problems.append(AuditProblem(self._steps[-1], "", str(op), dtypes, "no kernel", why))


def audit_steps(
    spec: DeviceSpec,
    precision: str,
    graph: Graph | None = None,
    kernels: frozenset[str] | None = None,
) -> AuditReport:
    """Run every step of `mps` on the CPU and look up the kernels of its ops.

    Args:
        spec: The device `mps`.
        precision: The dtype of convolutions.
        graph: The network; None for a narrow one with the ops of the published one.
        kernels: The names of the available kernels; None for those of the table.
    """
    graph = graph or msinet_graph(WIDTH)
    shape = (2, *SIZE, graph.channels[graph.input.name])
    maps = graph.shapes(shape)[graph.output.name]
    batch = Batch(np.ones(shape, np.float32), np.ones(maps, np.float32))
    audit = Audit(mps_kernels() if kernels is None else kernels)
    with audit.step("build"):
        model = AuditedDevice(spec, precision).build(untrained_program(graph))
    steps: Mapping[str, Callable[[], Any]] = {
        "predict": lambda: np.asarray(model.predict(batch.images)),
        "evaluate": lambda: np.asarray(model.eval_step(batch)),
        "train": lambda: float(model.train_step([batch], 1e-5)),
        "accumulate and train": lambda: float(model.train_step([batch, batch], 1e-5)),
        "state": model.state,
    }
    for name, run in steps.items():
        with audit.step(name):
            run()
    return audit.report()


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


def _is_composite(op: Any) -> bool:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(
        has_kernel(op.name(), key)
        for key in ("CompositeExplicitAutograd", "CompositeImplicitAutograd")
    )


def _tensors(values: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(values)
    return [value for value in leaves if isinstance(value, torch.Tensor)]


def _storages(values: Any) -> frozenset[int]:
    return frozenset(tensor.untyped_storage().data_ptr() for tensor in _tensors(values))


def _dtypes(values: Any) -> frozenset[Any]:
    return frozenset(tensor.dtype for tensor in _tensors(values))


def _names(dtypes: frozenset[Any]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
