"""What a row is, and the device that it is run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from msinet_core.conformance.cases import Case
from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.guard import guarded
from msinet_core.conformance.tolerances import TOLERANCES, Tolerances
from msinet_core.device import Device, DeviceSpec, Model, Probe
from msinet_core.errors import MsinetError
from msinet_core.network.adam import Adam
from msinet_core.network.graph import Graph
from msinet_core.network.loss import KLDivergence, Loss
from msinet_core.network.state import State
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.reference.device import ReferenceDevice
from msinet_core.registry.probe_runner import run_probe

ORACLE = ReferenceDevice(REFERENCE, dtype=np.float64)
"""The reference in float64, so that its own rounding does not count."""

MISSING_CAPABILITY: Mapping[str, str] = {
    "training": "the device does not train",
    "dilated_gradient": "the device does not train through dilated convolutions",
    "dynamic_shapes": "the device compiles for one batch shape",
    "deterministic": "the device does not promise bit-equal repetition",
    "distribution": "the device does not support distribution",
    "float32": "the device does not support float32",
    "bfloat16": "the device does not support bfloat16",
    "float16": "the device does not support float16",
}
"""Why a row does not apply, by what it needs: an attribute of `Capabilities`, or a precision."""


class NotApplicable(Exception):  # noqa: N818  -- not an error
    """End a row that has no meaning for this device or machine; the message says why."""


@dataclass(eq=False)
class Subject:
    """A device to check.

    Args:
        spec: Its description.
        opened: The open device, or None if it did not open.
        failure: Why it did not open.
        options: The device options.
    """

    spec: DeviceSpec
    opened: Device | None
    failure: MsinetError | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    oracle = ORACLE

    @cached_property
    def device(self) -> Device:
        """The open device; it raises if it changes an array of its caller.

        Raises:
            MsinetError: The device did not open.
        """
        if self.opened is None:
            raise self.failure or MsinetError(f"Device '{self.spec.name}' is not open.")
        return guarded(self.opened)

    def compile(
        self, graph: Graph, state: State, loss: Loss | None = None, optimizer: Adam | None = None
    ) -> tuple[Model, Model]:
        """Compile a model on the device, and the same one on the oracle.

        Args:
            graph: The network.
            state: Its weights, and moments to continue from.
            loss: As for `Device.compile`.
            optimizer: As for `Device.compile`.
        """
        device, oracle = (
            opened.compile(graph, state, loss=loss, optimizer=optimizer)
            for opened in (self.device, self.oracle)
        )
        return device, oracle

    def trained(self, case: Case, state: State | None = None) -> Model:
        """Compile a model on the device for training with the default loss and optimizer.

        Args:
            case: The graph, and its weights.
            state: Weights and moments to use instead.
        """
        loss, optimizer = KLDivergence(), Adam()
        return self.device.compile(case.graph, state or case.state, loss=loss, optimizer=optimizer)

    @property
    def tolerances(self) -> Tolerances:
        """The tolerances of the device's precision."""
        return TOLERANCES[self.device.precision]

    @cached_property
    def probe(self) -> Probe:
        """The result of the device's probe on this machine."""
        return run_probe(self.spec)


def open_subject(
    spec: DeviceSpec, precision: str | None = None, options: Mapping[str, str] | None = None
) -> Subject:
    """Open a device to check it; a device that does not open is a subject as well.

    Args:
        spec: The device.
        precision: None for float32, which has the tightest tolerances, or for the device's own
            choice if it does not support float32.
        options: The device options.
    """
    if precision is None:
        precision = "float32" if "float32" in spec.capabilities.precisions else "auto"
    try:
        return Subject(spec, spec.open(precision, options), options=options or {})
    except MsinetError as error:
        return Subject(spec, None, error, options or {})


Check = Callable[[Subject], Outcome]


@dataclass(frozen=True)
class Scenario:
    """One row: something that a device must do as the reference does.

    Args:
        id: ``group/name``; stable, since reports and lists of expected failures use it.
        description: What must hold; one sentence.
        check: Finds out; an exception counts as a failure.
        measure: The field of `Tolerances` that limits the difference.
        needs: The keys of `MISSING_CAPABILITY` without which the row does not apply.
        slow: Whether ``--quick`` skips it.
        soak: Whether it runs with ``--soak`` only.
    """

    id: str
    description: str
    check: Check
    measure: str
    needs: tuple[str, ...] = ()
    slow: bool = False
    soak: bool = False

    @property
    def group(self) -> str:
        """The part of the id before the slash."""
        return self.id.split("/")[0]

    def missing(self, spec: DeviceSpec) -> str:
        """Say why the row does not apply to a device; empty if it applies.

        Args:
            spec: The device.
        """
        capabilities = spec.capabilities
        offered = {name for name, value in vars(capabilities).items() if value}
        offered.update(capabilities.precisions)
        return next((MISSING_CAPABILITY[name] for name in self.needs if name not in offered), "")


class Rows(list[Scenario]):
    """The rows of a module, in order of definition."""

    def row(
        self, id: str, measure: str, *needs: str, description: str = "", **options: Any
    ) -> Callable[[Check], Check]:
        """Make the decorated check a row.

        Args:
            id: ``group/name``.
            measure: The field of `Tolerances` that limits the difference.
            needs: The capabilities without which the row does not apply.
            description: What must hold; one sentence. By default the first paragraph of the
                check's docstring.
            options: The other arguments of `Scenario`.
        """

        def register(check: Check) -> Check:
            text = description or " ".join((check.__doc__ or "").partition("\n\n")[0].split())
            self.append(Scenario(id, text, check, measure, needs, **options))
            return check

        return register
