"""A network on MLX: arrays, and one compiled function for each step and shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core.device import Model, Program
from msinet_core.network.loss import KLDivergence
from msinet_core.network.loss_scale import LossScale
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_mlx.layers import Tensor, mx
from msinet_mlx.memory import check_fits, exhaustion_explained

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from msinet_core.network.state import Tensors
    from msinet_mlx.device import MlxDevice

Arrays = Mapping[str, Tensor]
Training = Mapping[str, Arrays]
"""What a training step takes and gives back: weights, moments, and a loss scale if there is one."""

PROGRAMS = 16
"""The most compiled steps that are kept, the latest used; MLX itself would keep all, with memory
for each (https://github.com/ml-explore/mlx/issues/4464)."""


class Result:
    """Numbers that MLX may still be computing; reading them waits.

    Args:
        values: Handed to MLX to be computed already, so that any thread may wait for them.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        with exhaustion_explained():
            return np.array(self._values, dtype)  # a copy: the other way shows MLX's own memory

    def __float__(self) -> float:
        with exhaustion_explained():
            return float(self._values.item())


class MlxModel(Model):
    """A graph with its weights and Adam's memory as arrays, which no step changes in place.

    Every step is a function from arrays to arrays, compiled once for each shape ``(N, H, W)``;
    whatever else changes from step to step (learning rate, bias correction, each image's weight) is
    an array. Each is handed to MLX at once, and no more than two are under way: what a step reads
    was handed over before, so that no graph grows over several steps. In float16 the loss is scaled
    (`msinet_core.network.loss_scale`); the scale begins anew when a run is resumed.

    Args:
        device: Brings builders, precision and place.
        program: The network and its state, which is copied.
    """

    def __init__(
        self,
        device: MlxDevice,
        program: Program,
    ) -> None:
        super().__init__(device, program)
        self._device: MlxDevice = device
        self._builders = device.layer_builders
        self._programs: OrderedDict[tuple[Any, ...], Callable[..., Any]] = OrderedDict()
        self._step = 0
        self._under_way: Tensor | None = None
        with self._placed():
            training: dict[str, Arrays] = {"weights": self._arrays(program.state.weights)}
            if program.optimizer is not None:
                memory = program.optimizer_state
                self._step = memory.step
                training |= {"m": self._arrays(memory.m), "v": self._arrays(memory.v)}
                if device.precision == "float16":
                    numbers = LossScale.new(program.optimizer, memory.step)._asdict()
                    training["scale"] = {
                        name: mx.array(value, mx.float32) for name, value in numbers.items()
                    }
            mx.eval(training)
        self._training: Training = training

    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        if not len(images):
            return np.zeros(self._graph.shapes(images.shape)[self._graph.output.name], np.float32)
        with self._placed():
            program = self._program(self._predict, images.shape)
            return self._begun(program(self._training["weights"], _array(images)))

    def losses(self, batch: Batch) -> ArrayLike:
        if not len(batch.images):
            return np.zeros(0, np.float32)
        with self._placed():
            program = self._program(self._losses, batch.images.shape)
            weights = self._training["weights"]
            return self._begun(program(weights, _array(batch.images), _array(batch.maps)))

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        count = sum(len(batch.images) for batch in batches)
        with self._placed():
            rate = mx.array(self._rate(learning_rate), mx.float32)
            if len(batches) == 1:
                program = self._program(self._train, batches[0].images.shape)
                loss, after = program(self._training, *_weighted(batches[0], count), rate)
            else:
                loss, gradients = self._accumulated(batches, count)
                after = self._program(self._apply)(self._training, gradients, rate)
            # At once, or an interruption would leave a count that is not the weights'.
            self._training, self._step = after, self._step + 1
            mx.async_eval(loss, after)
            self._wait(loss)
        return Result(loss)

    def state(self) -> State:
        weights = self._canonical("weights")
        if self._optimizer is None:
            return State(weights)
        scale = self._training.get("scale")
        step = int(scale["step"].item()) if scale else self._step
        return State(weights, OptimizerState(step, self._canonical("m"), self._canonical("v")))

    # The parts below are traced; their arguments are arrays without numbers.

    def _predict(self, weights: Arrays, images: Tensor) -> Tensor:
        output = self._graph.apply(self._builders, images, weights)
        return output.astype(mx.float32)

    def _losses(self, weights: Arrays, images: Tensor, maps: Tensor) -> Tensor:
        predicted = self._graph.apply(self._builders, images, weights)
        return self._builders[KLDivergence](self._loss, [maps, predicted], {})

    def _gradients(
        self, training: Training, images: Tensor, maps: Tensor, shares: Tensor
    ) -> tuple[Tensor, Arrays]:
        """Give the weighted sum of the images' losses, and its gradient, which may be scaled."""
        scale = training["scale"]["value"] if "scale" in training else None

        def scaled(weights: Arrays) -> tuple[Tensor, Tensor]:
            loss = (self._losses(weights, images, maps) * shares).sum()
            return (loss if scale is None else loss * scale), loss

        (_, loss), gradients = mx.value_and_grad(scaled)(training["weights"])
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
        """Make Adam's step; the correction of the bias is in the rate.

        Args:
            training: What is changed.
            gradients: By the parameter's name, scaled if there is a scale.
            rate: What `_rate` gave.
        """
        assert self._optimizer is not None
        adam, decays = self._optimizer, (self._optimizer.beta_1, self._optimizer.beta_2)
        after: dict[str, dict[str, Tensor]] = {"weights": {}, "m": {}, "v": {}}
        if "scale" in training:
            before = LossScale(**training["scale"])
            finite = mx.stack([mx.isfinite(one).all() for one in gradients.values()]).all()
            scale, counts = before.next(mx.where, adam, finite)
            after["scale"] = scale._asdict()
            # A step that does not count has decays of 1, rate 0 and gradients 0: nothing changes.
            rate = mx.where(counts, rate * mx.sqrt(scale.missing_2) / scale.missing_1, 0.0)
            decays = (mx.where(counts, decays[0], 1.0), mx.where(counts, decays[1], 1.0))
            gradients = {
                name: mx.where(counts, one / before.value, 0.0) for name, one in gradients.items()
            }
        beta_1, beta_2 = decays
        for name, gradient in gradients.items():
            m = beta_1 * training["m"][name] + (1 - beta_1) * gradient
            v = beta_2 * training["v"][name] + (1 - beta_2) * gradient * gradient
            change = rate * m / (mx.sqrt(v) + adam.epsilon)
            after["weights"][name] = training["weights"][name] - change
            after["m"][name], after["v"][name] = m, v
        return after

    # The parts below run on the host.

    def _accumulated(self, batches: Sequence[Batch], count: int) -> tuple[Tensor, Arrays]:
        """Add up losses and gradients, one batch after the other, so that each can be let go."""
        weights = self._training["weights"]
        sums = mx.array(0.0), {name: mx.zeros(value.shape) for name, value in weights.items()}
        for batch in batches:
            program = self._program(self._add, batch.images.shape)
            sums = program(self._training, sums, *_weighted(batch, count))
            mx.async_eval(sums)
            self._wait(sums[0])
        return sums

    def _wait(self, values: Tensor) -> None:
        """Wait for what was begun before `values`, so that nobody's memory fills with steps."""
        if self._under_way is not None:
            mx.eval(self._under_way)
        self._under_way = values

    def _begun(self, values: Tensor) -> Result:
        mx.async_eval(values)
        self._wait(values)
        return Result(values)

    def _program(self, step: Callable[..., Any], shape: Sequence[int] = ()) -> Callable[..., Any]:
        """Return a step compiled for images of a shape."""
        key = (step.__name__, *shape)
        if key not in self._programs:
            if shape:
                self._check_memory(step, tuple(shape))
            self._programs[key] = mx.compile(partial(step)) if self._device.compiles else step
            if len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def _check_memory(self, step: Callable[..., Any], shape: tuple[int, ...]) -> None:
        training = step in (self._train, self._add)
        count, height, width, channels = shape
        images = (count, height, width, channels)
        size, limit = self._device.dtype.size, self._device.memory_limit
        check_fits(self._graph, images, size, training, limit)

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Compute on the device that was opened, whatever else in the process has chosen."""
        with exhaustion_explained(), mx.stream(self._device.place):
            yield

    def _rate(self, learning_rate: float) -> float:
        """Give the rate of the coming step, corrected for moments that began at zero.

        With a loss scale `_apply` does it, which knows how many steps counted.
        """
        assert self._optimizer is not None
        if "scale" in self._training:
            return learning_rate
        return self._optimizer.rate(learning_rate, self._step + 1)

    def _arrays(self, tensors: Tensors) -> Arrays:
        return {name: _array(value) for name, value in self.native(tensors).items()}

    def _canonical(self, group: str) -> Tensors:
        with exhaustion_explained():
            arrays = self._training[group]
            return self.canonical({name: np.asarray(value) for name, value in arrays.items()})


def _array(values: NDArray[np.float32]) -> Tensor:
    """Copy to MLX, whatever the dtype and the order in memory."""
    return mx.array(np.ascontiguousarray(values, np.float32))


def _weighted(batch: Batch, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copy images and maps, with each image's weight in the mean over `count`."""
    shares = mx.full((len(batch.images),), 1 / count, mx.float32)
    return _array(batch.images), _array(batch.maps), shares
