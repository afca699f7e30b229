"""What the public steps of a model promise, whatever a device's own steps give."""

from __future__ import annotations

import numpy as np
import pytest

from msinet_core.device import Model, Program
from msinet_core.errors import PluginError
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import MinMaxNormalize
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC


class Lazy:
    """Does not know its shape before it is read."""


class Answers(Model):
    def __init__(self, losses):
        net = GraphBuilder(channels=1)
        net.add("output", MinMaxNormalize(), net.input)
        super().__init__(SPEC.open(), Program(net.build(), State(), KLDivergence()))
        self._answer = losses

    def forward(self, images):
        raise AssertionError("never asked")

    def losses(self, batch):
        return self._answer

    def state(self):
        raise AssertionError("never asked")


BATCH = Batch(np.ones((3, 8, 8, 1), np.float32), np.ones((3, 8, 8, 1), np.float32))


@pytest.mark.parametrize(
    ("losses", "shape"),
    [
        (0.5, r"\(\)"),
        (np.float32(0.5), r"\(\)"),
        (np.ones(2), r"\(2,\)"),
        (np.ones((3, 1)), r"\(3, 1\)"),
    ],
    ids=["number", "scalar", "too few", "a column"],
)
def test_losses_that_are_not_one_per_image_are_refused(losses, shape):
    told = rf"'reference' gave losses of shape {shape} for 3 images.*plugins check reference"
    with pytest.raises(PluginError, match=told):
        Answers(losses).eval_step(BATCH)


@pytest.mark.parametrize("losses", [np.ones(3), Lazy()], ids=["array", "lazy"])
def test_losses_that_are_right_or_not_known_yet_go_through(losses):
    assert Answers(losses).eval_step(BATCH) is losses


def test_a_model_knows_its_devices_name():
    assert Answers(None).device_name == "reference"
