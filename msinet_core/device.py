"""What a plugin fills in: a light `DeviceSpec`, and a heavy `Device` that is opened on demand.

This module is part of the public door. A plugin's light module imports `DeviceSpec`, `Probe` and
their parts from here; its heavy module subclasses `Device` and `Model`.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, SupportsFloat

from msinet_core.errors import (
    DeviceUnavailableError,
    GraphError,
    MsinetError,
    UsageError,
    bullet_list,
)
from msinet_core.layout import (
    CANONICAL_DATA_FORMAT,
    CANONICAL_KERNEL_LAYOUT,
    DataFormat,
    transpose,
)
from msinet_core.wording import did_you_mean
from msinet_core.workers import CLUSTER_VARIABLE, Workers, check_distribution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from msinet_core.graph import Graph, LayerBuilder, Parameter
    from msinet_core.loss import KLDivergence
    from msinet_core.optimizer import Adam
    from msinet_core.state import Batch, State, Tensors

__all__ = [
    "API_VERSION",
    "PRECISIONS",
    "Availability",
    "Capabilities",
    "Device",
    "DeviceOption",
    "DeviceSpec",
    "Hardware",
    "Model",
    "Probe",
]

API_VERSION = 1
"""The version of the contract between the core and its plugins."""

PRECISIONS = ("float32", "bfloat16", "float16")


class Availability(Enum):
    """How far it is known that a device can be used."""

    NOT_HERE = "not here"
    INSTALLED = "installed"
    VERIFIED = "verified"


@dataclass(frozen=True)
class Hardware:
    """One piece of hardware that a probe found.

    Args:
        name: As its maker calls it.
        cores: The number of cores of the kind that the framework uses; None if unknown.
        memory: Bytes that it can use; None if unknown.
    """

    name: str
    cores: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Probe:
    """What a cheap look at the machine tells about a device.

    Args:
        availability: `NOT_HERE`, or `INSTALLED` when nothing speaks against opening the device.
        reason: Why it is not here, or a remark about how it would run; a sentence.
        cure: The exact command, or the place to go, that would make it available.
        framework_version: Of the installed framework; None if it is not installed.
        hardware: What the device would compute on.
    """

    availability: Availability
    reason: str = ""
    cure: str = ""
    framework_version: str | None = None
    hardware: tuple[Hardware, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the device can be opened, as far as the probe can tell."""
        return self.availability is not Availability.NOT_HERE


@dataclass(frozen=True)
class Capabilities:
    """What a device can do when it is here.

    Args:
        training: Whether it trains, or predicts only.
        precisions: Those of ``PRECISIONS`` that it computes in; the first is what "auto" means.
        distribution: How else than on one device it trains: "mirrored", "multiworker". If there is
            any, the factory takes a keyword ``distribute`` and finds out what "auto" means.
        cluster_variable: The environment variable that tells its framework of the other processes.
        dilated_gradient: Whether it trains through dilated convolutions, which MSI-Net has.
        dynamic_shapes: Whether one compiled model takes batches of any size.
        deterministic: Whether the same input and state give the same bits again.
    """

    training: bool = True
    precisions: tuple[str, ...] = ("float32",)
    distribution: tuple[str, ...] = ()
    cluster_variable: str = CLUSTER_VARIABLE
    dilated_gradient: bool = True
    dynamic_shapes: bool = True
    deterministic: bool = True

    @property
    def float32(self) -> bool:
        """Whether it computes in float32."""
        return "float32" in self.precisions

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16."""
        return "bfloat16" in self.precisions

    @property
    def float16(self) -> bool:
        """Whether it computes in float16."""
        return "float16" in self.precisions

    @property
    def distributed(self) -> bool:
        """Whether it trains on more than one device, or in more than one process."""
        return bool(self.distribution)


@dataclass(frozen=True)
class DeviceOption:
    """Something that users choose about one device, with ``--device-option NAME=VALUE``.

    Args:
        name: Lower-case letters, digits, ``-`` and ``_``.
        summary: One line for people.
        default: The value that is used when nothing is said; one of `choices`.
        choices: The values that can be said.
    """

    name: str
    summary: str
    default: str
    choices: tuple[str, ...]

    def describe(self) -> str:
        """Say in one line how it is given, its default and what it means."""
        given = f"--device-option {self.name}={'|'.join(self.choices)}"
        return f"{given} (default {self.default}): {self.summary}"


@dataclass(frozen=True)
class DeviceSpec:
    """Describe a device without importing its framework.

    Args:
        name: What is typed after ``--device``: lower-case letters, digits, ``-`` and ``_``.
        summary: One line for people.
        framework: The framework's name, for example ``"TensorFlow"``.
        factory: Where the `Device` class is: ``"package.module:Class"``.
        probe: Looks at the machine; quick, imports no framework, never raises.
        api_version: The contract that the plugin was written for, as a number: `API_VERSION` would
            be that of whatever msinet is installed.
        data_format: The order of image axes that the device computes in.
        kernel_layout: The order of kernel axes that the device computes with.
        requires: The distributions it needs, as requirement strings (PEP 508).
        aliases: Other names for it.
        priority: Automatic selection takes the ready device with the highest.
        capabilities: What it can do.
        options: What users can choose about it.
        doctor: Where the function is that examines the device for ``msinet-run doctor``, in the
            form ``"package.module:function"``; it takes the spec and a mapping of arguments and
            yields findings (`msinet_core.doctor.Finding`).
        doctor_arguments: The arguments that it understands beside ``precision`` and the device's
            options: ``"topology"``, ``"batch-size"``, ``"image-size"``.
    """

    name: str
    summary: str
    framework: str
    factory: str
    probe: Callable[[], Probe]
    api_version: int
    data_format: DataFormat = CANONICAL_DATA_FORMAT
    kernel_layout: str = CANONICAL_KERNEL_LAYOUT
    requires: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    priority: int = 0
    capabilities: Capabilities = field(default_factory=Capabilities)
    options: tuple[DeviceOption, ...] = ()
    doctor: str | None = None
    doctor_arguments: tuple[str, ...] = ()

    def check_precision(self, precision: str) -> str:
        """Return the precision to compute in, resolving "auto".

        Args:
            precision: One of ``PRECISIONS``, or ``"auto"``.

        Raises:
            UsageError: The device does not compute in it.
        """
        offered = self.capabilities.precisions
        if precision == "auto":
            return offered[0]
        if precision not in offered:
            raise UsageError(
                f"Device '{self.name}' does not compute in {precision}. "
                f"Use --precision {' or '.join(offered)}."
            )
        return precision

    def check_options(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Return the value of each option, with defaults for those that are not given.

        Args:
            given: What the user said, by the option's name.

        Raises:
            UsageError: The device has no such option, or the option no such value.
        """
        known = {option.name: option for option in self.options}
        for name, value in given.items():
            if name not in known:
                told = [option.describe() for option in self.options]
                has = f"It has:\n{bullet_list(told)}" if told else "It has none; leave it out."
                raise UsageError(
                    f"Device '{self.name}' has no option '{name}'.{did_you_mean(name, known)} {has}"
                )
            choices = known[name].choices
            if value not in choices:
                raise UsageError(
                    f"Option '{name}' of device '{self.name}' cannot be '{value}'."
                    f"{did_you_mean(value, choices)} Use {' or '.join(choices)}. "
                    f"It means: {known[name].summary}"
                )
        return {name: given.get(name, option.default) for name, option in known.items()}

    def open(
        self,
        precision: str = "auto",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> Device:
        """Import the device's framework and return the device, ready to compile networks.

        Args:
            precision: One of ``PRECISIONS``, or ``"auto"``.
            options: Values for some of `options`, by name; defaults for the others.
            distribute: How to train, one of ``msinet_core.workers.DISTRIBUTIONS``.

        Raises:
            DeviceUnavailableError: Its framework or its hardware fails.
            UsageError: It lacks the precision, an option or the distribution.
        """
        precision = self.check_precision(precision)
        chosen = self.check_options(options or {})
        offered = self.capabilities.distribution
        distribute = check_distribution(self.name, offered, distribute)
        keywords = {"distribute": distribute} if offered else {}
        module_name, _, class_name = self.factory.partition(":")
        try:
            factory: Callable[..., Device] = getattr(
                importlib.import_module(module_name), class_name
            )
            return factory(self, precision, chosen, **keywords)
        except MsinetError:
            raise
        except Exception as error:
            raise DeviceUnavailableError(
                f"Device '{self.name}' did not open: {type(error).__name__}: {error}. "
                f"Run: msinet-run devices, to see what it needs; MSINET_DEBUG=1 shows where it "
                f"failed."
            ) from error


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
    def workers(self) -> Workers:
        """The processes that train together; one, unless the device was opened to distribute."""
        return Workers()

    @property
    @abc.abstractmethod
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        """A builder for each op and for `KLDivergence`; one that cannot honour an attribute
        raises, it never ignores it.
        """

    @abc.abstractmethod
    def build(
        self, graph: Graph, state: State, loss: KLDivergence | None, optimizer: Adam | None
    ) -> Model:
        """Make the model that `compile` returns; called with what fits together.

        Args:
            graph: The network; every op in it has a builder.
            state: Canonical weights, and Adam's memory to continue from (None: zeros).
            loss: None for prediction only.
            optimizer: None for evaluation or prediction.
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
        return self.build(graph, state, loss, optimizer)

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


class Model(abc.ABC):
    """A network on a device: its weights, its optimizer's memory and its compiled steps.

    A subclass gives `forward` and `state`, and if its device trains, `losses` and `update`; they
    are called with what was checked. Arguments are canonical NumPy arrays. Results may be lazy, so
    that the device works while the host prepares the next batch: whoever reads them calls `float`
    or `numpy.asarray`. A device that has finished when a step returns answers with a plain float or
    array.

    Args:
        device: Brings builders, layouts and workers.
        graph: The network.
        loss: None for prediction only.
        optimizer: None for evaluation or prediction.
    """

    unread_losses = 1
    """How many steps may be asked for before the oldest loss is read: more than one lets a device
    run several steps as one program. Reading a loss, or `state`, ends the waiting."""

    def __init__(
        self, device: Device, graph: Graph, loss: KLDivergence | None, optimizer: Adam | None
    ) -> None:
        self._device = device
        self._graph = graph
        self._loss = loss
        self._optimizer = optimizer

    @abc.abstractmethod
    def forward(self, images: NDArray[np.float32]) -> ArrayLike:
        """Compute what `predict` returns.

        Args:
            images: ``(N, H, W, C)`` float32 of a shape that the graph takes.
        """

    def losses(self, batch: Batch) -> ArrayLike:
        """Compute what `eval_step` returns; the graph and the maps fit each other.

        Args:
            batch: Images and true maps.
        """
        raise UsageError(f"Device '{self._device.spec.name}' predicts only; it has no loss.")

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        """Make the step that `train_step` promises.

        Args:
            batches: None of them is empty; of several workers, where any may be, call
                `check_count` with the number of images that all have together.
            learning_rate: Adam's.
        """
        raise UsageError(f"Device '{self._device.spec.name}' predicts only, it does not train.")

    @abc.abstractmethod
    def state(self) -> State:
        """Copy weights and Adam's memory to the host, canonical."""

    def predict(self, images: NDArray[np.float32]) -> ArrayLike:
        """Compute the network's output.

        Args:
            images: ``(N, H, W, C)`` float32; any N, H, W that the graph takes.

        Returns:
            ``(N, H', W', C')`` float32 in NHWC; for MSI-Net maps ``(N, H, W, 1)`` in 0..1.

        Raises:
            GraphError: The graph does not take images of that shape.
        """
        self._graph.shapes(images.shape)
        return self.forward(images)

    def eval_step(self, batch: Batch) -> ArrayLike:
        """Compute the loss of each image without changing anything.

        Args:
            batch: Images and true maps.

        Returns:
            ``(N,)`` float32.

        Raises:
            GraphError: The graph does not take images of that shape.
            UsageError: There is no loss, or the maps do not have the size of the output.
        """
        self._check_batch(batch)
        return self.losses(batch)

    def train_step(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        """Make one optimizer step with the gradient of the mean loss over all the images.

        Args:
            batches: One batch, or several whose gradients are accumulated; sizes may differ, and
                each image weighs the same. Of several workers each gives its own part, which may be
                empty, and all get the same loss.
            learning_rate: Adam's.

        Returns:
            The mean loss over all the images, before the step.

        Raises:
            GraphError: The graph does not take images of that shape.
            UsageError: There is no optimizer, no image, or maps do not have the output's size.
        """
        if self._optimizer is None:
            raise UsageError("This model was compiled without an optimizer; it cannot be trained.")
        filled = [batch for batch in batches if len(batch.images)]
        for batch in filled:
            self._check_batch(batch)
        if self._device.workers.count > 1:
            return self.update(batches, learning_rate)
        self.check_count(len(filled))
        return self.update(filled, learning_rate)

    def check_count(self, count: int) -> None:
        """Refuse a step without images.

        Args:
            count: How many there are.

        Raises:
            UsageError: None.
        """
        if not count:
            raise UsageError("A training step needs at least one image. Received none.")

    def native(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Take the weights, or a moment of each, to the device's layout.

        Args:
            tensors: Canonical, by the parameter's name.

        Returns:
            Contiguous copies in the order of the graph's parameters.
        """
        return self._changed(self._device.to_native, tensors)

    def canonical(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Take the weights, or a moment of each, from the device's layout; undoes `native`.

        Args:
            tensors: In the device's layout, by the parameter's name.

        Returns:
            Contiguous copies in the order of the graph's parameters.
        """
        return self._changed(self._device.to_canonical, tensors)

    def _changed(
        self,
        change: Callable[[Parameter, NDArray[np.float32]], NDArray[np.float32]],
        tensors: Tensors,
    ) -> dict[str, NDArray[np.float32]]:
        import numpy as np

        return {
            parameter.name: np.array(change(parameter, tensors[parameter.name]), order="C")
            for parameter in self._graph.parameters
        }

    def _check_batch(self, batch: Batch) -> None:
        if self._loss is None:
            raise UsageError("This model was compiled without a loss; it can only predict.")
        shape = self._graph.shapes(batch.images.shape)[self._graph.output.name]
        if batch.maps.shape != shape:
            raise UsageError(
                f"The true maps have shape {batch.maps.shape}, the predicted ones {shape}; give "
                f"maps of the network's output size."
            )
