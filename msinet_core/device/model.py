"""A network on a device, and the steps that it makes."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, SupportsFloat

from msinet_core.errors import PluginError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from msinet_core.device.device import Device
    from msinet_core.device.program import Program
    from msinet_core.network.graph import Parameter
    from msinet_core.network.state import Batch, State, Tensors


class Model(abc.ABC):
    """A network on a device: its weights, its optimizer's memory and its compiled steps.

    A subclass gives `forward` and `state`, and if its device trains, `losses` and `update`; they
    are called with what was checked. Arguments are canonical NumPy arrays. Results may be lazy, so
    that the device works while the host prepares the next batch: whoever reads them calls `float`
    or `numpy.asarray`. A device that has finished when a step returns answers with a plain float or
    array.

    Args:
        device: Brings builders, layouts and workers.
        program: The network, its state, and its loss and optimizer where it has them.
    """

    unread_losses = 1
    """How many steps may be asked for before the oldest loss is read: more than one lets a device
    run several steps as one program. Reading a loss, or `state`, ends the waiting."""

    def __init__(self, device: Device, program: Program) -> None:
        self._device = device
        # Not the program itself: its state would keep a second copy of every tensor alive.
        self._graph = program.graph
        self._loss = program.loss
        self._optimizer = program.optimizer

    @property
    def device_name(self) -> str:
        """The device's name, for messages."""
        return self._device.spec.name

    @abc.abstractmethod
    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        """Compute what `predict` returns.

        Args:
            images: ``(N, H, W, C)`` float32 of a shape that the graph takes.
        """

    def losses(self, batch: Batch) -> ArrayLike:
        """Compute what `eval_step` returns; the graph and the maps fit each other.

        Args:
            batch: Images and true maps.
        """
        raise UsageError(f"Device '{self._device.spec.name}' predicts only; it has no loss.")

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        """Make the step that `train_step` promises.

        Args:
            batches: None of them is empty; of several workers, where any may be, call
                `check_count` with the number of images that all have together.
            learning_rate: Adam's.
        """
        raise UsageError(f"Device '{self._device.spec.name}' predicts only, it does not train.")

    @abc.abstractmethod
    def state(self) -> State:
        """Copy weights and Adam's memory to the host, canonical."""

    def predict(self, images: NDArray[np.float32]) -> ArrayLike:
        """Compute the network's output.

        Args:
            images: ``(N, H, W, C)`` float32; any N, H, W that the graph takes.

        Returns:
            ``(N, H', W', C')`` float32 in NHWC; for MSI-Net maps ``(N, H, W, 1)`` in 0..1.

        Raises:
            GraphError: The graph does not take images of that shape.
        """
        self._graph.shapes(images.shape)
        return self.forward(images)

    def eval_step(self, batch: Batch) -> ArrayLike:
        """Compute the loss of each image without changing anything.

        Args:
            batch: Images and true maps.

        Returns:
            ``(N,)`` float32.

        Raises:
            GraphError: The graph does not take images of that shape.
            PluginError: The device does not give a loss for each image.
            UsageError: There is no loss, or the maps do not have the size of the output.
        """
        self._check_batch(batch)
        losses = self.losses(batch)
        # A lazy result may not know its shape yet; one that does is told without being read.
        shape = getattr(losses, "shape", () if isinstance(losses, int | float) else None)
        if shape is not None and tuple(shape) != (len(batch.images),):
            raise PluginError(
                f"Device '{self.device_name}' gave losses of shape {tuple(shape)} for "
                f"{len(batch.images)} images, where each image has a loss of its own: (N,). "
                f"msinet-run plugins check {self.device_name} shows more."
            )
        return losses

    def train_step(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        """Make one optimizer step with the gradient of the mean loss over all the images.

        Args:
            batches: One batch, or several whose gradients are accumulated; sizes may differ, and
                each image weighs the same. Of several workers each gives its own part, which may be
                empty, and all get the same loss.
            learning_rate: Adam's.

        Returns:
            The mean loss over all the images, before the step.

        Raises:
            GraphError: The graph does not take images of that shape.
            UsageError: There is no optimizer, no image, or maps do not have the output's size.
        """
        if self._optimizer is None:
            raise UsageError("This model was compiled without an optimizer; it cannot be trained.")
        filled = [batch for batch in batches if len(batch.images)]
        for batch in filled:
            self._check_batch(batch)
        if self._device.processes.count > 1:
            return self.update(batches, learning_rate)
        self.check_count(len(filled))
        return self.update(filled, learning_rate)

    def check_count(self, count: int) -> None:
        """Refuse a step without images.

        Args:
            count: How many there are.

        Raises:
            UsageError: None.
        """
        if not count:
            raise UsageError("A training step needs at least one image. Received none.")

    def native(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Take the weights, or a moment of each, to the device's layout.

        Args:
            tensors: Canonical, by the parameter's name.

        Returns:
            Contiguous copies in the order of the graph's parameters.
        """
        return self._changed(self._device.to_native, tensors)

    def canonical(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Take the weights, or a moment of each, from the device's layout; undoes `native`.

        Args:
            tensors: In the device's layout, by the parameter's name.

        Returns:
            Contiguous copies in the order of the graph's parameters.
        """
        return self._changed(self._device.to_canonical, tensors)

    def _changed(
        self,
        change: Callable[[Parameter, NDArray[np.float32]], NDArray[np.float32]],
        tensors: Tensors,
    ) -> dict[str, NDArray[np.float32]]:
        import numpy as np

        return {
            parameter.name: np.array(change(parameter, tensors[parameter.name]), order="C")
            for parameter in self._graph.parameters
        }

    def _check_batch(self, batch: Batch) -> None:
        if self._loss is None:
            raise UsageError("This model was compiled without a loss; it can only predict.")
        shape = self._graph.shapes(batch.images.shape)[self._graph.output.name]
        if batch.maps.shape != shape:
            raise UsageError(
                f"The true maps have shape {batch.maps.shape}, the predicted ones {shape}; give "
                f"maps of the network's output size."
            )
