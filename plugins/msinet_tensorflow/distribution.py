"""Training on several devices or in several processes, by `tf.distribute`."""

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
"""The exceptions of a step when another process is gone."""


class Distribution:
    """Runs a model's steps on one device; the base class of other distributions.

    Attributes:
        processes: The processes that train together.
        replicas: On how many devices this process computes.
    """

    processes = Processes()
    replicas = 1

    def scope(self) -> AbstractContextManager[Any]:
        """Make the variables that are created inside exist on every device."""
        return nullcontext()

    def compiled(self, step: Callable[..., Any], jit_compile: bool | None) -> Any:
        """Make a compiled function that runs a step on every device of this process.

        Args:
            step: Takes tensors of one replica; gives a tensor with a row for each image, a scalar
                that is the same on every replica, or nothing.
            jit_compile: Whether XLA compiles it.
        """
        return tf.function(step, autograph=False, jit_compile=jit_compile)

    def total(self, values: Any) -> Any:
        """Add up over all replicas of all workers, inside a step.

        Args:
            values: A structure of tensors.
        """
        return values

    def size(self, count: int) -> int:
        """Give the number of images for each replica, by the most that a worker has.

        Args:
            count: That number.
        """
        return -(-count // self.replicas)

    def place(self, values: NDArray[Any], size: int) -> Any:
        """Put rows on the devices of this process in their order, with rows of zeros at the end.

        Args:
            values: A row for each image.
            size: Rows for each device.
        """
        return tf.constant(_padded(values, size))

    def agree(self, counts: Sequence[int]) -> tuple[int, list[int]]:
        """Give the number of images over all workers, and the size of each batch on a replica.

        It is the same for each: workers whose shapes differ would trace different functions, and
        wait for each other forever.

        Args:
            counts: This worker's number of images in each batch.
        """
        table = np.zeros((self.processes.count, len(counts)))
        table[self.processes.index] = counts
        table = self.processes.sum(table)
        return int(table.sum()), [self.size(int(most)) for most in table.max(axis=0)]


class StrategyDistribution(Distribution):
    """Runs steps by a strategy of `tf.distribute`, which holds a copy of every variable per device.

    Args:
        strategy: Mirrored, multi-worker or TPU.
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
                "XLA compiles steps for one device only. Switch it off, or use --distribute none."
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

    def place(self, values: NDArray[Any], size: int) -> Any:
        parts = iter(np.split(_padded(values, size * self.replicas), self.replicas))
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(next(parts))
        )


class ClusterProcesses(Processes):
    """The processes of a `tf.distribute.MultiWorkerMirroredStrategy`.

    Args:
        strategy: It.
        index: The index of this process.
        count: How many there are.
    """

    def __init__(self, strategy: Any, index: int, count: int) -> None:
        super().__init__(index, count, strategy.num_replicas_in_sync)
        distribution = StrategyDistribution(strategy, Processes(index, count))
        self._distribution = distribution
        # An argument of a compiled function is on no device; the sum of a tensor needs one.
        self._total = distribution.compiled(
            lambda values: distribution.total(tf.identity(values)), None
        )

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        own = np.asarray(values, np.float64)[np.newaxis]  # the first replica's; zeros for others
        with report_lost_processes(LOST):
            total = self._total(self._distribution.place(own, 1))
            return np.array(total.numpy()[0])


def open_distribution(spec: DeviceSpec, distribute: str, kind: str) -> Distribution:
    """Set up how a device trains; must be called before TensorFlow computes anything.

    Args:
        spec: The device.
        distribute: ``"auto"``, ``"none"`` or one of the spec's.
        kind: TensorFlow's name of the devices to use: ``"CPU"`` or ``"GPU"``.

    Raises:
        UsageError: There is nothing to distribute over.
    """
    if distribute == "auto":
        distribute = _automatic(spec.capabilities.distribution, kind)
    if distribute == "multiworker":
        index, count = cluster()
        with _ended_by_ctrl_c():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return StrategyDistribution(strategy, ClusterProcesses(strategy, index, count))
    if distribute == "mirrored":
        names = [device.name for device in tf.config.list_logical_devices(kind)]
        if len(names) < 2:
            raise UsageError(
                f"--distribute mirrored needs more than one device of '{spec.name}'; TensorFlow "
                f"has {len(names)}. Use --distribute none, or auto, which decides by their number."
            )
        return StrategyDistribution(tf.distribute.MirroredStrategy(names))
    return Distribution()


def _automatic(offered: Sequence[str], kind: str) -> str:
    if "multiworker" in offered and os.environ.get(CLUSTER_VARIABLE) and cluster()[1] > 1:
        return "multiworker"
    if "mirrored" in offered and len(tf.config.list_logical_devices(kind)) > 1:
        return "mirrored"
    return "none"


def cluster() -> tuple[int, int]:
    """Return this process's index and the number of processes, from ``TF_CONFIG``.

    Raises:
        UsageError: The variable is missing, or names no such worker.

    Source: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config
    """
    text = os.environ.get(CLUSTER_VARIABLE, "")
    try:
        document = json.loads(text)
        named = document["cluster"]
        chiefs, workers = len(named.get("chief", ())), len(named.get("worker", ()))
        kind, index = document["task"]["type"], int(document["task"]["index"])
        if kind not in ("chief", "worker") or not 0 <= index < len(named[kind]):
            raise ValueError(f"no {kind} {index} in the cluster")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is invalid ({error!s})" if text else "is not set"
        raise UsageError(
            f"--distribute multiworker needs the environment variable {CLUSTER_VARIABLE}, which "
            f"{problem}. It lists all workers and says which one this is: {CLUSTER_EXAMPLE}"
        ) from error
    return index + (chiefs if kind == "worker" else 0), chiefs + workers


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process immediately.

    TensorFlow waits for the other workers in native code, where Python's handler would not be
    called before they come.
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
