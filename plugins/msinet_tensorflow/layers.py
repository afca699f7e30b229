"""The layer builders that all TensorFlow devices share, in NHWC, without Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msinet_core import Inputs, Layers, Parameters, ops
from msinet_tensorflow.loading import load_tensorflow

tf = load_tensorflow()

Tensor = Any

IMAGE_AXES = (1, 2, 3)


class TensorFlowLayers(Layers):
    """Layer builders that compute convolutions in one precision, from float32 parameters.

    The mean, the normalization, the loss and linear convolutions are always computed in float32. A
    linear convolution produces the network's output, and no later layer smooths its rounding.

    Args:
        dtype: The dtype of convolutions, for example ``tf.bfloat16``.
    """

    data_format = "NHWC"
    spatial_axes = (1, 2)
    """The axes of height and width in the data format."""
    channel_axis = 3

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def subtract_mean(self, op: ops.SubtractMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Subtract a constant from each channel, in float32."""
        return inputs[0] - tf.constant(op.mean, inputs[0].dtype)

    def conv2d(self, op: ops.Conv2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Convolve, add the bias and apply the activation."""
        dtype = tf.float32 if op.activation == "linear" else self.dtype
        features = self.convolve(
            op, tf.cast(inputs[0], dtype), tf.cast(parameters["kernel"], dtype)
        )
        if op.use_bias:
            features = self.add_bias(features, tf.cast(parameters["bias"], dtype))
        return tf.nn.relu(features) if op.activation == "relu" else features

    def convolve(self, op: ops.Conv2D, images: Tensor, kernel: Tensor) -> Tensor:
        """Convolve without bias and activation; some devices override it.

        Args:
            op: The convolution's attributes.
            images: In the device's data format.
            kernel: HWIO, in the dtype of the images.
        """
        return tf.nn.conv2d(images, kernel, op.strides, op.padding, self.data_format, op.dilation)

    def add_bias(self, features: Tensor, bias: Tensor) -> Tensor:
        """Add one value to each channel; sum the gradient in float32.

        On processors, TensorFlow's gradient sums bfloat16 values in bfloat16, which loses nine
        tenths of the sum of equal values over a 240x320 image.

        Args:
            features: In the device's data format.
            bias: ``(C,)``, in the dtype of the features.
        """

        def biased(features: Tensor, bias: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
            def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
                return upstream, tf.cast(self.channel_sums(upstream), bias.dtype)

            return tf.nn.bias_add(features, bias, self.data_format), gradient

        return tf.custom_gradient(biased)(features, bias)

    def channel_sums(self, features: Tensor) -> Tensor:
        """Sum each channel, ``(C,)``, in float32.

        Args:
            features: In the device's data format.
        """
        return tf.reduce_sum(tf.cast(features, tf.float32), axis=(0, *self.spatial_axes))

    def max_pool2d(self, op: ops.MaxPool2D, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Take the maximum over windows; SAME pads with minus infinity."""
        return tf.nn.max_pool2d(inputs[0], op.pool_size, op.strides, op.padding, self.data_format)

    def resize(self, op: ops.Resize, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Enlarge by a whole factor."""
        height, width = self.size(inputs[0])
        return self.resize_bilinear(op, inputs[0], (height * op.scale, width * op.scale))

    def resize_like(self, op: ops.ResizeLike, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Resize to the second input's height and width."""
        return self.resize_bilinear(op, inputs[0], self.size(inputs[1]))

    def size(self, images: Tensor) -> ops.Size:
        """Return height and width in pixels.

        Args:
            images: In the device's data format.
        """
        height, width = (int(images.shape[axis]) for axis in self.spatial_axes)
        return height, width

    def resize_bilinear(
        self, op: ops.Resize | ops.ResizeLike, images: Tensor, size: ops.Size
    ) -> Tensor:
        """Resize to a size; return float32, like TensorFlow's kernel.

        Args:
            op: Its coordinates attribute selects the sampling rule.
            images: ``(N, H, W, C)``.
            size: The new height and width in pixels.
        """
        half_pixel = op.coordinates == "half_pixel"
        return tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=half_pixel)

    def concat(self, op: ops.Concat, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Join along the channels."""
        return tf.concat([tf.cast(features, self.dtype) for features in inputs], self.channel_axis)

    def global_mean(self, op: ops.GlobalMean, inputs: Inputs, parameters: Parameters) -> Tensor:
        """Average each row, then the averages of the rows, in float32.

        TensorFlow adds pixels one by one, and a single sum over all of them loses digits.
        """
        height, width = self.spatial_axes
        rows = tf.reduce_mean(tf.cast(inputs[0], tf.float32), width, keepdims=True)
        return tf.reduce_mean(rows, height, keepdims=True)

    def min_max_normalize(
        self, op: ops.MinMaxNormalize, inputs: Inputs, parameters: Parameters
    ) -> Tensor:
        """Scale each image to 0..1, in float32."""
        maps = tf.cast(inputs[0], tf.float32)
        maps -= tf.reduce_min(maps, axis=IMAGE_AXES, keepdims=True)
        return maps / (op.epsilon + tf.reduce_max(maps, axis=IMAGE_AXES, keepdims=True))

    def image_sum(self, maps: Tensor, keepdims: bool) -> Tensor:
        """Sum each image, in float32."""
        return tf.reduce_sum(tf.cast(maps, tf.float32), axis=IMAGE_AXES, keepdims=keepdims)

    def log(self, values: Tensor) -> Tensor:
        """Return the natural logarithm."""
        return tf.math.log(values)

    def rsqrt(self, values: Tensor) -> Tensor:
        """Use the op whose gradient has a kernel on every device; Metal has none for Sqrt's."""
        return tf.math.rsqrt(values)
