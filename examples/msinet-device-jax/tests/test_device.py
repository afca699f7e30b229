"""What is specific to JAX: platforms, donated buffers, lazy results, compiling for a TPU."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from msinet_core import (
    Adam,
    Availability,
    Batch,
    DeviceUnavailableError,
    GraphBuilder,
    KLDivergence,
    Probe,
    State,
    hardware,
    ops,
)

from msinet_device_jax import SPEC
from msinet_device_jax.doctor import CHECK_REQUIRES, examine


@pytest.fixture(scope="module")
def graph():
    net = GraphBuilder()
    net.add("conv", ops.Conv2D(1, activation="linear"), net.input)
    return net.build()


@pytest.fixture
def model(graph):
    weights = {item.name: np.full(item.shape, 0.1, np.float32) for item in graph.parameters}
    device = SPEC.open("float32", {"platform": "cpu"})
    return device.compile(graph, State(weights), loss=KLDivergence(), optimizer=Adam())


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return Batch(*(random.uniform(1, 2, (2, 8, 8, c)).astype("f4") for c in (3, 1)))


def test_it_does_not_open_if_its_probe_finds_it_unavailable():
    probe = Probe(Availability.NOT_HERE, "jax 0.5.3 is too old.")
    with pytest.raises(DeviceUnavailableError, match=r"'jax'.*jax 0\.5\.3"):
        replace(SPEC, probe=lambda: probe).open()


@pytest.mark.usefixtures("model")  # which has initialized JAX with its CPU only
def test_a_missing_platform_is_an_error():
    with pytest.raises(DeviceUnavailableError, match="TPU"):
        SPEC.open("float32", {"platform": "tpu"})


def test_results_are_lazy_and_on_the_requested_platform(model, batch):
    loss = model.train_step([batch], 1e-3)
    assert isinstance(loss, jax.Array)
    assert {device.platform for device in loss.devices()} == {"cpu"}
    assert np.isfinite(float(loss))


def test_a_step_overwrites_weights_and_moments(model, batch):
    before = model._memory
    model.train_step([batch], 1e-3)
    assert all(array.is_deleted() for array in jax.tree.leaves(before))


def test_images_may_be_overwritten_once_a_step_returns(model, batch):
    expected = np.array(model.predict(batch.images))
    lazy = model.predict(batch.images)
    batch.images[:] = 0
    np.testing.assert_array_equal(np.asarray(lazy), expected)


@pytest.mark.parametrize(
    ("topology", "chip", "chips"), [("v5e:1x1", "TPU v5 lite", 1), ("v6e:4x4", "TPU v6 lite", 16)]
)
def test_the_training_step_compiles_for_tpus(topology, chip, chips):
    missing = hardware.missing_requirements(CHECK_REQUIRES)
    if missing:
        pytest.skip(" ".join(missing))
    arguments = {"topology": topology, "batch-size": "3", "image-size": "32x32", "width": "0.05"}
    finding = list(examine(SPEC, arguments))[-1]
    assert finding.status == "ok", finding.detail
    assert (finding.data["chip"], finding.data["chips"]) == (chip, chips)
    assert finding.data["images"] == max(3, chips)
    assert finding.data["sums_over_chips"] == (chips > 1)
    assert finding.data["in_place"] > 0
    assert finding.data["estimated_images_per_s"] > 0
