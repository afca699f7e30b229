"""Loss scaling for float16 training, computed on the device."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from msinet_core import Adam, LossScale
from msinet_tensorflow.layers import Tensor, tf


class AdamStep(NamedTuple):
    """The inputs of TensorFlow's Adam op for one step.

    Args:
        gradients: Of the unscaled loss, float32.
        rate: The learning rate with bias correction.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
    """

    gradients: Mapping[str, Tensor]
    rate: Tensor
    beta_1: Tensor
    beta_2: Tensor


class ScaledSteps:
    """The loss scale (`msinet_core.LossScale`) in variables on the device.

    Every value is a float32 variable and every decision uses ``tf.where`` instead of control flow,
    because those ops have kernels on every device.

    Args:
        optimizer: The optimizer that makes the steps.
        step: The number of steps already made.
    """

    def __init__(self, optimizer: Adam, step: int) -> None:
        self._optimizer = optimizer
        scale = LossScale.new(optimizer, step)._asdict()
        variable = partial(tf.Variable, dtype=tf.float32, trainable=False)
        self._scale = LossScale(**{name: variable(scale[name], name=name) for name in scale})

    @property
    def value(self) -> float:
        """The current scale."""
        return float(self._scale.value.numpy())

    @property
    def skipped(self) -> int:
        """The number of skipped steps."""
        return int(self._scale.skipped.numpy())

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss times the scale.

        Args:
            loss: A float32 scalar.
        """
        return loss * self._scale.value

    def advance(
        self, gradients: Mapping[str, Tensor], finite: Tensor, learning_rate: Tensor
    ) -> AdamStep:
        """Update the scale and return the inputs of Adam, inside the compiled function.

        A skipped step has decays of 1, rate 0 and gradients 0, with which Adam's op changes no bit
        of the variables.

        Args:
            gradients: The gradients of the scaled loss, float32.
            finite: Whether all of them are finite, a boolean scalar.
            learning_rate: The learning rate without bias correction.
        """
        before = LossScale(*map(tf.convert_to_tensor, self._scale))
        after, counts = before.next(tf.where, self._optimizer, finite)
        for variable, value in zip(self._scale, after, strict=True):
            assign(variable, value)
        rate = learning_rate * tf.sqrt(after.missing_2) / after.missing_1
        return AdamStep(
            gradients={
                name: tf.where(counts, gradient / before.value, 0.0)
                for name, gradient in gradients.items()
            },
            rate=tf.where(counts, rate, 0.0),
            beta_1=tf.where(counts, self._optimizer.beta_1, 1.0),
            beta_2=tf.where(counts, self._optimizer.beta_2, 1.0),
        )


def assign(variable: Any, value: Tensor) -> None:
    """Assign inside a compiled step; each replica assigns to its own copy.

    Args:
        variable: A float32 variable.
        value: Its new value.
    """
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
