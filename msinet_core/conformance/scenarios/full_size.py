"""The rows about MSI-Net with all its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from msinet_core.conformance.cases import Case, random_weights
from msinet_core.conformance.comparison import Array, Outcome, compare, compare_norms, worst
from msinet_core.conformance.scenario import ORACLE, Rows, Subject
from msinet_core.conformance.scenarios.gradients import TRAINS_DILATED
from msinet_core.conformance.states import first_gradients
from msinet_core.device import Device
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D, MaxPool2D
from msinet_core.network.state import Batch, State
from msinet_core.reference.tape import Variable

Float64 = NDArray[np.float64]

RATE = 1e-6
"""A tenth of the published learning rate: activations are larger than usual here."""

ROWS = Rows()


class _SteadyCase(Case):
    """A case in which no rounding decides where a gradient goes.

    With random weights, a few of a million units are so close to zero, and a few pixels so close to
    another one in their window, that rounding decides which way the gradient takes: in MSI-Net,
    that moves whole kernels by several percent. Here every ReLU is open or shut for all pixels, and
    where a pool has to choose, the choice is clear. What is left of the difference between two
    float32 implementations is 1e-5.
    """

    @cached_property
    def state(self) -> State:
        return State({name: value.astype(np.float32) for name, value in self._computed[0].items()})

    @cached_property
    def batch(self) -> Batch:
        """The images, with true maps near the predicted ones: KLD is steep where they differ, and
        most of all where the predicted map is zero.
        """
        predicted = self._computed[1]
        random = np.random.default_rng(3)
        maps = np.maximum(predicted - 0.3, 0) * random.uniform(0.5, 1.5, predicted.shape)
        return Batch(self.images, maps.astype(np.float32))

    @cached_property
    def _computed(self) -> tuple[Mapping[str, Float64], Float64]:
        """The weights and the predicted map, layer by layer: a bias depends on what it is added
        to.
        """
        pooled = {node.inputs[0] for node in self.graph.nodes if isinstance(node.op, MaxPool2D)}
        weights = {
            name: value.astype(np.float64) for name, value in random_weights(self.graph, 1).items()
        }
        values: dict[str, Float64] = {self.graph.input.name: self.images.astype(np.float64)}
        for node in self.graph.nodes[1:]:
            inputs = [Variable(values[name]) for name in node.inputs]
            roles = {
                role: Variable(weights[f"{node.name}/{role}"])
                for role in ("kernel", "bias")
                if f"{node.name}/{role}" in weights
            }
            build = ORACLE.layer_builders[type(node.op)]
            if isinstance(node.op, Conv2D):
                kernel, bias = roles["kernel"].value, roles["bias"].value
                kernel[:] = _blind_to(values[node.inputs[0]].mean(axis=(0, 1, 2)), kernel)
                if node.op.activation == "relu":
                    bias[:] = 0
                    sums = build(replace(node.op, activation="linear"), inputs, roles).value
                    bias[:] = _deciding_bias(sums, pooled=node.name in pooled)
            values[node.name] = build(node.op, inputs, roles).value
        return weights, values[self.graph.output.name]


def _blind_to(mean: Float64, kernel: Float64) -> Float64:
    """Take from a kernel what responds to the mean of its input, which is far from zero behind a
    ReLU that is always open; what matters, how pixels differ, would lose its digits.
    """
    along = np.tensordot(mean, kernel, axes=(0, 2)) / (mean @ mean)
    return np.asarray(
        (kernel - mean[:, None] * along[:, :, None, :]).astype(np.float32), np.float64
    )


def _deciding_bias(sums: Float64, *, pooled: bool) -> Float64:
    """Return a bias that opens each channel for all pixels, or shuts it for all.

    One in 16 is shut; before a pool, also those with two almost equal maxima in a window.
    """
    low, high = sums.min(axis=(0, 1, 2)), sums.max(axis=(0, 1, 2))
    margin = 0.05 * (high - low) + 1e-3
    is_open = np.arange(len(low)) % 16 > 0
    if pooled:
        windows = [sums[:, :-1, :-1], sums[:, :-1, 1:], sums[:, 1:, :-1], sums[:, 1:, 1:]]
        second, first = np.sort(windows, axis=0)[2:]
        is_open &= (first - second).min(axis=(0, 1, 2)) > 2e-5 * (high - low)
    bias = np.where(is_open, margin - low, -margin - high)
    return np.asarray(bias.astype(np.float32), np.float64)


def _random_case() -> Case:
    """All weights on few pixels, since the oracle computes them as well."""
    return Case(msinet_graph(), (1, 40, 56), low=0.0, high=255.0)


@cache
def _steady_case() -> Case:
    return _SteadyCase(msinet_graph(), (2, 40, 56), low=0.0, high=255.0)


@cache
def _map_of_the_oracle() -> Array:
    case = _random_case()
    return np.asarray(ORACLE.compile(case.graph, case.state).predict(case.images))


@ROWS.row("network/full-size", "network", slow=True)
def _prediction(subject: Subject) -> Outcome:
    """The map of MSI-Net with all 24.9 million weights matches the reference."""
    case = _random_case()
    actual = subject.device.compile(case.graph, case.state).predict(case.images)
    return compare(actual, _map_of_the_oracle(), subject.tolerances.network)


def _two_steps(device: Device) -> tuple[Mapping[str, Array], Array, Array]:
    """Return the gradients of one step, the losses of it and of a second one by a model that
    continues, and the map after both.
    """
    case = _steady_case()
    state, losses = case.state, []
    gradients: Mapping[str, Array] = {}
    for _ in range(2):
        model = device.compile(case.graph, state, loss=KLDivergence(), optimizer=Adam())
        losses.append(float(model.train_step([case.batch], RATE)))
        state = model.state()
        gradients = gradients or first_gradients(state)
    return gradients, np.array(losses, np.float32), np.asarray(model.predict(case.images))


@cache
def _two_steps_of_the_oracle() -> tuple[Mapping[str, Array], Array, Array]:
    return _two_steps(ORACLE)


@ROWS.row("train/full-size", "full_size", *TRAINS_DILATED, slow=True)
def _training(subject: Subject) -> Outcome:
    """Two steps of MSI-Net with all 24.9 million weights, resumed between them, match the
    reference: the gradients, the losses, and the map afterwards.
    """
    gradients, losses, map = _two_steps(subject.device)
    expected_gradients, expected_losses, expected_map = _two_steps_of_the_oracle()
    tolerances = subject.tolerances
    pairs = {
        f"The gradient of {name}": (gradients[name], expected)
        for name, expected in expected_gradients.items()
    }
    return worst(
        compare_norms(pairs, tolerances.full_size),
        compare(losses, expected_losses, tolerances.full_size),
        compare(map, expected_map, tolerances.network),
    )
