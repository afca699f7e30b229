"""A network on a JAX device: its state and its compiled steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from msinet_core import Batch, Model, OptimizerState, Program, State

from msinet_device_jax.layers import Array
from msinet_device_jax.placement import Placement

if TYPE_CHECKING:
    from msinet_device_jax.device import JaxDevice

Arrays = dict[str, Array]


class JaxModel(Model):
    """A graph with its weights and Adam's moments as arrays on the device.

    Steps are compiled once per batch shape. A training step receives weights and moments as
    "donated" arguments, so that XLA overwrites them. Results are JAX's arrays, which wait when they
    are read. With several devices, each computes its part of a batch (`Placement`).
    """

    def __init__(self, device: JaxDevice, program: Program) -> None:
        super().__init__(device, program)
        self._placement = device.placement
        self._builders = device.layer_builders
        memory = program.optimizer_state
        self._step = memory.step
        moments = (memory.m, memory.v) if program.optimizer else ()
        parts = (program.state.weights, *moments)
        self._memory = tuple(self._placement.copy(self.native(tensors)) for tensors in parts)
        copied, split = self._placement.copied, self._placement.split
        self._compiled_predict = jax.jit(self._predict, out_shardings=split)
        self._compiled_losses = jax.jit(self._losses, out_shardings=split)
        self._compiled_train = self.jit_train(self._placement)
        self._compiled_accumulate = jax.jit(
            self._accumulate, donate_argnums=0, out_shardings=copied
        )
        self._compiled_adam = jax.jit(self._apply_adam, donate_argnums=0, out_shardings=copied)

    def jit_train(self, placement: Placement) -> Any:
        """Return the training step, compiled when it is first called.

        Args:
            placement: The devices to compile for.
        """
        return jax.jit(self._train, donate_argnums=0, out_shardings=placement.copied)

    def forward(self, images: Any) -> Array:
        maps = self._compiled_predict(self._memory[0], self._placement.split_images(images))
        return maps[: len(images)]

    def losses(self, batch: Batch) -> Array:
        losses = self._compiled_losses(self._memory[0], self._placement.split_images(batch))
        return losses[: len(batch.images)]

    def update(self, batches: Sequence[Batch], learning_rate: float) -> Array:
        assert self._optimizer is not None
        total = sum(len(batch.images) for batch in batches)
        rate = self._placement.copy(self._optimizer.rate(learning_rate, self._step + 1))
        if len(batches) == 1:
            part = self._put(batches[0], total)
            loss, self._memory = self._compiled_train(self._memory, *part, rate)
        else:
            trained = {name: self._memory[0][name] for name in self._trained}
            sums = jax.tree.map(jnp.zeros_like, (rate, trained))
            for batch in batches:
                part = self._put(batch, total)
                sums = self._compiled_accumulate(sums, self._memory[0], *part)
            loss, gradients = sums
            self._memory = self._compiled_adam(self._memory, gradients, rate)
        self._step += 1
        return loss

    def state(self) -> State:
        weights, *moments = (self.canonical(jax.device_get(arrays)) for arrays in self._memory)
        return State(weights, OptimizerState(self._step, *moments) if moments else None)

    def _put(self, batch: Batch, total: int) -> tuple[Batch, Array]:
        """Copy a batch to the devices, with each image's share in the mean loss."""
        shares = self._placement.split_shares(len(batch.images), total)
        return self._placement.split_images(batch), shares

    # The methods below are traced; their arguments are symbolic.

    def _predict(self, weights: Arrays, images: Array) -> Array:
        # By default, GPUs and TPUs multiply float32 in TF32 and bfloat16.
        with jax.default_matmul_precision("highest"):
            return self._graph.apply(self._builders, images, weights).astype("float32")

    def _losses(self, weights: Arrays, batch: Batch) -> Array:
        assert self._loss is not None
        predicted = self._predict(weights, batch.images)
        losses: Array = self._loss.apply(self._builders, batch.maps, predicted)
        return losses

    def _gradients(self, weights: Arrays, batch: Batch, shares: Array) -> Any:
        def loss(trained: Arrays) -> Array:
            return (self._losses({**weights, **trained}, batch) * shares).sum()

        return jax.value_and_grad(loss)({name: weights[name] for name in self._trained})

    def _train(self, memory: Any, batch: Batch, shares: Array, rate: Array) -> tuple[Array, Any]:
        loss, gradients = self._gradients(memory[0], batch, shares)
        return loss, self._apply_adam(memory, gradients, rate)

    def _accumulate(self, sums: Any, weights: Arrays, batch: Batch, shares: Array) -> Any:
        return jax.tree.map(jnp.add, sums, self._gradients(weights, batch, shares))

    def _apply_adam(self, memory: Any, gradients: Arrays, rate: Array) -> Any:
        adam = self._optimizer
        assert adam is not None
        weights, m, v = (dict(arrays) for arrays in memory)
        for name, gradient in gradients.items():
            m[name] = adam.beta_1 * m[name] + (1 - adam.beta_1) * gradient
            v[name] = adam.beta_2 * v[name] + (1 - adam.beta_2) * gradient * gradient
            change = rate * adam.factor(name) * m[name]
            weights[name] -= change / (jnp.sqrt(v[name]) + adam.epsilon)
        return weights, m, v
