"""A device that is open: its framework is imported and ready to compile networks."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.device.processes import Processes
from msinet_core.device.program import Program
from msinet_core.errors import GraphError, UsageError, bullet_list
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT, transpose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msinet_core.device.layers import Layers
    from msinet_core.device.model import Model
    from msinet_core.device.spec import DeviceSpec
    from msinet_core.network.adam import Adam
    from msinet_core.network.graph import Graph, LayerBuilder, Parameter
    from msinet_core.network.loss import Loss
    from msinet_core.network.state import State


class Device(abc.ABC):
    """A framework on a piece of hardware, ready to compile networks.

    A subclass sets `layers` and defines `build`. On the host, images are NHWC, kernels are HWIO
    and numbers are float32 NumPy arrays; only `to_native` and `to_canonical` know another kernel
    layout.

    Args:
        spec: The description it was opened from.
        precision: One of the spec's precisions.
        options: Values for the spec's options by name; the others have their defaults.
    """

    layers: Layers
    """Computes the ops; set by the subclass, unless it defines `layer_builders` itself."""

    def __init__(
        self, spec: DeviceSpec, precision: str = "float32", options: Mapping[str, str] | None = None
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.options = spec.check_options(options or {})

    @property
    def processes(self) -> Processes:
        """The processes that train together; this one alone unless training is distributed."""
        return Processes()

    @cached_property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        """A builder for each op, and for each kind of `Loss` if the device trains.

        A builder that does not support an attribute's value raises; it never ignores it.
        """
        return self.layers.builders()

    @abc.abstractmethod
    def build(self, program: Program) -> Model:
        """Build the model that `compile` returns.

        Args:
            program: What to build. Every op has a builder, and the state fits the graph.
        """

    def compile(
        self, graph: Graph, state: State, *, loss: Loss | None = None, optimizer: Adam | None = None
    ) -> Model:
        """Put a network and its state on the device.

        Args:
            graph: The network.
            state: Canonical weights, and Adam's moments to continue from (None: zeros).
            loss: Required for `eval_step` and `train_step`; None for prediction only.
            optimizer: Required for `train_step`; None for evaluation or prediction.

        Raises:
            GraphError: An op or the loss has no builder, or the state does not fit the graph.
            UsageError: The device does not support training, or the loss is missing.
        """
        graph.check_builders(self.layer_builders)
        mismatches = state.mismatches(graph)
        if mismatches:
            raise GraphError(f"The weights do not fit the network:\n{bullet_list(mismatches)}")
        if optimizer is not None and loss is None:
            raise UsageError("Training requires a loss as well as an optimizer, got loss=None")
        if loss is not None and not self.spec.capabilities.training:
            raise UsageError(f"Device '{self.spec.name}' does not support training")
        if loss is not None:
            loss.check_builders(self.layer_builders)
        return self.build(Program(graph, state, loss, optimizer))

    def versions(self) -> Mapping[str, str]:
        """Return the versions to record in checkpoints, by distribution."""
        return {}

    def trace(self, folder: Path) -> AbstractContextManager[object]:
        """Return a context that writes the framework's own profile of what runs within it.

        A device without a profiler keeps this implementation, which refuses.

        Args:
            folder: An existing folder for the profile's files.

        Raises:
            UsageError: The device has no profiler.
        """
        raise UsageError(f"Device '{self.spec.name}' has no profiler")

    def to_native(self, parameter: Parameter, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a weight or moment from the canonical layout to the device's.

        Args:
            parameter: The parameter it belongs to.
            tensor: Kernel ``(H, W, in, out)`` or bias ``(filters,)``, float32.
        """
        if parameter.role != "kernel":
            return tensor
        return transpose(tensor, CANONICAL_KERNEL_LAYOUT, self.spec.kernel_layout)

    def to_canonical(
        self, parameter: Parameter, tensor: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert a weight or moment from the device's layout to the canonical; undo `to_native`.

        Args:
            parameter: The parameter it belongs to.
            tensor: In the device's layout, float32.
        """
        if parameter.role != "kernel":
            return tensor
        return transpose(tensor, self.spec.kernel_layout, CANONICAL_KERNEL_LAYOUT)
