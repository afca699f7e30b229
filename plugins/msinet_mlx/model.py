"""A network on MLX: arrays, and one compiled function per step and shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core import (
    Batch,
    Deferred,
    LossScale,
    Model,
    OptimizerState,
    Program,
    Recent,
    State,
    Tensors,
)
from msinet_mlx.layers import Tensor, mx
from msinet_mlx.memory import check_memory, explain_exhaustion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msinet_mlx.device import MlxDevice

Step = Callable[..., Any]
Shape = tuple[int, int, int, int]
Arrays = Mapping[str, Tensor]
Training = Mapping[str, Arrays]
"""What a training step takes and returns: weights, moments, and the loss scale in float16."""

MAX_COMPILED = 16
"""The compiled steps that are kept; MLX itself keeps all, with memory for each.

Source: https://github.com/ml-explore/mlx/issues/4464
"""


class MlxModel(Model):
    """A graph with its weights and Adam's moments as arrays, which no step changes in place.

    Each step is a function from arrays to arrays, compiled once per shape ``(N, H, W)``; what else
    varies between steps (learning rate, bias correction, weights of images) is passed as arrays.
    MLX receives each step at once, and at most two are in progress, so no graph grows over several
    steps. In float16 the loss is scaled; the scale starts anew when a run is resumed.

    Args:
        device: Supplies builders, precision and MLX's device.
        program: The network and its state, which is copied.
    """

    def __init__(self, device: MlxDevice, program: Program) -> None:
        super().__init__(device, program)
        self._device: MlxDevice = device
        self._builders = device.layer_builders
        self._compiled = Recent(self._compile, MAX_COMPILED)
        self._step = 0
        self._in_progress: Tensor | None = None
        with self._on_device():
            training: dict[str, Arrays] = {"weights": self._arrays(program.state.weights)}
            if program.optimizer is not None:
                memory = program.optimizer_state
                self._step = memory.step
                training |= {"m": self._arrays(memory.m), "v": self._arrays(memory.v)}
                if device.precision == "float16":
                    scale = LossScale.new(program.optimizer, memory.step)._asdict()
                    training["scale"] = {
                        name: mx.array(value, mx.float32) for name, value in scale.items()
                    }
            mx.eval(training)
        self._training: Training = training

    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        with self._on_device():
            step = self._compiled[self._predict, images.shape]
            return self._start(step(self._training["weights"], _array(images)))

    def losses(self, batch: Batch) -> ArrayLike:
        with self._on_device():
            step = self._compiled[self._losses, batch.images.shape]
            weights = self._training["weights"]
            return self._start(step(weights, _array(batch.images), _array(batch.maps)))

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        assert self._optimizer is not None
        count = sum(len(batch.images) for batch in batches)
        rate = learning_rate
        if "scale" not in self._training:  # which corrects the bias itself
            rate = self._optimizer.rate(learning_rate, self._step + 1)
        with self._on_device():
            if len(batches) == 1:
                step = self._compiled[self._train, batches[0].images.shape]
                loss, after = step(
                    self._training, *_weighted(batches[0], count), mx.array(rate, mx.float32)
                )
            else:
                loss, gradients = self._accumulate(batches, count)
                step = self._compiled[self._apply, None]
                after = step(self._training, gradients, mx.array(rate, mx.float32))
            # Together: after an interruption the step must still match the weights.
            self._training, self._step = after, self._step + 1
            mx.async_eval(loss, after)
            self._limit_progress(loss)
        return _deferred(loss)

    def state(self) -> State:
        weights = self._canonical("weights")
        if self._optimizer is None:
            return State(weights)
        scale = self._training.get("scale")
        step = self._step - (int(scale["skipped"].item()) if scale else 0)
        return State(weights, OptimizerState(step, self._canonical("m"), self._canonical("v")))

    # The methods below are traced; their arguments are arrays without values.

    def _predict(self, weights: Arrays, images: Tensor) -> Tensor:
        output = self._graph.apply(self._builders, images, weights)
        return output.astype(mx.float32)

    def _losses(self, weights: Arrays, images: Tensor, maps: Tensor) -> Tensor:
        predicted = self._graph.apply(self._builders, images, weights)
        assert self._loss is not None
        return self._loss.apply(self._builders, maps, predicted)

    def _gradients(
        self, training: Training, images: Tensor, maps: Tensor, shares: Tensor
    ) -> tuple[Tensor, Arrays]:
        """Return the weighted sum of the losses and its gradient, scaled if there is a scale."""
        scale = training["scale"]["value"] if "scale" in training else None
        weights = training["weights"]

        def scaled_loss(trained: Arrays) -> tuple[Tensor, Tensor]:
            loss = (self._losses({**weights, **trained}, images, maps) * shares).sum()
            return (loss if scale is None else loss * scale), loss

        trained = {name: weights[name] for name in self._trained}
        (_, loss), gradients = mx.value_and_grad(scaled_loss)(trained)
        return loss, gradients

    def _train(
        self, training: Training, images: Tensor, maps: Tensor, shares: Tensor, rate: Tensor
    ) -> tuple[Tensor, Training]:
        loss, gradients = self._gradients(training, images, maps, shares)
        return loss, self._apply(training, gradients, rate)

    def _add(
        self,
        training: Training,
        sums: tuple[Tensor, Arrays],
        images: Tensor,
        maps: Tensor,
        shares: Tensor,
    ) -> tuple[Tensor, Arrays]:
        loss, gradients = self._gradients(training, images, maps, shares)
        return sums[0] + loss, {name: sums[1][name] + gradients[name] for name in gradients}

    def _apply(self, training: Training, gradients: Arrays, rate: Tensor) -> Training:
        """Make Adam's step.

        Args:
            training: The values before it.
            gradients: By parameter name; scaled if there is a scale.
            rate: The learning rate, with bias correction unless there is a scale.
        """
        assert self._optimizer is not None
        adam, betas = self._optimizer, (self._optimizer.beta_1, self._optimizer.beta_2)
        after = {group: dict(training[group]) for group in ("weights", "m", "v")}
        if "scale" in training:
            before = LossScale(**training["scale"])
            finite = mx.stack([mx.isfinite(value).all() for value in gradients.values()]).all()
            scale, rate, betas, gradients = before.step(mx.where, adam, finite, gradients, rate)
            after["scale"] = scale._asdict()
        beta_1, beta_2 = betas
        for name, gradient in gradients.items():
            m = beta_1 * training["m"][name] + (1 - beta_1) * gradient
            v = beta_2 * training["v"][name] + (1 - beta_2) * gradient * gradient
            change = rate * adam.factor(name) * m / (mx.sqrt(v) + adam.epsilon)
            after["weights"][name] = training["weights"][name] - change
            after["m"][name], after["v"][name] = m, v
        return after

    # The methods below run on the host.

    def _accumulate(self, batches: Sequence[Batch], count: int) -> tuple[Tensor, Arrays]:
        """Sum losses and gradients batch by batch, so that each batch can be freed."""
        weights = self._training["weights"]
        sums = mx.array(0.0), {name: mx.zeros(weights[name].shape) for name in self._trained}
        for batch in batches:
            step = self._compiled[self._add, batch.images.shape]
            sums = step(self._training, sums, *_weighted(batch, count))
            mx.async_eval(sums)
            self._limit_progress(sums[0])
        return sums

    def _start(self, values: Tensor) -> Deferred:
        mx.async_eval(values)
        self._limit_progress(values)
        return _deferred(values)

    def _limit_progress(self, values: Tensor) -> None:
        """Wait for the step before `values`, so that memory does not fill with steps."""
        if self._in_progress is not None:
            mx.eval(self._in_progress)
        self._in_progress = values

    def _compile(self, key: tuple[Step, Shape | None]) -> Step:
        """Compile a step for images of a shape."""
        step, shape = key
        if shape is not None:
            is_training = step in (self._train, self._add)
            limit = self._device.memory_limit
            check_memory(self._graph, shape, self._device.dtype.size, is_training, limit)
        return mx.compile(partial(step)) if self._device.compiles else step

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Compute on this model's device, whatever the process's default device is."""
        with explain_exhaustion(), mx.stream(self._device.mlx_device):
            yield

    def _arrays(self, tensors: Tensors) -> Arrays:
        return {name: _array(value) for name, value in self.native(tensors).items()}

    def _canonical(self, group: str) -> Tensors:
        with explain_exhaustion():
            arrays = self._training[group]
            return self.canonical({name: np.asarray(value) for name, value in arrays.items()})


def _array(values: NDArray[np.float32]) -> Tensor:
    """Copy to MLX as float32, from any dtype and memory order."""
    return mx.array(np.ascontiguousarray(values, np.float32))


def _deferred(values: Tensor) -> Deferred:
    """Return values that MLX is computing already, so that any thread may wait for them."""

    def read() -> NDArray[np.float32]:
        with explain_exhaustion():
            return np.array(values)  # a copy: np.asarray returns a view of MLX's memory

    return Deferred(read, tuple(values.shape))


def _weighted(batch: Batch, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copy images and maps to MLX, with each image's weight in the mean over `count`."""
    shares = mx.full((len(batch.images),), 1 / count, mx.float32)
    return _array(batch.images), _array(batch.maps), shares
