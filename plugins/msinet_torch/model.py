"""A network on a PyTorch device: parameters, and the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core.device import Model, Program
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_torch.adam import FusedAdam
from msinet_torch.distribution import peers_watched
from msinet_torch.layers import Tensor, torch
from msinet_torch.loss_scale import ScaledSteps
from msinet_torch.recording import Recordings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msinet_core.network.state import Tensors
    from msinet_torch.device import TorchDevice

Parameters = Mapping[str, Any]


class TorchModel(Model):
    """A graph with its weights and Adam's memory.

    In float16 the loss is scaled (`ScaledSteps`); the scale begins anew when a run is resumed.

    Args:
        device: Brings builders, layouts, transfers and the other workers.
        program: The network and its state, which is copied.
    """

    def __init__(
        self,
        device: TorchDevice,
        program: Program,
    ) -> None:
        super().__init__(device, program)
        self._device: TorchDevice = device
        self._distribution = device.distribution
        self._builders = device.layer_builders
        self._weights = {
            name: torch.nn.Parameter(value, requires_grad=program.optimizer is not None)
            for name, value in self._placed(program.state.weights).items()
        }
        self._cast: Parameters | None = None
        self._output = device.compiled(self._apply)
        self._losses_of = device.compiled(self._apply_loss)
        self._step = 0
        self._scale: ScaledSteps | None = None
        if program.optimizer is not None:
            self._prepare_training(program.optimizer, program.optimizer_state)

    def _prepare_training(self, optimizer: Adam, memory: OptimizerState) -> None:
        self._m, self._v = self._placed(memory.m), self._placed(memory.v)
        self._step = memory.step
        weights, moments = list(self._weights.values()), [*self._m.values(), *self._v.values()]
        self._distribution.share(moments)
        self._adam = FusedAdam(optimizer, weights, list(self._m.values()), list(self._v.values()))
        if self._device.precision == "float16":
            self._scale = ScaledSteps(optimizer, memory.step, self._device.place)
        used = self._graph.between(self._graph.input.name, self._graph.output.name)
        self._trained = self._distribution.trained(
            lambda images, maps: self._losses_of(images, maps, self._weights),
            weights,
            unused=len(used.parameters) < len(self._graph.parameters),
        )
        self._recordings = Recordings(self._warm_up, self._make_step)

    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        with torch.no_grad():
            maps = self._output(self._device.place_images(images), self._cast_weights())
            return self._device.result(maps.float().permute(0, 2, 3, 1).contiguous())

    def losses(self, batch: Batch) -> ArrayLike:
        with torch.no_grad():
            losses = self._losses_of(*self._place(batch), self._cast_weights())
            return self._device.result(losses)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        with peers_watched():
            count = self._distribution.count(sum(len(batch.images) for batch in batches))
            self.check_count(count)
            filled = [batch for batch in batches if len(batch.images)]
            parts = [self._place(batch) for batch in filled or [_blank(batches[0])]]
            share = (1 if filled else 0) / count
            loss = self._distribution.total(self._run_step(parts, share, learning_rate))
        self._step += 1
        self._cast = None
        result: SupportsFloat = self._device.scalar(loss)
        return result

    def state(self) -> State:
        weights = self._canonical(self._weights)
        if self._optimizer is None:
            return State(weights)
        step = self._scale.step if self._scale else self._step
        return State(
            weights, OptimizerState(step, self._canonical(self._m), self._canonical(self._v))
        )

    def _run_step(
        self, parts: Sequence[tuple[Tensor, Tensor]], share: float, learning_rate: float
    ) -> Tensor:
        """Make a step; give this worker's part of the loss.

        Args:
            parts: Images and maps on the device.
            share: Each image's weight in the mean.
            learning_rate: Adam's.
        """
        rate = self._rate(learning_rate)
        if self._device.records and len(parts) == 1:
            return self._recordings.run(*parts[0], rate)
        return self._make_step(parts, share, rate)

    def _make_step(
        self, parts: Sequence[tuple[Tensor, Tensor]], share: float, rate: float | Tensor
    ) -> Tensor:
        *earlier, last = parts
        with self._distribution.alone():
            losses = [self._differentiate(*part, share) for part in earlier]
        losses.append(self._differentiate(*last, share))
        gradients = self._gradients()
        if self._scale is None:
            self._adam.apply(gradients, rate)
        else:
            self._scale.apply(self._adam, gradients, rate)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _warm_up(self, images: Tensor, maps: Tensor, share: float) -> None:
        """Do what a step does but for changing anything."""
        self._differentiate(images, maps, share)
        self._gradients()

    def _differentiate(self, images: Tensor, maps: Tensor, share: float) -> Tensor:
        """Add the gradient of some images' weighted losses to the parameters'; give their sum."""
        loss = self._trained(images, maps).sum() * share
        scaled = self._scale.scaled(loss) if self._scale else loss
        # The workers' gradients are averaged; their sum is wanted.
        (scaled * self._device.processes.count).backward()
        return loss.detach()

    def _gradients(self) -> list[Tensor]:
        """Take the gradients from the parameters."""
        gradients = []
        for weight in self._weights.values():
            gradients.append(torch.zeros_like(weight) if weight.grad is None else weight.grad)
            weight.grad = None
        return gradients

    def _rate(self, learning_rate: float) -> float:
        """Give what `_make_step` takes; a loss scale corrects by itself."""
        assert self._optimizer is not None
        if self._scale is not None:
            return learning_rate
        return self._optimizer.rate(learning_rate, self._step + 1)

    def _apply(self, images: Tensor, weights: Parameters) -> Tensor:
        return self._graph.apply(self._builders, images, weights)

    def _apply_loss(self, images: Tensor, maps: Tensor, weights: Parameters) -> Tensor:
        predicted = self._apply(images, weights)
        return self._builders[KLDivergence](self._loss, [maps, predicted], {})

    def _cast_weights(self) -> Parameters:
        """Return the weights in what the convolutions compute in, cast once between updates."""
        if self._cast is None:
            dtypes = {
                f"{node.name}/{role}": self._device.layers.conv_dtype(node.op)
                for node in self._graph.nodes
                if isinstance(node.op, Conv2D)
                for role in ("kernel", "bias")
            }
            self._cast = {
                name: weight.detach().to(dtypes[name]) for name, weight in self._weights.items()
            }
        return self._cast

    def _place(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._device.place_images(batch.images), self._device.place_images(batch.maps)

    def _placed(self, tensors: Tensors) -> dict[str, Tensor]:
        return {
            name: self._device.place_weight(value) for name, value in self.native(tensors).items()
        }

    def _canonical(self, tensors: Parameters) -> Tensors:
        return self.canonical(
            {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        )


def _blank(batch: Batch) -> Batch:
    """Make one image to stand, without weight, for a worker's part that has none."""
    return Batch(*(np.zeros((1, *values.shape[1:]), np.float32) for values in batch))
