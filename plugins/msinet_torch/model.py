"""A network on a PyTorch device: its parameters and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core import (
    Adam,
    Batch,
    Model,
    OptimizerState,
    Parameters,
    Program,
    State,
    Tensors,
    ops,
)
from msinet_torch.adam import FusedAdam
from msinet_torch.cuda_graphs import CudaGraph
from msinet_torch.loading import Tensor, torch
from msinet_torch.loss_scale import ScaledSteps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msinet_torch.device import TorchDevice

Part = tuple[Tensor, Tensor]
"""Images and maps on the device."""


class TorchModel(Model):
    """A graph with its weights and Adam's moments as tensors.

    In float16 the loss is scaled (`ScaledSteps`); the scale starts anew when a run is resumed.

    Args:
        device: Supplies builders, layouts, transfers and the other processes.
        program: The network and its state, which is copied.
    """

    def __init__(self, device: TorchDevice, program: Program) -> None:
        super().__init__(device, program)
        self._device: TorchDevice = device
        self._distribution = device.distribution
        self._builders = device.layer_builders
        self._weights = {
            name: torch.nn.Parameter(value, requires_grad=name in self._trained)
            for name, value in self._put(program.state.weights).items()
        }
        self._cast: Parameters | None = None
        self._output = device.compiled(self._apply)
        self._losses_of = device.compiled(self._apply_loss)
        self._step = 0
        self._scaled: ScaledSteps | None = None
        self._cuda_graphs: dict[Any, CudaGraph] = {}
        if program.optimizer is not None:
            self._prepare_training(program.optimizer, program.optimizer_state)

    def _prepare_training(self, optimizer: Adam, memory: OptimizerState) -> None:
        self._step, self._m, self._v = memory.step, self._put(memory.m), self._put(memory.v)
        self._distribution.broadcast([*self._m.values(), *self._v.values()])
        weights, m, v = (
            [part[name] for name in self._trained] for part in (self._weights, self._m, self._v)
        )
        factors = [optimizer.factor(name) for name in self._trained]
        self._adam = FusedAdam(optimizer, weights, m, v, factors)
        if self._device.precision == "float16":
            self._scaled = ScaledSteps(optimizer, memory.step, self._device.torch_device)
        used = self._graph.between(self._graph.input.name, self._graph.output.name)
        self._train_losses = self._distribution.distribute(
            lambda images, maps: self._losses_of(images, maps, self._weights),
            list(self._weights.values()),
            unused=len(used.parameters) < len(self._graph.parameters),
        )

    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        with torch.no_grad():
            maps = self._output(self._device.put_images(images), self._cast_weights())
            result: ArrayLike = self._device.result(maps.float().permute(0, 2, 3, 1).contiguous())
        return result

    def losses(self, batch: Batch) -> ArrayLike:
        with torch.no_grad():
            losses = self._losses_of(*self._put_batch(batch), self._cast_weights())
            result: ArrayLike = self._device.result(losses)
        return result

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        # Whatever mode the caller is in, such as one for predictions.
        trains, differentiates = torch.inference_mode(False), torch.enable_grad()
        with trains, differentiates, self._distribution.reporting_lost():
            count = self._distribution.count(sum(len(batch.images) for batch in batches))
            self.check_count(count)
            filled = [batch for batch in batches if len(batch.images)]
            parts = [self._put_batch(batch) for batch in filled or [_placeholder(batches[0])]]
            share = (1 if filled else 0) / count
            loss = self._distribution.sum(self._run_step(parts, share, learning_rate))
        self._step += 1
        self._cast = None
        result: SupportsFloat = self._device.result(loss)
        return result

    def state(self) -> State:
        weights = self._canonical(self._weights)
        if self._optimizer is None:
            return State(weights)
        step = self._step - (int(self._scaled.scale.skipped) if self._scaled else 0)
        return State(
            weights, OptimizerState(step, self._canonical(self._m), self._canonical(self._v))
        )

    def _run_step(self, parts: Sequence[Part], share: float, learning_rate: float) -> Tensor:
        """Make a step; return this process's part of the loss.

        Args:
            parts: One or more batches.
            share: The weight of each image in the mean.
            learning_rate: Adam's.
        """
        rate = learning_rate
        if self._scaled is None:  # which corrects the bias itself
            assert self._optimizer is not None
            rate = self._optimizer.rate(learning_rate, self._step + 1)
        if self._device.uses_cuda_graphs and len(parts) == 1:
            images, maps = parts[0]
            if images.shape not in self._cuda_graphs:
                graph = CudaGraph(self._warm_up, self._make_step, images, maps)
                self._cuda_graphs[images.shape] = graph
            return self._cuda_graphs[images.shape].replay(images, maps, rate)
        return self._make_step(parts, share, rate)

    def _make_step(self, parts: Sequence[Part], share: float, rate: float | Tensor) -> Tensor:
        *earlier, last = parts
        with self._distribution.without_sync():
            losses = [self._differentiate(*part, share) for part in earlier]
        losses.append(self._differentiate(*last, share))
        gradients = self._take_gradients()
        if self._scaled is None:
            self._adam.apply(gradients, rate)
        else:
            self._scaled.apply(self._adam, gradients, rate)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _warm_up(self, images: Tensor, maps: Tensor, share: float) -> None:
        """Do the work of a step without changing anything."""
        self._differentiate(images, maps, share)
        self._take_gradients()

    def _differentiate(self, images: Tensor, maps: Tensor, share: float) -> Tensor:
        """Accumulate the gradients of a batch's weighted losses; return their sum."""
        loss = self._train_losses(images, maps).sum() * share
        scaled = loss * self._scaled.scale.value if self._scaled else loss
        # Gradients are averaged over the processes, but their sum is needed.
        (scaled * self._device.processes.count).backward()
        return loss.detach()

    def _take_gradients(self) -> list[Tensor]:
        """Return the accumulated gradients and reset them."""
        gradients = []
        for weight in (self._weights[name] for name in self._trained):
            gradients.append(torch.zeros_like(weight) if weight.grad is None else weight.grad)
            weight.grad = None
        return gradients

    def _apply(self, images: Tensor, weights: Parameters) -> Tensor:
        return self._graph.apply(self._builders, images, weights)

    def _apply_loss(self, images: Tensor, maps: Tensor, weights: Parameters) -> Tensor:
        predicted = self._apply(images, weights)
        assert self._loss is not None
        return self._loss.apply(self._builders, maps, predicted)

    def _cast_weights(self) -> Parameters:
        """Return the weights in the dtypes of their convolutions, cast once between updates."""
        if self._cast is None:
            dtypes = {
                node.name: self._device.layers.conv_dtype(node.op)
                for node in self._graph.nodes
                if isinstance(node.op, ops.Conv2D)
            }
            self._cast = {
                name: weight.detach().to(dtypes[name.rpartition("/")[0]])
                for name, weight in self._weights.items()
            }
        return self._cast

    def _put_batch(self, batch: Batch) -> Part:
        return self._device.put_images(batch.images), self._device.put_images(batch.maps)

    def _put(self, tensors: Tensors) -> dict[str, Tensor]:
        return {
            name: self._device.put_weight(value) for name, value in self.native(tensors).items()
        }

    def _canonical(self, tensors: Parameters) -> Tensors:
        return self.canonical(
            {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        )


def _placeholder(batch: Batch) -> Batch:
    """Return one blank image, to be weighted with 0, for a process without images."""
    return Batch(*(np.zeros((1, *values.shape[1:]), np.float32) for values in batch))
