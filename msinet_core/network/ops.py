"""The operations of a network, as frozen values that are independent of axis order and framework.

An op refers to channels, height and width, never to axis numbers, so it means the same in NHWC and
in NCHW. Everything that affects the numbers (padding, dilation, resize coordinates, epsilons) is an
attribute, which a device has to support or refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

from msinet_core.errors import GraphError

Size = tuple[int, int]
"""Height and width in pixels."""

Padding = Literal["SAME", "VALID"]
Activation = Literal["relu", "linear"]
Coordinates = Literal["asymmetric", "half_pixel"]

_WORDS = {
    "padding": get_args(Padding),
    "activation": get_args(Activation),
    "coordinates": get_args(Coordinates),
}
"""The values of the attributes that are words."""


@dataclass(frozen=True)
class Op:
    """Base class of operations; subclasses add attributes.

    Attributes that are integers are at least 1, and those that are floats are above 0.

    Raises:
        GraphError: An attribute has another value.
    """

    arity: ClassVar[int | None] = 1
    """The number of inputs; None for two or more."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is int and value < 1:
                raise self._refusal(field.name, "must be at least 1")
            if kind is float and not value > 0:
                raise self._refusal(field.name, "must be above 0")
            words = _WORDS.get(field.name, (value,))
            if value not in words:
                raise self._refusal(field.name, f"must be {' or '.join(words)}")

    def _refusal(self, field: str, reason: str) -> GraphError:
        value = getattr(self, field)
        return GraphError(f"{type(self).__name__}.{field} {reason}, got {value!r}")

    def output_channels(self, channels: Sequence[int]) -> int:
        """Return the number of output channels.

        Args:
            channels: The number of channels of each input.

        Raises:
            GraphError: The inputs do not fit the op.
        """
        return channels[0]

    def output_size(self, sizes: Sequence[Size]) -> Size:
        """Return the output's height and width.

        Args:
            sizes: The height and width of each input.

        Raises:
            GraphError: The inputs do not fit the op.
        """
        return sizes[0]

    def parameter_shapes(self, channels: Sequence[int]) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each parameter by its role; kernels are HWIO.

        Args:
            channels: The number of channels of each input.
        """
        return {}

    def flops(self, channels: Sequence[int], output: Size) -> int:
        """Count floating-point operations for one image, two for each multiply-add.

        Only the multiply-adds of convolutions are counted, as is usual.

        Args:
            channels: The number of channels of each input.
            output: The height and width of the output.
        """
        return 0


@dataclass(frozen=True)
class Input(Op):
    """The input of the network: ``(N, H, W, channels)`` images, float32.

    Args:
        channels: The number of channels.
    """

    channels: int = 3
    arity: ClassVar[int | None] = 0

    def output_channels(self, channels: Sequence[int]) -> int:
        return self.channels


@dataclass(frozen=True)
class SubtractMean(Op):
    """Subtract a constant from each channel.

    Args:
        mean: One value for each channel, in the order of the channels.
    """

    mean: tuple[float, ...] = (0.0,)

    def output_channels(self, channels: Sequence[int]) -> int:
        if len(self.mean) != channels[0]:
            raise GraphError(
                f"SubtractMean has {len(self.mean)} values for an input with {channels[0]} channels"
            )
        return channels[0]


@dataclass(frozen=True)
class Conv2D(Op):
    """Convolve with a square kernel, add a bias, and apply an activation.

    SAME padding is TensorFlow's: zeros, with the extra row and column at the bottom and the right
    if the total is odd.

    Args:
        filters: The number of output channels.
        kernel_size: Height and width of the kernel in pixels.
        strides: Step between outputs in pixels, both axes.
        dilation: Distance between kernel taps in pixels, both axes.
        padding: ``"SAME"`` or ``"VALID"``.
        activation: ``"relu"`` or ``"linear"``.
        use_bias: Whether to add a bias.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """

    filters: int = 1
    kernel_size: int = 3
    strides: int = 1
    dilation: int = 1
    padding: Padding = "SAME"
    activation: Activation = "relu"
    use_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strides > 1 and self.dilation > 1:
            raise self._refusal("strides", "must be 1 if dilation > 1")

    @property
    def extent(self) -> int:
        """The number of pixels that the dilated kernel spans."""
        return self.dilation * (self.kernel_size - 1) + 1

    def output_channels(self, channels: Sequence[int]) -> int:
        return self.filters

    def output_size(self, sizes: Sequence[Size]) -> Size:
        return _window_size(self, sizes[0], self.extent, self.strides, self.padding)

    def parameter_shapes(self, channels: Sequence[int]) -> Mapping[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "kernel": (self.kernel_size, self.kernel_size, channels[0], self.filters)
        }
        if self.use_bias:
            shapes["bias"] = (self.filters,)
        return shapes

    def flops(self, channels: Sequence[int], output: Size) -> int:
        taps = self.kernel_size**2 * channels[0]
        return 2 * taps * self.filters * output[0] * output[1]


@dataclass(frozen=True)
class MaxPool2D(Op):
    """Take the maximum over square windows.

    SAME padding is minus infinity; with ``pool_size=2, strides=1`` it adds one row at the bottom
    and one column at the right.

    Args:
        pool_size: Height and width of the window in pixels.
        strides: Step between windows in pixels.
        padding: ``"SAME"`` or ``"VALID"``.
    """

    pool_size: int = 2
    strides: int = 2
    padding: Padding = "VALID"

    def output_size(self, sizes: Sequence[Size]) -> Size:
        return _window_size(self, sizes[0], self.pool_size, self.strides, self.padding)


@dataclass(frozen=True)
class Resize(Op):
    """Enlarge by an integer factor with bilinear interpolation.

    Output row i reads source row ``i / scale`` ("asymmetric", TensorFlow 1) or
    ``(i + 0.5) / scale - 0.5`` ("half_pixel", TensorFlow 2, PyTorch), clamped to the image.

    Args:
        scale: The factor for both axes.
        coordinates: ``"asymmetric"`` or ``"half_pixel"``.

    Source: ONNX operator Resize, coordinate_transformation_mode.
    """

    scale: int = 2
    coordinates: Coordinates = "asymmetric"

    def output_size(self, sizes: Sequence[Size]) -> Size:
        height, width = sizes[0]
        return height * self.scale, width * self.scale


@dataclass(frozen=True)
class ResizeLike(Op):
    """Resize the first input to the height and width of the second, with bilinear interpolation.

    Args:
        coordinates: ``"asymmetric"`` (source row ``i * in / out``) or ``"half_pixel"``.
    """

    coordinates: Coordinates = "asymmetric"
    arity: ClassVar[int | None] = 2

    def output_size(self, sizes: Sequence[Size]) -> Size:
        return sizes[1]


@dataclass(frozen=True)
class Concat(Op):
    """Concatenate inputs of the same size along their channels, in order."""

    arity: ClassVar[int | None] = None

    def output_channels(self, channels: Sequence[int]) -> int:
        return sum(channels)

    def output_size(self, sizes: Sequence[Size]) -> Size:
        if len(set(sizes)) != 1:
            raise GraphError(f"Concat needs inputs of the same height and width, got {list(sizes)}")
        return sizes[0]


@dataclass(frozen=True)
class GlobalMean(Op):
    """Average each channel over height and width, keeping both as 1."""

    def output_size(self, sizes: Sequence[Size]) -> Size:
        return 1, 1


@dataclass(frozen=True)
class MinMaxNormalize(Op):
    """Scale each image to 0..1: subtract its minimum, then divide by epsilon plus its maximum.

    Args:
        epsilon: Keeps the division finite for constant images.
    """

    epsilon: float = 1e-7


OPS: Mapping[str, type[Op]] = {
    op.__name__: op
    for op in (
        Input,
        SubtractMean,
        Conv2D,
        MaxPool2D,
        Resize,
        ResizeLike,
        Concat,
        GlobalMean,
        MinMaxNormalize,
    )
}
"""Every op by its name in JSON."""


def same_padding(size: int, extent: int, strides: int) -> tuple[int, int]:
    """Return the SAME padding before and after one axis.

    Args:
        size: The length of the axis in pixels.
        extent: The number of pixels that the window spans.
        strides: The step between windows in pixels.
    """
    total = max((-(-size // strides) - 1) * strides + extent - size, 0)
    return total // 2, total - total // 2


def _window_size(op: Op, size: Size, extent: int, strides: int, padding: Padding) -> Size:
    if padding == "SAME":
        return -(-size[0] // strides), -(-size[1] // strides)
    height, width = ((axis - extent) // strides + 1 for axis in size)
    if height < 1 or width < 1:
        raise GraphError(
            f"{type(op).__name__} without padding spans {extent} pixels, more than its input of "
            f"{size[0]}x{size[1]}"
        )
    return height, width
