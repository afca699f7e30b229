"""Training on several devices or in several processes with `tf.distribute`."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core import DeviceSpec, Processes, UsageError, report_lost_processes
from msinet_tensorflow import CLUSTER_VARIABLE
from msinet_tensorflow.layers import tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLUSTER_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
"""The exceptions that a step raises when another process is lost."""


class Distribution:
    """Runs a model's steps on one device; the base class of other distributions.

    Attributes:
        processes: The processes that train together.
        replicas: The number of devices that this process computes on.
    """

    processes = Processes()
    replicas = 1

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which variables are created on every device."""
        return nullcontext()

    def compiled(self, step: Callable[..., Any], jit_compile: bool | None) -> Any:
        """Return a compiled function that runs a step on every device of this process.

        Args:
            step: Takes the tensors of one replica and returns a tensor with a row for each image, a
                scalar that is the same on every replica, or None.
            jit_compile: Whether to compile it with XLA.
        """
        return tf.function(step, autograph=False, jit_compile=jit_compile)

    def total(self, values: Any) -> Any:
        """Return the sum over all replicas of all processes, inside a step.

        Args:
            values: A structure of tensors.
        """
        return values

    def size(self, count: int) -> int:
        """Return the number of images on each replica.

        Args:
            count: The largest number of images in a process.
        """
        return -(-count // self.replicas)

    def place(self, values: NDArray[Any], size: int) -> Any:
        """Copy rows to the devices of this process in order, padded with rows of zeros.

        Args:
            values: A row for each image.
            size: The number of rows on each device.
        """
        return tf.constant(_padded(values, size))

    def agree(self, counts: Sequence[int]) -> tuple[int, list[int]]:
        """Return the number of images in all processes, and the size of each batch on a replica.

        Every process gets the same sizes: with different shapes they would trace different
        functions and wait for each other forever.

        Args:
            counts: The number of images in each batch of this process.
        """
        table = np.zeros((self.processes.count, len(counts)))
        table[self.processes.index] = counts
        table = self.processes.sum(table)
        return int(table.sum()), [self.size(int(most)) for most in table.max(axis=0)]

    def reporting_lost(self) -> AbstractContextManager[None]:
        """Explain the error if another process is lost during a step."""
        return nullcontext()


class OnOneDevice(Distribution):
    """Runs every op of a step on one device; an op without a kernel is an error.

    Args:
        placement: TensorFlow's name of the device, for example ``"/GPU:0"``.
    """

    def __init__(self, placement: str) -> None:
        self.placement = placement

    def scope(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = tf.device(self.placement)
        return device

    def compiled(self, step: Callable[..., Any], jit_compile: bool | None) -> Any:
        # XLA places a function as a whole and ignores the placement of its ops.
        inner = super().compiled(step, jit_compile) if jit_compile else step

        def placed(*arguments: Any) -> Any:
            # Inside the step: around the call, TensorFlow may ignore the placement.
            with tf.device(self.placement):
                return inner(*arguments)

        return super().compiled(placed, None if jit_compile else jit_compile)


class StrategyDistribution(Distribution):
    """Runs steps with a `tf.distribute` strategy, which copies every variable to each device.

    Args:
        strategy: A mirrored, multi-worker or TPU strategy.
        processes: The processes that train together; None for this one alone.
    """

    def __init__(self, strategy: Any, processes: Processes | None = None) -> None:
        self.strategy = strategy
        self.processes = processes or Processes(replicas=strategy.num_replicas_in_sync)
        self.replicas = strategy.num_replicas_in_sync // self.processes.count

    def scope(self) -> AbstractContextManager[Any]:
        scope: AbstractContextManager[Any] = self.strategy.scope()
        return scope

    def compiled(self, step: Callable[..., Any], jit_compile: bool | None) -> Any:
        if jit_compile:
            raise UsageError(
                "XLA compiles steps for one device only. Disable it, or use --distribute none."
            )

        def run(*arguments: Any) -> Any:
            return self._merged(self.strategy.run(step, args=arguments))

        return tf.function(run, autograph=False)

    def _merged(self, results: Any) -> Any:
        first, *others = self.strategy.experimental_local_results(results)
        if first is None or first.shape.rank == 0:
            return first
        return tf.concat([first, *others], axis=0)

    def total(self, values: Any) -> Any:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)

    def reporting_lost(self) -> AbstractContextManager[None]:
        return nullcontext() if self.processes.count == 1 else report_lost_processes(LOST)

    def place(self, values: NDArray[Any], size: int) -> Any:
        parts = iter(np.split(_padded(values, size * self.replicas), self.replicas))
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(next(parts))
        )


class ClusterProcesses(Processes):
    """The processes of a `tf.distribute.MultiWorkerMirroredStrategy`.

    Args:
        strategy: The strategy.
        index: The index of this process.
        count: The number of processes.
    """

    def __init__(self, strategy: Any, index: int, count: int) -> None:
        super().__init__(index, count, strategy.num_replicas_in_sync)
        distribution = StrategyDistribution(strategy, Processes(index, count))
        self._distribution = distribution
        # tf.identity puts the argument on a device, which the sum needs.
        self._total = distribution.compiled(
            lambda values: distribution.total(tf.identity(values)), None
        )

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        row = np.asarray(values, np.float64)[np.newaxis]  # on the first replica; others add zeros
        with report_lost_processes(LOST):
            total = self._total(self._distribution.place(row, 1))
            return np.array(total.numpy()[0])


def open_distribution(
    spec: DeviceSpec, distribute: str, kind: str, max_devices: int | None = None
) -> Distribution:
    """Set up distributed training; must be called before TensorFlow computes anything.

    Args:
        spec: The device.
        distribute: ``"auto"``, ``"none"`` or one of the spec's distributions.
        kind: TensorFlow's name of the devices to use: ``"CPU"`` or ``"GPU"``.
        max_devices: The number of devices of this machine to use at most; None: all.

    Raises:
        UsageError: There is only one device, or no valid cluster.
    """
    if distribute == "auto":
        distribute = _automatic(spec.capabilities.distribution, kind, max_devices)
    if distribute == "multiworker":
        index, count = cluster()
        with _ended_by_ctrl_c():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return StrategyDistribution(strategy, ClusterProcesses(strategy, index, count))
    if distribute == "mirrored":
        names = _names(kind, max_devices)
        if len(names) < 2:
            raise UsageError(
                f"--distribute mirrored needs at least two devices for '{spec.name}'; TensorFlow "
                f"has {len(names)}. Use --distribute none or auto."
            )
        return StrategyDistribution(tf.distribute.MirroredStrategy(names))
    return Distribution()


def _names(kind: str, max_devices: int | None) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices(kind)[:max_devices]]


def _automatic(supported: Sequence[str], kind: str, max_devices: int | None) -> str:
    if "multiworker" in supported and os.environ.get(CLUSTER_VARIABLE) and cluster()[1] > 1:
        return "multiworker"
    if "mirrored" in supported and len(_names(kind, max_devices)) > 1:
        return "mirrored"
    return "none"


def cluster() -> tuple[int, int]:
    """Return this process's index and the number of processes, from ``TF_CONFIG``.

    Raises:
        UsageError: The variable is not set or invalid.

    Source: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config
    """
    text = os.environ.get(CLUSTER_VARIABLE, "")
    try:
        document = json.loads(text)
        addresses = document["cluster"]
        chiefs, workers = len(addresses.get("chief", ())), len(addresses.get("worker", ()))
        kind, index = document["task"]["type"], int(document["task"]["index"])
        if kind not in ("chief", "worker") or not 0 <= index < len(addresses[kind]):
            raise ValueError(f"no {kind} {index} in the cluster")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is invalid ({error!s})" if text else "is not set"
        raise UsageError(
            f"--distribute multiworker needs the environment variable {CLUSTER_VARIABLE}, which "
            f"{problem}. It lists all processes and identifies this one: {CLUSTER_EXAMPLE}"
        ) from error
    return index + (chiefs if kind == "worker" else 0), chiefs + workers


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process immediately.

    TensorFlow waits for the other processes in native code, where Python's signal handler does not
    run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _padded(values: NDArray[Any], rows: int) -> NDArray[Any]:
    missing = rows - len(values)
    if not missing:
        return values
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])
