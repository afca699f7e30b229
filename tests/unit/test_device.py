"""What every device refuses before its framework is called."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from msinet_core.device import Capabilities, DeviceOption
from msinet_core.errors import GraphError, UsageError
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State
from msinet_core.reference import SPEC
from msinet_core.training.initial_weights import random_state

OPTIONS = (
    DeviceOption("xla", "Compile with XLA.", "off", ("on", "off")),
    DeviceOption("tf32", "Round products.", "off", ("on", "off")),
)


def test_options_have_defaults() -> None:
    spec = replace(SPEC, options=OPTIONS)
    assert spec.open(options={"xla": "on"}).options == {"xla": "on", "tf32": "off"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"jit": "on"}, ["'jit'", "xla=on|off (default off): Compile with XLA.", "tf32="]),
        ({"tf23": "on"}, ["'tf32'?"]),
        ({"xla": "yes"}, ["'yes'", "on or off", "Compile with XLA."]),
    ],
)
def test_an_invalid_option_is_refused_and_names_the_valid_ones(
    given: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        replace(SPEC, options=OPTIONS).open(options=given)
    assert all(word in str(caught.value) for word in words)


def test_a_doctor_gets_the_options_among_its_arguments() -> None:
    spec = replace(SPEC, options=OPTIONS)
    arguments = {"precision": "float32", "topology": "v5e:1x1", "tf32": "on"}
    assert spec.options_in(arguments) == {"xla": "off", "tf32": "on"}
    with pytest.raises(UsageError, match="'yes'"):
        spec.options_in({"xla": "yes"})


def test_a_device_without_options_takes_none() -> None:
    with pytest.raises(UsageError, match="'xla'"):
        SPEC.open(options={"xla": "on"})


def test_training_needs_a_loss_and_a_device_that_trains() -> None:
    graph = msinet_graph(0.02)
    state = random_state(graph, 0)
    with pytest.raises(UsageError, match="loss"):
        SPEC.open().compile(graph, state, optimizer=Adam())
    predicts = replace(SPEC, capabilities=Capabilities(training=False)).open()
    predicts.compile(graph, state)
    with pytest.raises(UsageError, match="'reference'"):
        predicts.compile(graph, state, loss=KLDivergence(), optimizer=Adam())


def test_a_state_that_does_not_fit_the_graph_is_refused() -> None:
    graph = msinet_graph(0.02)
    with pytest.raises(GraphError, match="conv1/conv1_1/kernel"):
        SPEC.open().compile(graph, State())


def test_kernels_alone_are_transposed_and_come_back() -> None:
    device = replace(SPEC, kernel_layout="OIHW").open()
    graph = msinet_graph(0.02)
    for parameter in graph.parameters[:2]:
        tensor = random_state(graph, 0).weights[parameter.name]
        native = device.to_native(parameter, tensor)
        expected = tensor.transpose(3, 2, 0, 1) if parameter.role == "kernel" else tensor
        assert (native == expected).all()
        assert (device.to_canonical(parameter, native) == tensor).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked on this system")
def test_a_forked_process_refuses_to_compute_instead_of_hanging() -> None:
    program = (
        "import multiprocessing\n"
        "import numpy as np\n"
        "import msinet_core as msinet\n"
        "from msinet_core.network.state import State\n"
        "from msinet_core.reference import SPEC\n"
        "graph = msinet.GraphBuilder(3).build()\n"
        "images = np.zeros((1, 4, 4, 3), np.float32)\n"
        "def attempt(what):\n"
        "    try:\n"
        "        SPEC.open() if what == 'open' else model.predict(images)\n"
        "    except msinet.MsinetError as error:\n"
        "        return 'spawn' in str(error)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    assert pool.apply(attempt, ['open']) is None\n"
        "model = SPEC.open().compile(graph, State({}))\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    assert pool.map(attempt, ['open', 'predict']) == [True, True]\n"
        "assert attempt('predict') is None"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
