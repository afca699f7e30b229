"""Training in several processes with torchrun and DistributedDataParallel."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core import DeviceSpec, Processes, UsageError, report_lost_processes
from msinet_torch.loading import Tensor, torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Losses = Callable[[Tensor, Tensor], Tensor]
"""Takes images and true maps on the device; returns the loss of each image."""

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOCAL_VARIABLE = "LOCAL_RANK"
EXAMPLE = "torchrun --nproc-per-node 2 --no-python -- msinet-run train ..."
BACKEND = "cpu:gloo,cuda:nccl"
"""Host tensors use gloo, so that counting images never waits for the GPU."""

SIGNS = ("gloo", "nccl", "connection", "tcpstore", "peer")
"""Words in PyTorch's messages about a lost process."""


class Distribution:
    """How a model's steps are distributed; this one runs in a single process.

    Attributes:
        processes: The processes that train together.
    """

    processes = Processes()

    def distribute(self, losses: Losses, weights: Sequence[Tensor], unused: bool) -> Losses:
        """Return `losses` with gradients that are averaged over all processes.

        Args:
            losses: Computes this process's losses.
            weights: The parameters; every process receives those of the first.
            unused: Whether the loss does not depend on some of them.
        """
        return losses

    def without_sync(self) -> AbstractContextManager[Any]:
        """Keep the gradients computed inside in this process, to accumulate them."""
        return nullcontext()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors in every process with those of the first."""

    def sum(self, value: Tensor) -> Tensor:
        """Sum a scalar on the device over all processes."""
        return value

    def reporting_lost(self) -> AbstractContextManager[None]:
        """Explain the error if another process is lost during a step."""
        return nullcontext()

    def count(self, images: int) -> int:
        """Sum the number of images over all processes."""
        return int(self.processes.sum(np.array([images], np.float64))[0])


class _Module(torch.nn.Module):  # type: ignore[misc]
    """Show DistributedDataParallel the parameters behind a function."""

    def __init__(self, losses: Losses, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList(weights)
        self._losses = losses

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        return self._losses(images, maps)


class ProcessGroup(Distribution):
    """Steps that run in every process of a group, each on one device.

    Args:
        device: This process's ``torch.device``.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._parallel: Any = None
        self.processes = GroupProcesses()

    def distribute(self, losses: Losses, weights: Sequence[Tensor], unused: bool) -> Losses:
        with report_lost():
            self._parallel = torch.nn.parallel.DistributedDataParallel(
                _Module(losses, weights),
                device_ids=[self._device] if self._device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                find_unused_parameters=unused,
            )
        return self._parallel  # type: ignore[no-any-return]

    def without_sync(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._parallel.no_sync()
        return context

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        with report_lost():
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def sum(self, value: Tensor) -> Tensor:
        torch.distributed.all_reduce(value)
        return value

    def reporting_lost(self) -> AbstractContextManager[None]:
        return report_lost()


class GroupProcesses(Processes):
    """The processes of the group that this process has joined."""

    def __init__(self) -> None:
        count = torch.distributed.get_world_size()
        super().__init__(torch.distributed.get_rank(), count, replicas=count)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = torch.tensor(np.asarray(values, np.float64))
        with report_lost():
            torch.distributed.all_reduce(total)
        result: NDArray[np.float64] = total.numpy()
        return result


def report_lost() -> AbstractContextManager[None]:
    """Turn PyTorch's errors about a lost process into a message."""
    return report_lost_processes(
        (RuntimeError,), lambda error: any(sign in str(error).lower() for sign in SIGNS)
    )


def is_distributed(spec: DeviceSpec, distribute: str) -> bool:
    """Return whether this process trains together with others.

    Args:
        spec: The device.
        distribute: ``"auto"``, ``"none"`` or ``"multiworker"``.

    Raises:
        UsageError: It does, but the environment does not describe the group.
    """
    if distribute == "auto":
        count = os.environ.get(spec.capabilities.cluster_variable) or "1"
        if count.isdigit() and int(count) <= 1:
            return False
    elif distribute != "multiworker":
        return False
    _check_environment()
    return True


def local_rank() -> int:
    """Return this process's index among those on its machine.

    Raises:
        UsageError: The variable is not a number.
    """
    return _number(LOCAL_VARIABLE) if LOCAL_VARIABLE in os.environ else 0


def join(device: Any) -> ProcessGroup:
    """Connect to the other processes; a process does so once.

    Args:
        device: This process's ``torch.device``.

    Raises:
        MsinetError: They cannot be reached.
    """
    group = torch.distributed
    if not group.is_initialized():
        with report_lost():
            group.init_process_group(BACKEND if device.type == "cuda" else "gloo")
        if device.type == "cuda":  # gloo's threads may abort a process that leaves at its end
            atexit.register(group.destroy_process_group)
    return ProcessGroup(device)


def _check_environment() -> None:
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"--distribute multiworker needs environment variables that are not set: "
            f"{', '.join(missing)}. Start the processes with torchrun, which sets them: {EXAMPLE}"
        )
    rank, count = _number("RANK"), _number("WORLD_SIZE")
    if rank >= count:
        raise UsageError(
            f"Invalid RANK={rank} for WORLD_SIZE={count}: ranks count from 0. "
            f"torchrun sets both: {EXAMPLE}"
        )


def _number(name: str) -> int:
    text = os.environ[name].strip()
    if not text.isdigit():
        raise UsageError(f"Invalid {name}={text}: not a number. torchrun sets it: {EXAMPLE}")
    return int(text)
