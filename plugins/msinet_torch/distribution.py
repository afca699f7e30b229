"""Training in several processes: what torchrun and DistributedDataParallel do for a model."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.device import DeviceSpec
from msinet_core.device.processes import Processes
from msinet_core.errors import MsinetError, UsageError
from msinet_torch.loading import load_torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

torch = load_torch()

Tensor = Any
Losses = Callable[[Tensor, Tensor], Tensor]
"""Takes images and true maps on the device; gives the loss of each image."""

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOCAL_VARIABLE = "LOCAL_RANK"
EXAMPLE = "torchrun --nproc-per-node 2 --no-python -- msinet-run train ..."
BACKEND = "cpu:gloo,cuda:nccl"
"""Tensors in the host's memory go by gloo, so that the host never waits for a GPU to count."""

SIGNS = ("gloo", "nccl", "connection", "tcpstore", "peer")
"""Words in what PyTorch says when another process is gone."""


class Distribution:
    """Where a model's steps run; this one runs them in this process alone.

    Attributes:
        processes: The processes that train together.
    """

    processes = Processes()

    def trained(self, losses: Losses, weights: Sequence[Tensor], unused: bool) -> Losses:
        """Return `losses` so that gradients through it are the mean over all workers.

        Args:
            losses: Computes them on this worker.
            weights: The parameters, which every worker gets from the chief.
            unused: Whether the loss does not depend on some of them.
        """
        return losses

    def alone(self) -> AbstractContextManager[Any]:
        """Leave gradients of the losses computed inside to this worker, to be added up later."""
        return nullcontext()

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Give every worker the chief's values.

        Args:
            tensors: Overwritten in place.
        """

    def total(self, value: Tensor) -> Tensor:
        """Add up a scalar over all workers.

        Args:
            value: On the device.
        """
        return value

    def count(self, images: int) -> int:
        """Add up the number of images over all workers.

        Args:
            images: This worker's.
        """
        return int(self.processes.sum(np.array([images], np.float64))[0])


class _Module(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Shows DistributedDataParallel the parameters behind a function."""

    def __init__(self, losses: Losses, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList(weights)
        self._losses = losses

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        return self._losses(images, maps)


class ProcessGroup(Distribution):
    """Runs steps in every process of a group, on one device each.

    Args:
        place: This process's ``torch.device``.
    """

    def __init__(self, place: Any) -> None:
        self._place = place
        self._parallel: Any = None
        self.processes = GroupProcesses()

    def trained(self, losses: Losses, weights: Sequence[Tensor], unused: bool) -> Losses:
        with peers_watched():
            self._parallel = torch.nn.parallel.DistributedDataParallel(
                _Module(losses, weights),
                device_ids=[self._place] if self._place.type == "cuda" else None,
                gradient_as_bucket_view=True,
                find_unused_parameters=unused,
            )
        return self._parallel  # type: ignore[no-any-return]

    def alone(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._parallel.no_sync()
        return context

    def share(self, tensors: Sequence[Tensor]) -> None:
        with peers_watched():
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def total(self, value: Tensor) -> Tensor:
        torch.distributed.all_reduce(value)
        return value


class GroupProcesses(Processes):
    """The processes of the group that this one has joined."""

    def __init__(self) -> None:
        count = torch.distributed.get_world_size()
        super().__init__(torch.distributed.get_rank(), count, replicas=count)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = torch.tensor(np.asarray(values, np.float64))
        with peers_watched():
            torch.distributed.all_reduce(total)
        result: NDArray[np.float64] = total.numpy()
        return result


@contextmanager
def peers_watched() -> Iterator[None]:
    """Turn what PyTorch raises when a worker is gone into a message.

    Raises:
        MsinetError: A worker is gone.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if not any(sign in text for sign in SIGNS):
            raise
        raise MsinetError(
            f"The workers lost each other ({type(error).__name__}): one of them has ended or "
            "cannot be reached; its own terminal says why. The last checkpoint is whole. Start all "
            "of them again with --resume."
        ) from error


def wanted(spec: DeviceSpec, distribute: str) -> bool:
    """Tell whether this process is to train with others.

    Args:
        spec: The device.
        distribute: ``"auto"``, ``"none"`` or ``"multiworker"``.

    Raises:
        UsageError: It is, and the environment does not name them.
    """
    if distribute == "auto":
        count = os.environ.get(spec.capabilities.cluster_variable, "1")
        return not count.isdigit() or (int(count) > 1 and _checked())
    return distribute == "multiworker" and _checked()


def local_rank() -> int:
    """Return this process's place among those of its machine.

    Raises:
        UsageError: The variable is no number.
    """
    return _number(LOCAL_VARIABLE) if LOCAL_VARIABLE in os.environ else 0


def join(place: Any) -> ProcessGroup:
    """Meet the other processes, once in the life of this one.

    Args:
        place: This process's ``torch.device``.

    Raises:
        MsinetError: They do not come.
    """
    group = torch.distributed
    if not group.is_initialized():
        with peers_watched():
            group.init_process_group(BACKEND if place.type == "cuda" else "gloo")
        atexit.register(_leave)
    return ProcessGroup(place)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _checked() -> bool:
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"--distribute multiworker needs the environment variables {', '.join(VARIABLES)}, "
            f"of which {', '.join(missing)} is not set. torchrun sets them: {EXAMPLE}"
        )
    rank, count = _number("RANK"), _number("WORLD_SIZE")
    if not 0 <= rank < count:
        raise UsageError(
            f"RANK={rank} and WORLD_SIZE={count} do not name a process: RANK counts from 0. "
            f"torchrun sets both: {EXAMPLE}"
        )
    return True


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.strip().isdigit():
        raise UsageError(
            f"The environment variable {name} is '{text}', which is no number. torchrun sets it: "
            f"{EXAMPLE}"
        )
    return int(text)
