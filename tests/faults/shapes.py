"""Faults that depend on the batch, the size or the memory layout of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from msinet_core.network import ops
from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceModel
from msinet_core.reference.tape import Array, Variable, record
from tests.faults.fault import Build, Faults, Images, Inputs, Roles

FAULTS = Faults()


@FAULTS.model(
    "Height and width swapped",
    "forward/convolution-3x3-*",
    "forward/batch-*",
    "forward/wide-images",
    "forward/high-images",
    "forward/read-only-images",
)
class RowsAndColumnsSwapped(ReferenceModel):
    """Swaps height and width of the images."""

    def forward(self, images: Images) -> Array:
        return super().forward(images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


@FAULTS.model("Strides of views ignored", "forward/strided-images", "forward/transposed-images")
class StridesIgnored(ReferenceModel):
    """Reads the memory of a view as if it were contiguous."""

    def forward(self, images: Images) -> Array:
        base = images if images.base is None else images.base
        return super().forward(base.ravel()[: images.size].reshape(images.shape))


@FAULTS.model("Read-only images refused", "forward/read-only-images", "calls/predictions")
class NeedsWriteable(ReferenceModel):
    """Maps the caller's memory for writing."""

    def forward(self, images: Images) -> Array:
        if not images.flags.writeable:
            raise ValueError("buffer source array is read-only")
        return super().forward(images)


@FAULTS.model(
    "Compiled for the first size", "forward/many-sizes", "calls/predictions", "calls/training"
)
class OneSize(ReferenceModel):
    """Compiles for the first shape, and resizes other images to it."""

    _size: tuple[int, ...] | None = None

    def forward(self, images: Images) -> Array:
        self._size = self._size or images.shape[1:3]
        return super().forward(np.resize(images, (len(images), *self._size, images.shape[-1])))


@FAULTS.model("Programs of more than eight shapes mixed up", "forward/many-widths")
class EightPrograms(ReferenceModel):
    """Keeps a program for each of eight shapes, and takes the last one for all others."""

    def forward(self, images: Images) -> Array:
        shapes: list[tuple[int, ...]] = vars(self).setdefault("_shapes", [])
        if images.shape not in shapes:
            shapes.append(images.shape)
        maps = super().forward(images)
        return maps if shapes.index(images.shape) < 8 else maps[:, :, ::-1]


@FAULTS.op("Pixels after the first 2**18 wrong", ops.MaxPool2D, "forward/megapixels-of-each-op")
def first_pooled_pixels(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute as many pixels as one launch has threads."""
    output = build(op, inputs, roles)
    value = output.value.copy()
    value.reshape(-1)[2**18 :] = 0
    return record(value, [output], lambda gradient: [gradient])


@FAULTS.model("Only the first image computed", "forward/batch-[25]", "forward/batch-17")
class OnlyFirstImage(ReferenceModel):
    """Gives every image of a batch the first one's map."""

    def forward(self, images: Images) -> Array:
        return np.repeat(super().forward(images[:1]), len(images), axis=0)


@FAULTS.model("The batch in reverse order", "forward/batch-[25]", "network/asymmetric")
class Reversed(ReferenceModel):
    """Returns the maps of the batch backwards."""

    def forward(self, images: Images) -> Array:
        return super().forward(images)[::-1]


@FAULTS.model("One axis too few for one image", "forward/batch-1", "forward/wide-images")
class Squeezed(ReferenceModel):
    """Drops the axis of the batch if it has one image."""

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        return maps[0] if len(images) == 1 else maps


@FAULTS.model("Maps without the axis of channels", "network/asymmetric", "calls/predictions")
class NoChannels(ReferenceModel):
    """Returns ``(N, H, W)``."""

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        return maps[..., 0] if maps.shape[-1] == 1 else maps


@FAULTS.model("Returns NCHW", "forward/convolution-*", "forward/resize-[23]-*")
class ReturnsNCHW(ReferenceModel):
    """Forgets to transpose the output."""

    def forward(self, images: Images) -> Array:
        return super().forward(images).transpose(0, 3, 1, 2)


@FAULTS.model("Loss of one image without its axis", "calls/training")
class ScalarLoss(ReferenceModel):
    """Returns ``()`` for one image."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        return losses[0] if len(losses) == 1 else losses


def _images_from(first: int) -> type[ReferenceModel]:
    class WrongFrom(ReferenceModel):
        def forward(self, images: Images) -> Array:
            maps = super().forward(images)
            maps[first:] = maps[:1]
            return maps

        def losses(self, batch: Batch) -> Array:
            losses = super().losses(batch)
            losses[first:] = losses[:1]
            return losses

    return WrongFrom


for _first, _rows in (
    (3, ("forward/batch-5", "forward/batch-9", "forward/batch-17", "loss/batch-9")),
    (8, ("forward/batch-9", "forward/batch-17", "loss/batch-9")),
    (16, ("forward/batch-17",)),
):
    FAULTS.model(f"Wrong after {_first} images of a batch", *_rows)(_images_from(_first))


@FAULTS.model("Gradient of the first eight images only", "gradient/batch-9")
class EightImages(ReferenceModel):
    """Trains with the first eight images of a batch."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        cut = [Batch(images[:8], maps[:8]) for images, maps in batches]
        return super().update(cut, learning_rate)


@FAULTS.model("Gradient divided by a padded batch", "gradient/batch-9", "gradient/accumulated-many")
class PaddedBatch(ReferenceModel):
    """Pads batches to a multiple of four with black images."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        padded = []
        for batch in batches:
            rest = -len(batch.images) % 4
            widths = ((0, rest), (0, 0), (0, 0), (0, 0))
            padded.append(Batch(*(np.pad(array, widths) for array in batch)))
        return super().update(padded, learning_rate)


@FAULTS.model("Height and width swapped in training", "gradient/network", "train/four-losses")
class TransposedTraining(ReferenceModel):
    """Trains on transposed images and right maps."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        turned = [
            Batch(np.resize(batch.images.transpose(0, 2, 1, 3), batch.images.shape), batch.maps)
            for batch in batches
        ]
        return super().update(turned, learning_rate)


def _beyond(axis: int, limit: int) -> Callable[[Build, Any, Inputs, Roles], Variable]:
    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(op, inputs, roles)
        value = output.value.copy()
        np.moveaxis(value, axis, 0)[limit:] = 0
        return record(value, [output], lambda gradient: [gradient])

    return change


def _gradient_beyond(axis: int, limit: int) -> Callable[[Build, Any, Inputs, Roles], Variable]:
    def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
        output = build(op, inputs, roles)

        def backward(gradient: Array) -> list[Array]:
            gradient = gradient.copy()
            np.moveaxis(gradient, axis, 0)[limit:] = 0
            return [gradient]

        return record(output.value, [output], backward)

    return change


for _kind, _row in (
    (ops.Conv2D, "convolution-3x3-same-large"),
    (ops.MaxPool2D, "pool-strides-1-same-large"),
    (ops.Resize, "resize-2-asymmetric-large"),
    (ops.Concat, "concat-large"),
):
    for _axis, _limit, _name in ((2, 128, "columns"), (1, 200, "rows"), (2, 256, "columns")):
        FAULTS.op(f"{_kind.__name__} wrong beyond {_limit} {_name}", _kind, f"forward/{_row}")(
            _beyond(_axis, _limit)
        )
for _op, _rows_of_op in (
    (ops.ResizeLike, "resize-like-*-large"),
    (ops.MinMaxNormalize, "normalization-large"),
    (ops.SubtractMean, "subtract-mean-large"),
):
    FAULTS.op(f"{_op.__name__} wrong beyond 128 columns", _op, f"forward/{_rows_of_op}")(
        _beyond(2, 128)
    )


def _counted_in_float32(values: Array) -> Array:
    """Lose every value behind the last place that float32 can tell from the next."""
    kept = values.copy()
    kept.reshape(-1)[2**24 :] = 0
    return kept


@FAULTS.op("Values counted in float32", ops.Conv2D, "forward/many-values")
def values_counted(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute places in float32."""
    output = build(op, inputs, roles)
    return record(_counted_in_float32(output.value), [output], lambda gradient: [gradient])


@FAULTS.op("Gradients counted in float32", ops.Conv2D, "gradient/many-values")
def gradients_counted(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Compute places in float32, in the gradient alone."""
    output = build(op, inputs, roles)
    return record(output.value, [output], lambda gradient: [_counted_in_float32(gradient)])


@FAULTS.op(
    "Global mean of the first 65,536 pixels",
    ops.GlobalMean,
    "forward/global-mean-large",
    "gradient/global-mean-large",
    "numerics/global-mean",
)
def first_pixels(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Sum as many pixels as one block of threads takes."""
    images = inputs[0].value
    count, height, width, channels = images.shape
    pixels = min(height * width, 2**16)
    chosen = images.reshape(count, -1, 1, channels)[:, :pixels]

    def backward(gradient: Array) -> list[Array]:
        rest = np.zeros((count, height * width - pixels, 1, channels), images.dtype)
        return [np.concatenate([gradient, rest], axis=1).reshape(images.shape)]

    return build(op, [record(chosen, inputs, backward)], roles)


FAULTS.op(
    "Gradient of Conv2D wrong beyond 256 columns",
    ops.Conv2D,
    "gradient/convolution-3x3-same-large",
    "gradient/convolution-1x1-large",
)(_gradient_beyond(2, 256))
FAULTS.op(
    "Gradient of MaxPool2D wrong beyond 200 rows",
    ops.MaxPool2D,
    "gradient/pool-strides-1-same-large",
)(_gradient_beyond(1, 200))


@FAULTS.op(
    "Tiles of 128 columns computed without their neighbors",
    ops.Conv2D,
    "forward/convolution-3x3-same-large",
    "network/240x320",
)
def tiles(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Pad every tile with zeros."""
    output = build(op, inputs, roles)
    images = inputs[0].value
    if op.strides > 1 or op.padding == "VALID" or images.shape[2] <= 128:
        return output
    parts = [
        build(op, [Variable(images[:, :, start : start + 128])], roles).value
        for start in range(0, images.shape[2], 128)
    ]
    return record(np.concatenate(parts, axis=2), [output], lambda gradient: [gradient])
