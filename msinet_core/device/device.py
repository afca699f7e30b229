"""The heavy side of a device: its framework, ready to compile networks."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msinet_core.device.processes import Processes
from msinet_core.device.program import Program
from msinet_core.errors import GraphError, UsageError, bullet_list
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT, transpose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msinet_core.device.model import Model
    from msinet_core.device.spec import DeviceSpec
    from msinet_core.network.adam import Adam
    from msinet_core.network.graph import Graph, LayerBuilder, Parameter
    from msinet_core.network.loss import KLDivergence
    from msinet_core.network.state import State


class Device(abc.ABC):
    """A framework on a piece of hardware, ready to compile networks.

    A subclass gives `layer_builders` and `build`. The host speaks NHWC images, HWIO kernels and
    float32 NumPy arrays; `to_native` and `to_canonical` are the only places that know another
    kernel layout.

    Args:
        spec: The light description it was opened from.
        precision: One of the spec's precisions.
        options: A value for each of the spec's options; None for their defaults.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.options = spec.check_options(options or {})

    @property
    def processes(self) -> Processes:
        """The processes that train together; one, unless the device was opened to distribute."""
        return Processes()

    @property
    @abc.abstractmethod
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        """A builder for each op and for `KLDivergence`; one that cannot honour an attribute
        raises, it never ignores it.
        """

    @abc.abstractmethod
    def build(self, program: Program) -> Model:
        """Make the model that `compile` returns.

        Args:
            program: Checked: every op has a builder, and the state fits the graph.
        """

    def compile(
        self,
        graph: Graph,
        state: State,
        *,
        loss: KLDivergence | None = None,
        optimizer: Adam | None = None,
    ) -> Model:
        """Put a network and its state on the device.

        Args:
            graph: The network; any graph of the known ops.
            state: Canonical weights, and Adam's memory to continue from (None: zeros).
            loss: Needed for `eval_step` and `train_step`; None for prediction only.
            optimizer: Needed for `train_step`; None for evaluation or prediction.

        Raises:
            GraphError: An op has no builder, or the state does not fit the graph.
            UsageError: The device cannot do what is asked.
        """
        graph.check_builders(self.layer_builders)
        mismatches = state.mismatches(graph)
        if mismatches:
            raise GraphError(f"These tensors do not fit the network:\n{bullet_list(mismatches)}")
        if optimizer is not None and loss is None:
            raise UsageError("Training needs a loss beside the optimizer. Received: loss=None")
        if loss is not None and not self.spec.capabilities.training:
            raise UsageError(f"Device '{self.spec.name}' predicts only, it does not train.")
        return self.build(Program(graph, state, loss, optimizer))

    def versions(self) -> Mapping[str, str]:
        """Give the versions that a checkpoint's provenance names, by distribution."""
        return {}

    def to_native(self, parameter: Parameter, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take one weight or moment from canonical to the device's layout.

        Args:
            parameter: Its place in the graph.
            tensor: Canonical: HWIO, or ``(filters,)``.
        """
        if parameter.role != "kernel":
            return tensor
        return transpose(tensor, CANONICAL_KERNEL_LAYOUT, self.spec.kernel_layout)

    def to_canonical(
        self, parameter: Parameter, tensor: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Take one weight or moment from the device's layout to canonical; undoes `to_native`.

        Args:
            parameter: Its place in the graph.
            tensor: In the device's layout.
        """
        if parameter.role != "kernel":
            return tensor
        return transpose(tensor, self.spec.kernel_layout, CANONICAL_KERNEL_LAYOUT)
