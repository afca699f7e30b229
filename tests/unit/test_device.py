"""What every device refuses, before any framework is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from msinet_core.device import Capabilities, DeviceOption
from msinet_core.errors import UsageError
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.reference import SPEC
from msinet_core.training.initial_weights import random_state

OPTIONS = (
    DeviceOption("xla", "Compile with XLA.", "off", ("on", "off")),
    DeviceOption("tf32", "Round products.", "off", ("on", "off")),
)


def test_options_have_defaults_and_are_checked() -> None:
    spec = replace(SPEC, options=OPTIONS)
    assert spec.open(options={"xla": "on"}).options == {"xla": "on", "tf32": "off"}
    with pytest.raises(UsageError, match=r"no option 'jit'. It has:\n  - --device-option xla=on"):
        spec.open(options={"jit": "on"})
    with pytest.raises(UsageError, match=r"\(default off\): Round products"):
        spec.open(options={"jit": "on"})
    with pytest.raises(UsageError, match=r"Did you mean 'tf32'\?"):
        spec.open(options={"tf23": "on"})
    with pytest.raises(UsageError, match=r"cannot be 'yes'. Use on or off. It means: Compile"):
        spec.open(options={"xla": "yes"})
    with pytest.raises(UsageError, match="It has none"):
        SPEC.open(options={"xla": "on"})


def test_training_needs_a_loss_and_a_device_that_trains() -> None:
    graph = msinet_graph(0.02)
    state = random_state(graph, 0)
    with pytest.raises(UsageError, match="needs a loss"):
        SPEC.open().compile(graph, state, optimizer=Adam())
    predicts = replace(SPEC, capabilities=Capabilities(training=False)).open()
    with pytest.raises(UsageError, match="predicts only"):
        predicts.compile(graph, state, loss=KLDivergence(), optimizer=Adam())
