"""The table of layer builders: methods by op, and the refusal of unknown attribute values."""

from __future__ import annotations

from typing import ClassVar

import pytest

from msinet_core.device import Layers
from msinet_core.errors import GraphError
from msinet_core.network import ops
from msinet_core.network.loss import KLDivergence


class Partial(Layers):
    supported: ClassVar = {**Layers.supported, "coordinates": ("asymmetric",)}

    def conv2d(self, op, inputs, parameters):
        return ("conv2d", op, inputs, parameters)

    def resize(self, op, inputs, parameters):
        return "resize"


def test_a_builder_exists_for_each_method_that_is_defined() -> None:
    builders = Partial().builders()
    assert set(builders) == {ops.Conv2D, ops.Resize}
    op = ops.Conv2D(4)
    assert builders[ops.Conv2D](op, ["input"], {"kernel": 1}) == (
        "conv2d",
        op,
        ["input"],
        {"kernel": 1},
    )


def test_every_op_and_the_loss_have_a_method_name() -> None:
    names = ("subtract_mean", "conv2d", "max_pool2d", "resize", "resize_like", "concat")
    names += ("global_mean", "min_max_normalize", "kl_divergence")
    complete = type("Complete", (Layers,), dict.fromkeys(names, lambda *arguments: None))
    assert set(complete().builders()) == {*ops.OPS.values(), KLDivergence} - {ops.Input}


def test_an_attribute_value_that_is_not_supported_is_refused_with_those_that_are() -> None:
    build = Partial().builders()[ops.Resize]
    assert build(ops.Resize(2, "asymmetric"), [], {}) == "resize"
    with pytest.raises(GraphError, match=r"Resize.*coordinates='half_pixel'.*asymmetric"):
        build(ops.Resize(2, "half_pixel"), [], {})
