"""A network on a JAX device: its state and its compiled steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from msinet_core.device import Model, Program
from msinet_core.network.loss import KLDivergence
from msinet_core.network.state import Batch, OptimizerState, State

if TYPE_CHECKING:
    from msinet_device_jax.device import JaxDevice

Array = jax.Array
Arrays = dict[str, Array]


class JaxModel(Model):
    """A graph with its weights and Adam's moments as arrays on the device.

    Steps are compiled once for each shape of a batch. A training step is given weights and moments
    for good ("donated"), so that XLA writes the new ones over the old.
    """

    def __init__(
        self,
        device: JaxDevice,
        program: Program,
    ) -> None:
        super().__init__(device, program)
        self._place = device.place
        self._builders = device.layer_builders
        memory = program.optimizer_state
        self._step = memory.step
        weights = program.state.weights
        kept = (weights, memory.m, memory.v) if program.optimizer else (weights,)
        self._memory = tuple(self._put(self.native(tensors)) for tensors in kept)
        self._compiled_predict = jax.jit(self._predict)
        self._compiled_losses = jax.jit(self._losses)
        self.compiled_train = jax.jit(self._train, donate_argnums=0)
        self._compiled_accumulate = jax.jit(self._accumulate, donate_argnums=0)
        self._compiled_finish = jax.jit(self._finish, donate_argnums=0)

    def forward(self, images: Any) -> Array:
        return self._compiled_predict(self._memory[0], self._put(images))

    def losses(self, batch: Batch) -> Array:
        return self._compiled_losses(self._memory[0], self._put(batch))

    def update(self, batches: Sequence[Batch], learning_rate: float) -> Array:
        share = np.float32(1 / sum(len(batch.images) for batch in batches))
        rate = self._rate(learning_rate)
        if len(batches) == 1:
            batch = self._put(batches[0])
            loss, self._memory = self.compiled_train(self._memory, batch, share, rate)
        else:
            total = jax.tree.map(jnp.zeros_like, (share, self._memory[0]))
            for batch in batches:
                total = self._compiled_accumulate(total, self._memory[0], self._put(batch), share)
            loss, gradients = total
            self._memory = self._compiled_finish(self._memory, gradients, rate)
        self._step += 1
        return loss

    def state(self) -> State:
        weights, *moments = (self.canonical(jax.device_get(arrays)) for arrays in self._memory)
        return State(weights, OptimizerState(self._step, *moments) if moments else None)

    def _put(self, arrays: Any) -> Any:
        """Copy here first: JAX reads when it gets to it, and the host writes the next batch."""
        arrays = jax.tree.map(lambda array: np.array(array, np.float32), arrays)
        return jax.device_put(arrays, self._place)

    def _rate(self, learning_rate: float) -> np.float32:
        """Correct for moments that began at zero: here, as float32 holds little of 1 - 0.999."""
        adam, step = self._optimizer, self._step + 1
        assert adam is not None
        correction = math.sqrt(1 - adam.beta_2**step) / (1 - adam.beta_1**step)
        return np.float32(learning_rate * correction)

    # The methods below run while a step is traced; their arguments are symbolic.

    def _predict(self, weights: Arrays, images: Array) -> Array:
        # GPUs and TPUs otherwise multiply float32 with the digits of TF32 and bfloat16.
        with jax.default_matmul_precision("highest"):
            return self._graph.apply(self._builders, images, weights).astype("float32")

    def _losses(self, weights: Arrays, batch: Batch) -> Array:
        maps = [batch.maps, self._predict(weights, batch.images)]
        losses: Array = self._builders[KLDivergence](self._loss, maps, {})
        return losses

    def _gradients(self, weights: Arrays, batch: Batch, share: Array) -> tuple[Array, Arrays]:
        loss = jax.value_and_grad(lambda weights: self._losses(weights, batch).sum() * share)
        return loss(weights)

    def _train(self, memory: Any, batch: Batch, share: Array, rate: Array) -> tuple[Array, Any]:
        loss, gradients = self._gradients(memory[0], batch, share)
        return loss, self._finish(memory, gradients, rate)

    def _accumulate(self, total: Any, weights: Arrays, batch: Batch, share: Array) -> Any:
        return jax.tree.map(jnp.add, total, self._gradients(weights, batch, share))

    def _finish(self, memory: Any, gradients: Arrays, rate: Array) -> Any:
        """Make Adam's step."""
        adam = self._optimizer
        assert adam is not None

        def moved(weight: Array, m: Array, v: Array, gradient: Array) -> tuple[Array, ...]:
            m = adam.beta_1 * m + (1 - adam.beta_1) * gradient
            v = adam.beta_2 * v + (1 - adam.beta_2) * gradient * gradient
            return weight - rate * m / (jnp.sqrt(v) + adam.epsilon), m, v

        new = {name: moved(*(part[name] for part in (*memory, gradients))) for name in gradients}
        return tuple({name: parts[place] for name, parts in new.items()} for place in range(3))
