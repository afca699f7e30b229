"""A builder for each op and for the loss, in NCHW, on ``torch.nn.functional``; no modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.interpolation import interpolation_matrix, supported
from msinet_core.network.loss import KLDivergence
from msinet_torch.loading import load_torch
from msinet_torch.resize import enlarge

torch = load_torch()
functional = torch.nn.functional

Tensor = Any
Inputs = Sequence[Tensor]
Parameters = Mapping[str, Tensor]

# A convolution needs its output for no gradient, so the activation may overwrite it.
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "linear": lambda features: features,
}
PADDINGS = {"SAME": True, "VALID": False}
COORDINATES: Mapping[str, ops.Coordinates] = {
    "asymmetric": "asymmetric",
    "half_pixel": "half_pixel",
}
SPATIAL_AXES = (2, 3)
IMAGE_AXES = (1, 2, 3)


class Layers:
    """Builders that compute convolutions in one precision, from float32 parameters.

    The mean, the normalization and the loss are computed in float32 whatever the precision is, and
    so is a linear convolution: it is the network's output, whose rounding nothing smooths later.

    Args:
        dtype: What convolutions compute in, for example ``torch.bfloat16``.
        place: The ``torch.device`` of constants.
    """

    def __init__(self, dtype: Any, place: Any) -> None:
        self.dtype = dtype
        self._place = place
        # Made once: a transfer in every step would wait for the device.
        self._means: dict[tuple[float, ...], Tensor] = {}
        self._matrices: dict[tuple[int, int, ops.Coordinates], Tensor] = {}

    def builders(self) -> Mapping[type, LayerBuilder[Tensor]]:
        """Return the table that `Graph.apply` walks with."""
        return {
            ops.SubtractMean: self.subtract_mean,
            ops.Conv2D: self.conv2d,
            ops.MaxPool2D: self.max_pool2d,
            ops.Resize: self.resize,
            ops.ResizeLike: self.resize_like,
            ops.Concat: self.concat,
            ops.GlobalMean: self.global_mean,
            ops.MinMaxNormalize: self.min_max_normalize,
            KLDivergence: self.kl_divergence,
        }

    def conv_dtype(self, op: ops.Conv2D) -> Any:
        """Give what a convolution computes in.

        Args:
            op: Its attributes.
        """
        return torch.float32 if op.activation == "linear" else self.dtype

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Subtract a constant from each channel, in float32."""
        if op.mean not in self._means:
            mean = torch.tensor(op.mean, device=self._place)
            self._means[op.mean] = mean.reshape(1, -1, 1, 1)
        return inputs[0] - self._means[op.mean]

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Convolve, add the bias and apply the activation."""
        activation = supported(op, "activation", ACTIVATIONS, "PyTorch")
        dtype = self.conv_dtype(op)
        images, padding = inputs[0].to(dtype), (0, 0)
        if supported(op, "padding", PADDINGS, "PyTorch"):
            images, padding = _padded(images, op.extent, op.strides, 0.0)
        features = functional.conv2d(
            images,
            parameters["kernel"].to(dtype),
            parameters["bias"].to(dtype) if op.use_bias else None,
            op.strides,
            padding,
            op.dilation,
        )
        return activation(features)

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Take the maximum over windows; what SAME adds counts as minus infinity."""
        images = inputs[0]
        if supported(op, "padding", PADDINGS, "PyTorch"):
            edges = _edges(images, op.pool_size, op.strides)
            if any(edges):
                images = functional.pad(images, edges, value=float("-inf"))
        return functional.max_pool2d(images, op.pool_size, op.strides)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Enlarge by a whole factor, in the dtype of the input."""
        return enlarge(inputs[0], op.scale, supported(op, "coordinates", COORDINATES, "PyTorch"))

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Resize to the second input's height and width."""
        images, coordinates = inputs[0], op.coordinates
        size = tuple(inputs[1].shape[axis] for axis in SPATIAL_AXES)
        source = tuple(images.shape[axis] for axis in SPATIAL_AXES)
        if source == (1, 1):  # one pixel, everywhere
            return images.expand(*images.shape[:2], *size)
        rows, columns = (
            self._matrix(before, after, coordinates)
            for before, after in zip(source, size, strict=True)
        )
        return (rows @ images.float() @ columns.T).to(images.dtype)

    def _matrix(self, source: int, target: int, coordinates: ops.Coordinates) -> Tensor:
        settings = source, target, coordinates
        if settings not in self._matrices:
            matrix = torch.tensor(interpolation_matrix(*settings), dtype=torch.float32)
            self._matrices[settings] = matrix.to(self._place)
        return self._matrices[settings]

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Join along the channels."""
        return torch.cat([features.to(self.dtype) for features in inputs], 1)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Average over height and width, in float32: sums of many values need the digits."""
        return inputs[0].mean(SPATIAL_AXES, keepdim=True, dtype=torch.float32)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Tensor:
        """Scale each image to 0..1, in float32."""
        maps = inputs[0].float()
        maps = maps - maps.amin(IMAGE_AXES, keepdim=True)
        return maps / (op.epsilon + maps.amax(IMAGE_AXES, keepdim=True))

    def kl_divergence(self, loss: KLDivergence, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Give the loss of each image, ``(N,)``, in float32."""
        true, predicted = (
            maps / (loss.epsilon + maps.sum(IMAGE_AXES, keepdim=True))
            for maps in (maps.float() for maps in inputs)
        )
        ratio = true / (loss.epsilon + predicted)
        return (true * torch.log(loss.epsilon + ratio)).sum(IMAGE_AXES)


def _edges(images: Tensor, extent: int, strides: int) -> tuple[int, int, int, int]:
    """Give SAME's padding as PyTorch orders it: left, right, top, bottom."""
    top, bottom = ops.same_padding(images.shape[2], extent, strides)
    left, right = ops.same_padding(images.shape[3], extent, strides)
    return left, right, top, bottom


def _padded(
    images: Tensor, extent: int, strides: int, value: float
) -> tuple[Tensor, tuple[int, int]]:
    """Give images and the padding that the convolution is to add: both sides of an axis alike."""
    left, right, top, bottom = _edges(images, extent, strides)
    if left == right and top == bottom:
        return images, (top, left)
    return functional.pad(images, (left, right, top, bottom), value=value), (0, 0)
