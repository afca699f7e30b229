"""A network on a TPU: several training steps as one program, and the program written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

import numpy as np

from msinet_core import Batch, MsinetError, Program, State
from msinet_tensorflow.layers import Tensor, tf
from msinet_tensorflow.model import TensorFlowModel
from msinet_tpu import STEPS_PER_EXECUTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_tensorflow.device import TensorFlowDevice


@dataclass
class _Execution:
    """Steps that are run as one program, and their losses once they were.

    Args:
        run: Runs them; called once.
        batches: One for each step.
        rates: Each step's learning rate, corrected for moments that began at zero.
        losses: What the program gave, a row for each step and perhaps more.
    """

    run: Any
    batches: list[Batch] = field(default_factory=list)
    rates: list[np.float32] = field(default_factory=list)
    losses: Any = None


class _Loss(NamedTuple):
    """A step's loss; reading it runs the step, if it still waits."""

    execution: _Execution
    position: int

    def __float__(self) -> float:
        execution = self.execution
        if execution.losses is None:
            execution.run()
        if execution.losses is None:
            raise MsinetError("The step was not made, since the program that held it failed.")
        execution.losses = np.asarray(execution.losses)  # fetched once for all its steps
        return float(execution.losses[self.position])


class TpuModel(TensorFlowModel):
    """A TensorFlow model that makes several training steps in one execution.

    Steps of one batch wait until there are as many as the option says; then they run as one
    program, a loop around the step. Whatever has to see their results runs those that wait: reading
    a loss, the state, a prediction, an evaluation, a step over several batches or with images of
    another size. Then the same program makes fewer rounds, so the numbers do not depend on how
    steps were grouped, and nothing else is compiled.

    Args:
        device: Brings builders, layouts and the option.
        program: The network and its state, which is copied.
    """

    def __init__(
        self,
        device: TensorFlowDevice,
        program: Program,
    ) -> None:
        super().__init__(device, program)
        self._most = int(device.options[STEPS_PER_EXECUTION])
        # While the losses of one execution are read, the next one is already running.
        self.unread_losses = 2 * self._most - 1
        self._waiting = _Execution(self._execute)
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
        if self._most == 1:
            return super().update(batches, learning_rate)
        if len(batches) > 1:
            self._execute()
            return super().update(batches, learning_rate)
        return self._enqueue(batches[0], learning_rate)

    def _enqueue(self, batch: Batch, learning_rate: float) -> _Loss:
        assert self._optimizer is not None
        waiting = self._waiting.batches
        if waiting and waiting[0].images.shape[1:] != batch.images.shape[1:]:
            self._execute()
        execution = self._waiting
        execution.batches.append(batch)
        execution.rates.append(self._rate(self._optimizer, learning_rate))
        self._step += 1
        loss = _Loss(execution, len(execution.batches) - 1)
        if len(execution.batches) == self._most:
            self._execute()
        return loss

    def _execute(self) -> None:
        """Run the steps that wait, if there are any."""
        execution = self._waiting
        if not execution.batches:
            return
        self._waiting = _Execution(self._execute)
        batches = execution.batches
        counts = [len(batch.images) for batch in batches]
        weights = [np.full(count, 1 / count, np.float32) for count in counts]
        size = self._distribution.size(max(counts))
        columns = ([batch.images for batch in batches], [batch.maps for batch in batches], weights)
        inputs = [self._distribution.place(self._stacked(parts), size) for parts in columns]
        rates = np.zeros(self._most, np.float32)
        rates[: len(batches)] = execution.rates
        execution.losses = self._compiled_loop(*inputs, rates, np.int32(len(batches)))
        execution.batches = []

    def _stacked(self, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Put what belongs to steps side by side on a second axis, with zeros in free indices.

        The first axis stays that of the images, which are shared out among a TPU's cores.
        """
        rows = max(len(part) for part in parts)
        stacked = np.zeros((rows, self._most, *parts[0].shape[1:]), np.float32)
        for index, part in enumerate(parts):
            stacked[: len(part), index] = part
        return stacked

    def _loop(
        self, images: Tensor, maps: Tensor, weights: Tensor, rates: Tensor, count: Tensor
    ) -> Tensor:
        """Make `count` steps, inside the compiled program; each replica gives all the losses."""
        indices = tf.range(self._most)

        def step(index: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
            batch = [tf.gather(part, index, axis=1) for part in (images, maps, weights)]
            loss = self._train(batch[0], batch[1], batch[2], tf.gather(rates, index))
            return index + 1, tf.where(indices == index, loss, losses)

        start = (tf.constant(0), tf.zeros(self._most))
        return tf.while_loop(lambda index, _: index < count, step, start)[1]

    def training_program(self, shape: tuple[int, int, int, int]) -> bytes:
        """Write what one execution trains down as serialized HLO, computing nothing.

        Weights and moments are arguments of the program, which updates them in index.

        Args:
            shape: One step's images, ``(N, H, W, C)``.
        """
        maps = self._graph.shapes(shape)[self._graph.output.name]
        columns = [shape, maps, shape[:1]]
        if self._most == 1:
            specs = [tf.TensorSpec(column, tf.float32) for column in [*columns, ()]]
            describe = self._compiled_train.experimental_get_compiler_ir(*specs)
        else:
            stacked = [(column[0], self._most, *column[1:]) for column in columns]
            specs = [tf.TensorSpec(column, tf.float32) for column in [*stacked, (self._most,)]]
            count = tf.TensorSpec((), tf.int32)
            describe = self._compiled_loop.experimental_get_compiler_ir(*specs, count)
        program: bytes = describe(stage="hlo_serialized")
        return program
