"""A fault, the device that has it, and the decorators that make one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from msinet_core.conformance.scenario import Scenario, Subject, open_subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS
from msinet_core.device import DeviceSpec, Program
from msinet_core.network.graph import LayerBuilder
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Variable

Images = NDArray[np.float32]
Builders = Mapping[type, LayerBuilder[Any]]
Build = LayerBuilder[Variable]
Inputs = Sequence[Variable]
Roles = Mapping[str, Variable]
Change = Callable[[Build, Any, Inputs, Roles], Variable]
"""Computes an op wrongly: called with the right builder, the op, its inputs and parameters."""

_Made = TypeVar("_Made", bound=Callable[..., Any])


class FaultyDevice(ReferenceDevice):
    """The reference with other builders or another model.

    Args:
        builders: Replace those of the reference.
        model: Replaces that of the reference.
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
    """One mistake of a device.

    Args:
        name: A short description.
        make: Makes a device that has the fault, or the description of one.
        rows: The rows that must catch it; patterns of ids.
    """

    name: str
    make: Callable[[], FaultyDevice | DeviceSpec]
    rows: tuple[str, ...]

    @cached_property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The rows that must catch it."""
        return tuple(
            scenario
            for scenario in ALL_SCENARIOS
            if any(fnmatchcase(scenario.id, pattern) for pattern in self.rows)
        )

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of the rows that must catch it."""
        return frozenset(scenario.id for scenario in self.scenarios)

    def subject(self) -> Subject:
        """Open a device that has the fault."""
        made = self.make()
        if isinstance(made, DeviceSpec):
            return open_subject(made)
        return Subject(made.spec, made)


class Faults(list[Fault]):
    """The faults of a module, in order of definition."""

    def device(self, name: str, *rows: str) -> Callable[[_Made], _Made]:
        """Decorate a function that makes a wrong device or description.

        Args:
            name: A short description.
            rows: The rows that must catch it.
        """

        def register(make: _Made) -> _Made:
            self.append(Fault(name, make, rows))
            return make

        return register

    def model(self, name: str, *rows: str) -> Callable[[_Made], _Made]:
        """Decorate the class of a wrong model.

        Args:
            name: A short description.
            rows: The rows that must catch it.
        """

        def register(model: _Made) -> _Made:
            self.append(Fault(name, lambda: FaultyDevice(model=model), rows))  # type: ignore[arg-type]
            return model

        return register

    def op(self, name: str, kind: type, *rows: str) -> Callable[[Change], Change]:
        """Decorate a function that computes one kind of op wrongly.

        Args:
            name: A short description.
            kind: The class of the op or loss.
            rows: The rows that must catch it.
        """

        def register(change: Change) -> Change:
            self.append(Fault(name, lambda: on(kind, change), rows))
            return change

        return register

    def attribute(self, name: str, kind: type, *rows: str, **attributes: Any) -> None:
        """Add a device that ignores attributes of an op.

        Args:
            name: A short description.
            kind: The class of the op or loss.
            rows: The rows that must catch it.
            attributes: The values that it uses instead.
        """

        def change(build: Build, op: Any, inputs: Inputs, roles: Roles) -> Variable:
            return build(dataclasses.replace(op, **attributes), inputs, roles)

        self.op(name, kind, *rows)(change)


def on(kind: type, change: Change) -> FaultyDevice:
    """Make a device that computes one kind of op wrongly.

    Args:
        kind: The class of the op or loss.
        change: Computes it.
    """
    build = LAYER_BUILDERS[kind]
    return FaultyDevice({kind: lambda op, inputs, roles: change(build, op, inputs, roles)})
