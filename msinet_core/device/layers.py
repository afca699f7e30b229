"""A device's layer builders: a class with one method for each op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

from msinet_core.errors import GraphError
from msinet_core.network import ops
from msinet_core.network.graph import LayerBuilder
from msinet_core.network.loss import KLDivergence

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
}
"""The method of `Layers` for each op, and for the loss."""


class Layers:
    """Compute ops in a framework; a subclass defines a method for each op that it supports.

    The methods are ``subtract_mean``, ``conv2d``, ``max_pool2d``, ``resize``, ``resize_like``,
    ``concat``, ``global_mean``, ``min_max_normalize`` and ``kl_divergence``. Each takes
    ``(op, inputs, parameters)``: the op with its attributes, the input tensors, and the parameters
    by role (``"kernel"``, ``"bias"``), and returns the output tensor. `kl_divergence` takes the
    loss instead of an op, and the true and the predicted maps as its two inputs; it returns the
    loss of each image, ``(N,)``.
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
        return {
            op: self._checking(getattr(self, name))
            for op, name in METHODS.items()
            if hasattr(self, name)
        }

    def _checking(self, method: LayerBuilder[Any]) -> LayerBuilder[Any]:
        def build(op: Any, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Any:
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
