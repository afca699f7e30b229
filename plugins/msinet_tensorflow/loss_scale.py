"""Loss scaling for float16, whose smallest gradients would vanish; decided on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msinet_core.optimizer import Adam
from msinet_tensorflow.layers import Tensor, tf

INITIAL = 2.0**15
SMALLEST, LARGEST = 1.0, 2.0**30
GROWTH_INTERVAL = 2000
"""Good steps in a row after which the scale is doubled."""


class AdamStep(NamedTuple):
    """What Adam's op takes for one step; all of it stays on the device.

    Args:
        gradients: Of the unscaled loss, float32.
        rate: The learning rate, corrected for moments that began at zero.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
    """

    gradients: Mapping[str, Tensor]
    rate: Tensor
    beta_1: Tensor
    beta_2: Tensor


class LossScale:
    """A power of two that the loss is multiplied by before its gradient is taken.

    It is halved, and the step skipped, when a gradient is not finite, and doubled after
    ``GROWTH_INTERVAL`` good steps. At scale 1 nothing is skipped: what overflows then has diverged,
    and has to show. Only the device knows whether a step counted, so it counts Adam's steps too.

    Every value is a float32 variable and every decision a selection, without control flow: such ops
    have kernels on every device.

    Args:
        optimizer: Whose steps they are.
        step: Adam's steps made before.

    Source: Micikevicius et al., arXiv 1710.03740, section 3.2; the numbers are those of
        TensorFlow's DynamicLossScale.
    """

    def __init__(self, optimizer: Adam, step: int) -> None:
        self._optimizer = optimizer
        self._value = _scalar(INITIAL, "loss_scale")
        self._good = _scalar(0, "good_steps")
        self._step = _scalar(step, "step")  # exact up to 2**24
        # 1 - beta**step; from one step to the next without the cancellation of that formula.
        self._missing_1 = _scalar(1 - optimizer.beta_1**step, "missing_1")
        self._missing_2 = _scalar(1 - optimizer.beta_2**step, "missing_2")

    @property
    def value(self) -> float:
        """The scale as it is now."""
        return float(self._value.numpy())

    @property
    def step(self) -> int:
        """The number of steps that counted."""
        return int(self._step.numpy())

    def scaled(self, loss: Tensor) -> Tensor:
        """Multiply the loss, before its gradient is taken.

        Args:
            loss: A float32 scalar.
        """
        return loss * self._value

    def advance(
        self, gradients: Mapping[str, Tensor], finite: Tensor, learning_rate: Tensor
    ) -> AdamStep:
        """Decide about a step, inside the compiled function.

        A skipped step is one with decays of 1, rate 0 and gradients 0: Adam's op then changes
        nothing, to the last bit.

        Args:
            gradients: Of the scaled loss, float32.
            finite: A boolean scalar: whether all of them are.
            learning_rate: Adam's, not corrected.
        """
        scale = tf.convert_to_tensor(self._value)
        counts = tf.logical_or(finite, scale <= SMALLEST)
        good = tf.where(finite, self._good + 1.0, 0.0)
        grows = good >= GROWTH_INTERVAL
        grown = tf.where(grows, tf.minimum(2 * scale, LARGEST), scale)
        beta_1, beta_2 = self._optimizer.beta_1, self._optimizer.beta_2
        missing_1 = tf.where(counts, beta_1 * self._missing_1 + (1 - beta_1), self._missing_1)
        missing_2 = tf.where(counts, beta_2 * self._missing_2 + (1 - beta_2), self._missing_2)
        assign(self._value, tf.where(finite, grown, tf.maximum(scale / 2, SMALLEST)))
        assign(self._good, tf.where(grows, 0.0, good))
        assign(self._step, self._step + tf.where(counts, 1.0, 0.0))
        assign(self._missing_1, missing_1)
        assign(self._missing_2, missing_2)
        return AdamStep(
            gradients={
                name: tf.where(counts, gradient / scale, 0.0)
                for name, gradient in gradients.items()
            },
            rate=tf.where(counts, learning_rate * tf.sqrt(missing_2) / missing_1, 0.0),
            beta_1=tf.where(counts, beta_1, 1.0),
            beta_2=tf.where(counts, beta_2, 1.0),
        )


def assign(variable: Any, value: Tensor) -> None:
    """Assign inside a compiled step; also where each replica has a copy and assigns the same.

    Args:
        variable: A float32 variable.
        value: Its new value.
    """
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _scalar(value: float, name: str) -> Any:
    return tf.Variable(value, dtype=tf.float32, trainable=False, name=name)
