"""A device's layer builders: a class with one method for each op."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeAlias

from msinet_core.errors import GraphError
from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.loss import Correlation, KLDivergence, ScanpathSaliency, Similarity

Inputs: TypeAlias = Sequence[Any]
"""The input tensors of an op."""

Parameters: TypeAlias = Mapping[str, Any]
"""The parameters of an op by role, ``"kernel"`` and ``"bias"``, or of a network by name."""

METHODS: Mapping[type, str] = {
    ops.SubtractMean: "subtract_mean",
    ops.Conv2D: "conv2d",
    ops.MaxPool2D: "max_pool2d",
    ops.Resize: "resize",
    ops.ResizeLike: "resize_like",
    ops.Concat: "concat",
    ops.GlobalMean: "global_mean",
    ops.MinMaxNormalize: "min_max_normalize",
    KLDivergence: "kl_divergence",
    Correlation: "correlation",
    Similarity: "similarity",
    ScanpathSaliency: "scanpath_saliency",
}
"""The method of `Layers` for each op and each loss."""


class Layers:
    """Compute ops in a framework; a subclass defines a method for each op that it supports.

    The methods are ``subtract_mean``, ``conv2d``, ``max_pool2d``, ``resize``, ``resize_like``,
    ``concat``, ``global_mean`` and ``min_max_normalize``. Each takes ``(op, inputs, parameters)``:
    the op with its attributes, the input tensors, and the parameters by role (``"kernel"``,
    ``"bias"``), and returns the output tensor. The losses are computed here from `image_sum`, `log`
    and the arithmetic of the framework's tensors; a device that does not train defines neither.
    """

    supported: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "activation": ("relu", "linear"),
        "padding": ("SAME", "VALID"),
        "coordinates": ("asymmetric", "half_pixel"),
    }
    """The supported values of each attribute that is a string. `builders` refuses all other values
    and attributes, so the methods do not have to."""

    def builders(self) -> Mapping[type, LayerBuilder[Any]]:
        """Return the builders by op, for `Device.layer_builders`."""
        methods = ("log", METHODS[KLDivergence])
        trains = any(getattr(type(self), name) is not getattr(Layers, name) for name in methods)
        return {
            op: self._checking(getattr(self, name))
            for op, name in METHODS.items()
            if hasattr(self, name) and (trains or issubclass(op, ops.Op))
        }

    def _checking(self, method: LayerBuilder[Any]) -> LayerBuilder[Any]:
        def build(op: Any, inputs: Inputs, parameters: Parameters) -> Any:
            self.check_attributes(op)
            return method(op, inputs, parameters)

        return build

    def check_attributes(self, op: Any) -> None:
        """Raise an error if an attribute of an op has an unsupported value.

        Args:
            op: An op or the loss.

        Raises:
            GraphError: An attribute has an unsupported value.
        """
        for attribute in fields(op):
            value = getattr(op, attribute.name)
            supported = self.supported.get(attribute.name, ())
            if isinstance(value, str) and value not in supported:
                raise GraphError(
                    f"{type(op).__name__} with {attribute.name}='{value}' is not supported by this "
                    f"device. Supported: {', '.join(supported) or 'none'}."
                )

    def image_sum(self, maps: Any, keepdims: bool) -> Any:
        """Sum each image in float32 without losing digits.

        Args:
            maps: ``(N, H, W, 1)`` in the device's own format, in any float dtype.
            keepdims: Whether to return a shape that broadcasts with the maps, instead of ``(N,)``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define image_sum")

    def log(self, values: Any) -> Any:
        """Return the natural logarithm of positive values.

        Args:
            values: A tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define log")

    def rsqrt(self, values: Any) -> Any:
        """Return 1 / sqrt of positive values.

        Args:
            values: A tensor.
        """
        return values**-0.5

    def kl_divergence(self, loss: KLDivergence, inputs: Inputs, parameters: Parameters) -> Any:
        """Compute the KL divergence of each image, ``(N,)``."""
        true, predicted = (self._distribution(maps, loss.epsilon) for maps in inputs)
        ratio = true / (loss.epsilon + predicted)
        return self.image_sum(true * self.log(loss.epsilon + ratio), keepdims=False)

    def correlation(self, loss: Correlation, inputs: Inputs, parameters: Parameters) -> Any:
        """Compute 1 - CC of each image, ``(N,)``."""
        true, predicted = (self._standardized(maps, loss.epsilon) for maps in inputs)
        return 1 - self.image_sum(true * predicted, keepdims=False) / _pixels(inputs[0])

    def similarity(self, loss: Similarity, inputs: Inputs, parameters: Parameters) -> Any:
        """Compute 1 - SIM of each image, ``(N,)``."""
        true, predicted = (self._distribution(maps, loss.epsilon) for maps in inputs)
        twice = true + predicted - abs(true - predicted)  # so that equal values have no gradient
        return 1 - self.image_sum(twice, keepdims=False) / 2

    def scanpath_saliency(
        self, loss: ScanpathSaliency, inputs: Inputs, parameters: Parameters
    ) -> Any:
        """Compute -NSS of each image, ``(N,)``, as expected for fixations from the true map."""
        weights = self._distribution(inputs[0], loss.epsilon)
        return -self.image_sum(weights * self._standardized(inputs[1], loss.epsilon), False)

    def _distribution(self, maps: Any, epsilon: float) -> Any:
        return maps / (epsilon + self.image_sum(maps, keepdims=True))

    def _standardized(self, maps: Any, epsilon: float) -> Any:
        centered = maps - self.image_sum(maps, keepdims=True) / _pixels(maps)
        variance = self.image_sum(centered * centered, keepdims=True) / _pixels(maps)
        return centered * self.rsqrt(variance + epsilon)


def _pixels(maps: Any) -> float:
    """Return the number of pixels of an image."""
    return float(math.prod(int(size) for size in maps.shape[1:]))
