"""Faults in precision and range: rounding, naive sums, values that are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from msinet_core.network import ops
from msinet_core.network.loss import KLDivergence
from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceModel
from msinet_core.reference.tape import Array, Variable, record
from tests.faults.change import truncated
from tests.faults.fault import Build, Faults, Images, Inputs, Roles

FAULTS = Faults()


def running_sum(values: Array, axes: tuple[int, ...]) -> Array:
    """Sum in float32 one value after another, as naive kernels do; keeps the axes.

    Args:
        values: Any shape.
        axes: The axes to sum over.
    """
    last = np.moveaxis(values, axes, range(-len(axes), 0))
    rows = last.reshape(*last.shape[: -len(axes)], -1).astype(np.float32)
    total = np.cumsum(rows, axis=-1, dtype=np.float32)[..., -1]
    return np.expand_dims(total, axes)


def _tf32(value: Array) -> Array:
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32)


@FAULTS.op("Convolutions in TF32", ops.Conv2D, "forward/convolution-*", "network/240x320")
def tf32(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Round images and kernels to ten bits."""
    image = record(_tf32(inputs[0].value), [inputs[0]], lambda gradient: [gradient])
    kernel = record(_tf32(roles["kernel"].value), [roles["kernel"]], lambda gradient: [gradient])
    return build(op, [image], {**roles, "kernel": kernel})


@FAULTS.op("Gradients in bfloat16", ops.Conv2D, "gradient/convolution-*", "gradient/batch-9")
def gradient_in_bfloat16(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Truncate the gradient of every convolution."""
    output = build(op, inputs, roles)
    return record(output.value, [output], lambda gradient: [truncated(gradient)])


@FAULTS.op("Small values flushed to zero", ops.Conv2D, "numerics/small-values")
def small_values_flushed(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Replace outputs below 1e-4 by zero."""
    output = build(op, inputs, roles)
    value = np.where(np.abs(output.value) < 1e-4, 0, output.value).astype(output.value.dtype)
    return record(value, [output], lambda gradient: [gradient])


@FAULTS.op("Values saturate at 65504", ops.Conv2D, "numerics/large-weights")
def saturated(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Cut outputs to the range of float16."""
    output = build(op, inputs, roles)
    return record(np.clip(output.value, -65504, 65504), [output], lambda gradient: [gradient])


@FAULTS.op("Running sum in the global mean", ops.GlobalMean, "numerics/global-mean")
def naive_mean(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Sum pixels one after another in float32."""
    mean = build(op, inputs, roles)
    _, height, width, _ = inputs[0].value.shape
    value = running_sum(inputs[0].value, (1, 2)) / np.float32(height * width)
    return record(value, [mean], lambda gradient: [gradient])


@FAULTS.op("Running sums in the loss", KLDivergence, "loss/240x320")
def naive_loss(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Sum maps one pixel after another in float32."""
    losses = build(op, inputs, roles)
    true, predicted = (
        (maps.value / (op.epsilon + running_sum(maps.value, (1, 2, 3)))) for maps in inputs
    )
    terms = true * np.log(op.epsilon + true / (op.epsilon + predicted))
    value = running_sum(terms, (1, 2, 3)).reshape(-1)
    return record(value.astype(np.float32), [losses], lambda gradient: [gradient])


@FAULTS.op("Running sum in the gradient of biases", ops.Conv2D, "numerics/bias-gradient")
def naive_bias_gradient(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
    """Sum the gradient of a bias one pixel after another in bfloat16 blocks."""
    if not op.use_bias:
        return build(op, inputs, roles)
    bias = roles["bias"]
    output = build(op, inputs, {**roles, "bias": Variable(bias.value)})
    mask = output.value > 0 if op.activation == "relu" else np.ones_like(output.value, bool)

    def backward(gradient: Array) -> list[Array]:
        return [gradient, running_sum(1 + gradient * mask, (0, 1, 2)).ravel() - mask[..., 0].size]

    return record(output.value, [output, bias], backward)


class _Changed(ReferenceModel):
    """Changes images and maps before it computes."""

    def forward(self, images: Images) -> Array:
        return super().forward(self.change(images))

    def losses(self, batch: Batch) -> Array:
        return super().losses(Batch(self.change(batch.images), batch.maps))

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        changed = [Batch(self.change(batch.images), batch.maps) for batch in batches]
        return super().update(changed, learning_rate)

    def change(self, images: Images) -> Images:
        """Return the wrong images."""
        raise NotImplementedError


@FAULTS.model("Images rounded to whole numbers", "forward/subtract-mean", "forward/batch-1")
class WholeNumbers(_Changed):
    """Stores images in 8 bits."""

    def change(self, images: Images) -> Images:
        return np.rint(images)


@FAULTS.model("Negative images cut at zero", "forward/convolution-1x1", "gradient/convolution-1x1")
class NotNegative(_Changed):
    """Clips images to 0..255."""

    def change(self, images: Images) -> Images:
        return np.clip(images, 0, 255)


@FAULTS.model("Images in bfloat16", "forward/subtract-mean", "forward/pool-strides-2")
class ImagesInBfloat16(_Changed):
    """Truncates images."""

    def change(self, images: Images) -> Images:
        return truncated(images)


@FAULTS.model("True maps in 8 bits", "loss/random", "loss/batch-9")
class MapsInEightBits(ReferenceModel):
    """Rounds true maps to multiples of 1/255."""

    def losses(self, batch: Batch) -> Array:
        maps = (np.rint(batch.maps * 255) / 255).astype(np.float32)
        return super().losses(Batch(batch.images, maps))


@FAULTS.model("Predictions cut to 0..1", "forward/convolution-linear", "forward/subtract-mean")
class PredictionsCut(ReferenceModel):
    """Clips every output, as if it were a map."""

    def forward(self, images: Images) -> Array:
        return np.clip(super().forward(images), 0, 1)


@FAULTS.model("Returns float64", "forward/convolution-*")
class DoublePrecision(ReferenceModel):
    """Returns float64."""

    def forward(self, images: Images) -> Array:
        return super().forward(images).astype(np.float64)


@FAULTS.model("NaN becomes zero, black images NaN", "network/extreme-images")
class BlackImages(ReferenceModel):
    """Divides by the mean of each image."""

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        maps[images.max(axis=(1, 2, 3)) == 0] = 0
        return maps


@FAULTS.model("Nondeterministic", "forward/repeated", "train/same-twice")
class Nondeterministic(ReferenceModel):
    """Sums in random order."""

    _random = np.random.default_rng()

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        noise = 1 + 1e-6 * self._random.standard_normal(maps.shape)
        return (maps * noise).astype(np.float32)

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        noise = 1 + 1e-6 * self._random.standard_normal()
        return super().update(batches, learning_rate * float(noise))
