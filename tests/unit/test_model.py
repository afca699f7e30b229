"""What the public steps of a model check around a device's own steps."""

from __future__ import annotations

import numpy as np
import pytest

from msinet_core.device import Deferred, Model, Program
from msinet_core.errors import PluginError, UsageError
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import MinMaxNormalize
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC


class FixedLosses(Model):
    def __init__(self, losses, loss=KLDivergence(), optimizer=None):  # noqa: B008
        net = GraphBuilder(channels=1)
        net.add("output", MinMaxNormalize(), net.input)
        super().__init__(SPEC.open(), Program(net.build(), State(), loss, optimizer))
        self._answer = losses

    def forward(self, images):
        raise AssertionError("called")

    def losses(self, batch):
        return self._answer

    def state(self):
        raise AssertionError("called")


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
    with pytest.raises(PluginError, match=rf"'reference'.*{shape}.*plugins check reference"):
        FixedLosses(losses).eval_step(BATCH)


@pytest.mark.parametrize(
    "losses", [np.ones(3), Deferred(lambda: np.ones(3))], ids=["array", "lazy"]
)
def test_one_loss_per_image_or_an_unknown_shape_is_returned(losses):
    assert FixedLosses(losses).eval_step(BATCH) is losses


@pytest.mark.parametrize(
    ("allowed", "kept"), [(0, [0] * 5), (1, [1] * 5), (7, [1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4])]
)
def test_losses_are_read_one_by_one_or_half_of_them_at_once(allowed, kept):
    model = FixedLosses([])
    model.unread_losses = allowed
    unread, seen = 0, []
    for _ in kept:
        unread += 1
        unread -= model.due_losses(unread)
        seen.append(unread)
    assert seen == kept


def test_a_model_knows_its_devices_name():
    assert FixedLosses(None).device_name == "reference"


EMPTY = Batch(BATCH.images[:0], BATCH.maps[:0])


def test_an_empty_batch_has_empty_results_without_the_device():
    model = FixedLosses(np.ones(3))
    for result, shape in (
        (model.predict(EMPTY.images), (0, 8, 8, 1)),
        (model.eval_step(EMPTY), (0,)),
    ):
        assert result.shape == shape
        assert result.dtype == np.float32


@pytest.mark.parametrize("batches", [[], [EMPTY]])
def test_a_step_without_images_is_refused(batches):
    with pytest.raises(UsageError):
        FixedLosses(None, optimizer=Adam()).train_step(batches, 0.1)


def test_steps_need_a_loss_an_optimizer_and_maps_of_the_outputs_size():
    with pytest.raises(UsageError, match="optimizer"):
        FixedLosses(None).train_step([BATCH], 0.1)
    with pytest.raises(UsageError, match="loss"):
        FixedLosses(None, loss=None).eval_step(BATCH)
    with pytest.raises(UsageError, match=r"\(3, 7, 8, 1\)"):
        FixedLosses(None).eval_step(Batch(BATCH.images, BATCH.maps[:, 1:]))
