"""A network on a TPU that runs several training steps as one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core import Batch, Deferred, MsinetError, Program, State
from msinet_tensorflow.layers import Tensor, tf
from msinet_tensorflow.model import TensorFlowModel
from msinet_tpu import STEPS_PER_EXECUTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_tensorflow.device import TensorFlowDevice


@dataclass
class _Execution:
    """Training steps that run as one program, and their losses.

    Args:
        run: Runs the steps; called once.
        batches: A batch for each step; empty after the steps have run.
        rates: The learning rate of each step with bias correction.
        losses: The program's result, a loss for each step, with padding; None before it runs.
    """

    run: Any
    batches: list[Batch] = field(default_factory=list)
    rates: list[np.float32] = field(default_factory=list)
    losses: Any = None

    def loss(self, step: int) -> float:
        """Return the loss of a step, and run the steps first if they are still queued.

        Args:
            step: The index of the step.
        """
        if self.losses is None:
            self.run()
        if self.losses is None:
            raise MsinetError("The training step did not run because its program failed.")
        self.losses = np.asarray(self.losses)  # fetched once for all steps
        return float(self.losses[step])


class TpuModel(TensorFlowModel):
    """A TensorFlow model that runs several training steps in one execution.

    Steps of one batch are queued until there are ``steps-per-execution`` of them; then they run as
    one program, a loop around the step. Everything that depends on their results runs the queued
    steps first: reading a loss or the state, prediction, evaluation, and steps over several batches
    or with images of another size. The same program then runs fewer iterations, so that results do
    not depend on the grouping of steps, and nothing else is compiled.

    Args:
        device: Provides layer builders, the data format and the option.
        program: The network and its state, which is copied.
    """

    def __init__(self, device: TensorFlowDevice, program: Program) -> None:
        super().__init__(device, program)
        self._group = int(device.options[STEPS_PER_EXECUTION])
        # The next execution runs while the losses of one are read.
        self.unread_losses = 2 * self._group - 1
        self._queued = _Execution(self._execute)
        self._compiled_loop = self._compiled(self._loop)

    def forward(self, images: NDArray[np.float32]) -> Tensor:
        self._execute()
        return super().forward(images)

    def losses(self, batch: Batch) -> Tensor:
        self._execute()
        return super().losses(batch)

    def state(self) -> State:
        self._execute()
        return super().state()

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        if self._group == 1:
            return super().update(batches, learning_rate)
        if len(batches) > 1:
            self._execute()
            return super().update(batches, learning_rate)
        return self._enqueue(batches[0], learning_rate)

    def _enqueue(self, batch: Batch, learning_rate: float) -> Deferred:
        assert self._optimizer is not None
        queued = self._queued.batches
        if queued and queued[0].images.shape[1:] != batch.images.shape[1:]:
            self._execute()
        execution = self._queued
        execution.batches.append(batch)
        execution.rates.append(self._rate(self._optimizer, learning_rate))
        self._step += 1
        loss = Deferred(partial(execution.loss, len(execution.batches) - 1), shape=())
        if len(execution.batches) == self._group:
            self._execute()
        return loss

    def _execute(self) -> None:
        """Run the queued steps, if any."""
        execution = self._queued
        if not execution.batches:
            return
        self._queued = _Execution(self._execute)
        batches = execution.batches
        counts = [len(batch.images) for batch in batches]
        weights = [np.full(count, 1 / count, np.float32) for count in counts]
        size = self._distribution.size(max(counts))
        columns = ([batch.images for batch in batches], [batch.maps for batch in batches], weights)
        inputs = [self._distribution.place(self._stacked(parts), size) for parts in columns]
        rates = np.zeros(self._group, np.float32)
        rates[: len(batches)] = execution.rates
        execution.losses = self._compiled_loop(*inputs, rates, np.int32(len(batches)))
        execution.batches = []

    def _stacked(self, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Stack the steps' arrays along a second axis, padded with zeros.

        The first axis remains that of the images, which are distributed over a TPU's cores.
        """
        rows = max(len(part) for part in parts)
        stacked = np.zeros((rows, self._group, *parts[0].shape[1:]), np.float32)
        for index, part in enumerate(parts):
            stacked[: len(part), index] = part
        return stacked

    def _loop(
        self, images: Tensor, maps: Tensor, weights: Tensor, rates: Tensor, count: Tensor
    ) -> Tensor:
        """Run `count` steps inside the compiled program; each replica returns all losses."""
        indices = tf.range(self._group)

        def step(index: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
            batch = [tf.gather(part, index, axis=1) for part in (images, maps, weights)]
            loss = self._train(batch[0], batch[1], batch[2], tf.gather(rates, index))
            return index + 1, tf.where(indices == index, loss, losses)

        start = (tf.constant(0), tf.zeros(self._group))
        return tf.while_loop(lambda index, _: index < count, step, start)[1]

    def training_program(self, shape: tuple[int, int, int, int]) -> bytes:
        """Return the program of one execution as serialized HLO, without running it.

        Weights and moments are arguments of the program, which updates them in place.

        Args:
            shape: The shape of the images of a step, ``(N, H, W, C)``.
        """
        maps = self._graph.shapes(shape)[self._graph.output.name]
        columns = [shape, maps, shape[:1]]
        if self._group == 1:
            specs = [tf.TensorSpec(column, tf.float32) for column in [*columns, ()]]
            describe = self._compiled_train.experimental_get_compiler_ir(*specs)
        else:
            stacked = [(column[0], self._group, *column[1:]) for column in columns]
            specs = [tf.TensorSpec(column, tf.float32) for column in [*stacked, (self._group,)]]
            count = tf.TensorSpec((), tf.int32)
            describe = self._compiled_loop.experimental_get_compiler_ir(*specs, count)
        program: bytes = describe(stage="hlo_serialized")
        return program
