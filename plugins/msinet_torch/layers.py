"""The ops and the loss in NCHW, on ``torch.nn.functional``; no modules."""

from __future__ import annotations

from typing import Any

from msinet_core import (
    Inputs,
    Layers,
    Parameters,
    hardware,
    interpolation_matrix,
    ops,
)
from msinet_torch.loading import Tensor, torch
from msinet_torch.resize import enlarge, memory_format

functional = torch.nn.functional

SPATIAL_AXES = (2, 3)
IMAGE_AXES = (1, 2, 3)


class TorchLayers(Layers):
    """Compute convolutions in one precision, from float32 parameters.

    The mean, the normalization and the loss are always float32, and so is a linear convolution: it
    is the network's output, and no later layer smooths its rounding.

    Args:
        dtype: The dtype of convolutions, for example ``torch.bfloat16``.
        device: The ``torch.device`` of constants.
    """

    def __init__(self, dtype: Any, device: Any) -> None:
        self.dtype = dtype
        self._device = device
        # Cached: a transfer in every step would wait for the device.
        self._means: dict[tuple[float, ...], Tensor] = {}
        self._matrices: dict[tuple[int, int, ops.Coordinates], Tensor] = {}

    def conv_dtype(self, op: ops.Conv2D) -> Any:
        """Return the dtype that a convolution is computed in."""
        return torch.float32 if op.activation == "linear" else self.dtype

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        if op.mean not in self._means:
            mean = torch.tensor(op.mean, dtype=torch.float32, device=self._device)
            self._means[op.mean] = mean.reshape(1, -1, 1, 1)
        return inputs[0] - self._means[op.mean]

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        dtype = self.conv_dtype(op)
        images, kernel = inputs[0].to(dtype), parameters["kernel"].to(dtype)
        if dtype == torch.bfloat16 and images.device.type == "cpu":
            missing = hardware.missing_channels(images.shape[1], op.dilation)
            if missing:
                pads = (0, 0, 0, 0, 0, missing)
                images, kernel = functional.pad(images, pads), functional.pad(kernel, pads)
        left, right, top, bottom = _pads(op, images, op.extent)
        padding = (top, left)
        if left != right or top != bottom:  # a convolution pads both sides alike
            images, padding = functional.pad(images, (left, right, top, bottom)), (0, 0)
        features = functional.conv2d(
            images,
            kernel,
            parameters["bias"].to(dtype) if op.use_bias else None,
            op.strides,
            padding,
            op.dilation,
        )
        # In place: no gradient needs a convolution's output.
        return torch.relu_(features) if op.activation == "relu" else features

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        images = inputs[0]
        pads = _pads(op, images, op.pool_size)
        if any(pads):
            images = functional.pad(images, pads, value=float("-inf"))
        return functional.max_pool2d(images, op.pool_size, op.strides)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Tensor:
        return enlarge(inputs[0], op.scale, op.coordinates)

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Tensor:
        images = inputs[0]
        source, target = (tuple(image.shape[axis] for axis in SPATIAL_AXES) for image in inputs)
        if source == (1, 1):
            # Contiguous: `torch.cat` takes its result's memory format from its inputs.
            wide = images.expand(*images.shape[:2], *target)
            return wide.contiguous(memory_format=memory_format(inputs[1]))
        rows, columns = (
            self._matrix(before, after, op.coordinates)
            for before, after in zip(source, target, strict=True)
        )
        return (rows @ images.float() @ columns.T).to(images.dtype)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Tensor:
        return torch.cat([features.to(self.dtype) for features in inputs], 1)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        images = inputs[0]
        if memory_format(images) == torch.contiguous_format:
            return images.mean(SPATIAL_AXES, keepdim=True, dtype=torch.float32)
        # Over the axes in memory order: the gradient is then channels_last as well, and so is the
        # sum with the gradients of the other branches, which is several times as fast.
        means = images.movedim(1, 3).mean((1, 2), keepdim=True, dtype=torch.float32)
        return means.movedim(3, 1)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Tensor:
        maps = inputs[0].float()
        maps = maps - maps.amin(IMAGE_AXES, keepdim=True)
        return maps / (op.epsilon + maps.amax(IMAGE_AXES, keepdim=True))

    def image_sum(self, maps: Tensor, keepdims: bool) -> Tensor:
        return maps.sum(IMAGE_AXES, keepdim=keepdims, dtype=torch.float32)

    def log(self, values: Tensor) -> Tensor:
        return torch.log(values)

    def _matrix(self, source: int, target: int, coordinates: ops.Coordinates) -> Tensor:
        key = source, target, coordinates
        if key not in self._matrices:
            matrix = torch.from_numpy(interpolation_matrix(*key).astype("float32"))
            self._matrices[key] = matrix.to(self._device)
        return self._matrices[key]


def _pads(op: ops.Conv2D | ops.MaxPool2D, images: Tensor, extent: int) -> tuple[int, int, int, int]:
    """Return the padding in PyTorch's order: left, right, top, bottom."""
    if op.padding == "VALID":
        return 0, 0, 0, 0
    top, bottom = ops.same_padding(images.shape[2], extent, op.strides)
    left, right = ops.same_padding(images.shape[3], extent, op.strides)
    return left, right, top, bottom
