"""A network on a device: prediction, evaluation and training steps."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, SupportsFloat

from msinet_core.errors import PluginError, UsageError, command
from msinet_core.system.forks import check_not_forked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from msinet_core.device.device import Device
    from msinet_core.device.program import Program
    from msinet_core.network.graph import Parameter
    from msinet_core.network.state import Batch, State, Tensors


class Model(abc.ABC):
    """A network on a device: its weights, its optimizer's moments and its compiled steps.

    A subclass defines `forward` and `state`, and if its device trains, `losses` and `update`; their
    arguments are checked before they are called. Arguments are canonical NumPy arrays. Results may
    be lazy (see `Deferred`), so that the device computes while the host prepares the next batch;
    callers read them with `float` or `numpy.asarray`. Plain floats and arrays are fine as well.

    Args:
        device: The device, with its builders, layouts and processes.
        program: The network, its state, and its loss and optimizer if it has them.
    """

    unread_losses = 1
    """The number of steps that may be started before the oldest losses are read. More than one lets
    a device run several steps as one program, or wait once for several losses; reading a loss or
    `state` runs the steps so far."""

    def __init__(self, device: Device, program: Program) -> None:
        self._device = device
        # Do not keep the program: its state is a second copy of every tensor.
        self._graph = program.graph
        self._loss = program.loss
        self._optimizer = optimizer = program.optimizer
        self._trained = [
            parameter.name
            for parameter in program.graph.parameters
            if optimizer is not None and optimizer.factor(parameter.name)
        ]

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A model belongs to the process that opened its device, and cannot be pickled. Load it "
            "in each process: msinet_core.load(weights, device)"
        )

    @property
    def device_name(self) -> str:
        """The device's name."""
        return self._device.spec.name

    def due_losses(self, unread: int) -> int:
        """Return how many of the oldest losses to read now: none, or about half of them at once.

        Args:
            unread: The number of steps whose losses have not been read.
        """
        return unread - (self.unread_losses + 1) // 2 if unread > self.unread_losses else 0

    @abc.abstractmethod
    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        """Compute the output of `predict`.

        Args:
            images: ``(N, H, W, C)`` float32, at least one, of a shape that the graph accepts.

        Returns:
            ``(N, H', W', C')`` float32.
        """

    def losses(self, batch: Batch) -> ArrayLike:
        """Compute the losses of `eval_step`.

        Args:
            batch: At least one image, and true maps of the network's output size.

        Returns:
            ``(N,)`` float32.
        """
        raise UsageError(f"Device '{self.device_name}' does not support losses")

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        """Run the step of `train_step`.

        Args:
            batches: Batches that are not empty. If several processes train together, theirs may
                be: call `check_count` with the number of images in all processes.
            learning_rate: Adam's learning rate.

        Returns:
            The mean loss over all images, before the step.
        """
        raise UsageError(f"Device '{self.device_name}' does not support training")

    @abc.abstractmethod
    def state(self) -> State:
        """Copy the weights and Adam's moments to the host, in the canonical layout."""

    def predict(self, images: NDArray[np.float32]) -> ArrayLike:
        """Compute the network's output.

        Args:
            images: ``(N, H, W, C)`` float32; any N, H, W that the graph accepts.

        Returns:
            ``(N, H', W', C')`` float32 in NHWC; for MSI-Net maps ``(N, H, W, 1)`` in 0..1.

        Raises:
            GraphError: The graph does not accept images of that shape.
        """
        import numpy as np

        check_not_forked()
        shape = self._graph.shapes(images.shape)[self._graph.output.name]
        return self.forward(images) if len(images) else np.zeros(shape, np.float32)

    def eval_step(self, batch: Batch) -> ArrayLike:
        """Compute the loss of each image without changing anything.

        Args:
            batch: Images and true maps.

        Returns:
            ``(N,)`` float32.

        Raises:
            GraphError: The graph does not accept images of that shape.
            PluginError: The device does not return one loss per image.
            UsageError: There is no loss, or the maps do not have the size of the output.
        """
        import numpy as np

        check_not_forked()
        self._check_batch(batch)
        losses = self.losses(batch) if len(batch.images) else np.zeros(0, np.float32)
        # A lazy result need not know its shape; reading it here would wait for the device.
        shape = getattr(losses, "shape", () if isinstance(losses, int | float) else None)
        if shape is not None and tuple(shape) != (len(batch.images),):
            raise PluginError(
                f"Device '{self.device_name}' returned losses of shape {tuple(shape)} for "
                f"{len(batch.images)} images; expected ({len(batch.images)},). "
                f"Run: {command('plugins', 'check', self.device_name)}"
            )
        return losses

    def train_step(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        """Run one optimizer step with the gradient of the mean loss over all images.

        Args:
            batches: One batch, or several whose gradients are accumulated; sizes may differ, and
                every image has the same weight. If several processes train together, each passes
                its own part, which may be empty, and all get the same loss.
            learning_rate: Adam's learning rate.

        Returns:
            The mean loss over all images, before the step.

        Raises:
            GraphError: The graph does not accept images of that shape.
            UsageError: There is no optimizer, no image, or maps do not have the output's size.
        """
        check_not_forked()
        if self._optimizer is None:
            raise UsageError("This model was compiled without an optimizer and cannot be trained")
        filled = [batch for batch in batches if len(batch.images)]
        for batch in filled:
            self._check_batch(batch)
        if self._device.processes.count > 1:
            return self.update(batches, learning_rate)
        self.check_count(len(filled))
        return self.update(filled, learning_rate)

    def check_count(self, count: int) -> None:
        """Raise an error if a step has no images.

        Args:
            count: The number of images.

        Raises:
            UsageError: It is 0.
        """
        if not count:
            raise UsageError("A training step needs at least one image, got none")

    def native(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Convert the weights, or a moment of each, to the device's layout.

        Args:
            tensors: Canonical, by the parameter's name.

        Returns:
            Contiguous copies in the order of the graph's parameters.
        """
        return self._convert(self._device.to_native, tensors)

    def canonical(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Convert the weights, or a moment of each, from the device's layout; undo `native`.

        Args:
            tensors: In the device's layout, by the parameter's name.

        Returns:
            Contiguous copies in the order of the graph's parameters.
        """
        return self._convert(self._device.to_canonical, tensors)

    def _convert(
        self,
        convert: Callable[[Parameter, NDArray[np.float32]], NDArray[np.float32]],
        tensors: Tensors,
    ) -> dict[str, NDArray[np.float32]]:
        import numpy as np

        return {
            parameter.name: np.array(convert(parameter, tensors[parameter.name]), order="C")
            for parameter in self._graph.parameters
        }

    def _check_batch(self, batch: Batch) -> None:
        if self._loss is None:
            raise UsageError("This model was compiled without a loss and can only predict")
        shape = self._graph.shapes(batch.images.shape)[self._graph.output.name]
        if batch.maps.shape != shape:
            raise UsageError(
                f"The true maps have shape {batch.maps.shape} but the network's output has shape "
                f"{shape}"
            )
