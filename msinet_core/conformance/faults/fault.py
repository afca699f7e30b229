"""What a fault is, and the device that has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from msinet_core.conformance.runner import ALL_SCENARIOS, open_subject
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.device import DeviceSpec, Program
from msinet_core.network.graph import LayerBuilder
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Variable

Builders = Mapping[type, LayerBuilder[Any]]
Change = Callable[
    [LayerBuilder[Any], Any, Sequence[Variable], Mapping[str, Variable]],
    Variable,
]
"""Computes an op wrongly: called with the right builder, the op, its inputs and parameters."""


class FaultyDevice(ReferenceDevice):
    """The reference with some builders replaced, or another model.

    Args:
        builders: In place of the reference's.
        model: In place of the reference's.
    """

    def __init__(
        self,
        builders: Builders | None = None,
        model: type[ReferenceModel] = ReferenceModel,
    ) -> None:
        super().__init__(SPEC)
        self._builders = {**LAYER_BUILDERS, **(builders or {})}
        self._model = model

    @property
    def layer_builders(self) -> Builders:
        return self._builders

    def build(self, program: Program) -> ReferenceModel:
        return self._model(self, program)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a device.

    Args:
        name: In words.
        make: Makes a device that has it, or the description of one.
        rows: The rows that must catch it; patterns of ids.
    """

    name: str
    make: Callable[[], FaultyDevice | DeviceSpec]
    rows: tuple[str, ...]

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios of `rows`."""
        return tuple(
            scenario
            for scenario in ALL_SCENARIOS
            if any(fnmatchcase(scenario.id, pattern) for pattern in self.rows)
        )

    def subject(self) -> Subject:
        """Open a device that has it."""
        made = self.make()
        if isinstance(made, DeviceSpec):
            return open_subject(made)
        return Subject(made.spec, made)


def on(kind: type, change: Change) -> FaultyDevice:
    """Make a device that computes one kind of op wrongly.

    Args:
        kind: The op's class, or the loss's.
        change: Computes it.
    """
    build = LAYER_BUILDERS[kind]
    return FaultyDevice({kind: lambda op, inputs, roles: change(build, op, inputs, roles)})


def ignoring(kind: type, **attributes: Any) -> FaultyDevice:
    """Make a device that takes some attributes of an op for others.

    Args:
        kind: The op's class, or the loss's.
        attributes: What it takes them for.
    """
    return on(
        kind,
        lambda build, op, inputs, roles: build(
            dataclasses.replace(op, **attributes), inputs, roles
        ),
    )
