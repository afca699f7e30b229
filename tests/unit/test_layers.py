"""`Layers`: one table of builders by method names, and one refusal of unknown attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from msinet_core.device.layers import METHODS, Layers
from msinet_core.errors import GraphError
from msinet_core.network.loss import LOSSES
from msinet_core.network.ops import OPS, Concat, Conv2D, Op, Resize


class Everything(Layers):
    supported: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Layers.supported,
        "coordinates": ("asymmetric",),
    }

    def conv2d(self, op: Conv2D, inputs: Sequence[str], parameters: Mapping[str, str]) -> object:
        return op, inputs, parameters

    def resize(self, op: Resize, inputs: Sequence[str], parameters: Mapping[str, str]) -> object:
        return op.coordinates


def test_every_op_and_the_loss_has_a_method() -> None:
    assert set(METHODS) == {*OPS.values(), *LOSSES.values()} - {OPS["Input"]}
    assert len(set(METHODS.values())) == len(METHODS)


def test_only_the_ops_with_a_method_have_a_builder() -> None:
    assert set(Everything().builders()) == {Conv2D, Resize}


def test_a_builder_calls_its_method_with_the_same_arguments() -> None:
    op = Conv2D(4)
    assert Everything().builders()[Conv2D](op, ["x"], {"kernel": "k"}) == (
        op,
        ["x"],
        {"kernel": "k"},
    )


def test_an_unsupported_value_is_refused_and_names_the_supported() -> None:
    builder = Everything().builders()[Resize]
    assert builder(Resize(2, "asymmetric"), [], {}) == "asymmetric"
    with pytest.raises(GraphError, match=r"Resize.*coordinates.*half_pixel.*asymmetric"):
        builder(Resize(2, "half_pixel"), [], {})


def test_an_attribute_that_the_device_does_not_know_is_refused() -> None:
    @dataclass(frozen=True)
    class Rotate(Op):
        direction: str = "left"

    with pytest.raises(GraphError, match=r"Rotate.*direction.*left"):
        Layers().check_attributes(Rotate())


@pytest.mark.parametrize("op", [Conv2D(4, padding="VALID"), Resize(3, "half_pixel"), Concat()])
def test_every_known_value_is_supported_by_default(op: Any) -> None:
    Layers().check_attributes(op)
