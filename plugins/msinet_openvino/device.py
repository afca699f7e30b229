"""The device `openvino`: prediction on the CPU, or on another target of OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino as ov

from msinet_core import (
    Device,
    DeviceSpec,
    DeviceUnavailableError,
    Program,
    UsageError,
)
from msinet_openvino.layers import OpenVINOLayers
from msinet_openvino.model import OpenVINOModel

ELEMENT_TYPES = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16, "float16": ov.Type.f16}
CAPABILITY_NAMES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}
AUTO = "AUTO"


class OpenVINODevice(Device):
    """OpenVINO on one of its targets, and on no other unless the target is ``auto``.

    Args:
        spec: The description of the device.
        precision: The precision of the network; the map's normalization stays float32.
        options: ``target`` and ``hint``.

    Raises:
        DeviceUnavailableError: OpenVINO does not find the target.
        UsageError: The target does not support the precision.
    """

    layers = OpenVINOLayers()

    def __init__(self, spec: DeviceSpec, precision: str, options: Mapping[str, str]) -> None:
        super().__init__(spec, precision, options)
        self._core = ov.Core()
        self._target = self._find_target(self.options["target"].upper())

    def build(self, program: Program) -> OpenVINOModel:
        return OpenVINOModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"openvino": ov.__version__.partition("-")[0]}

    def compile_network(self, network: Any, hint: str) -> Any:
        """Compile a network for the target.

        Args:
            network: An ``openvino.Model``.
            hint: ``"latency"`` or ``"throughput"``.

        Raises:
            UsageError: OpenVINO would compute in another precision.
        """
        # Set for float32 too: OpenVINO's default is bfloat16 on CPUs that support it.
        precision = ELEMENT_TYPES[self.precision]
        hints = {"PERFORMANCE_HINT": hint.upper(), "INFERENCE_PRECISION_HINT": precision}
        compiled = self._core.compile_model(network, self._target, hints)
        if self._target.startswith(AUTO):  # reports no precision; all its targets support it
            return compiled
        actual = compiled.get_property("INFERENCE_PRECISION_HINT")
        if actual != precision:
            raise UsageError(
                f"OpenVINO would compute in {actual.get_type_name()} on {self._target} instead of "
                f"{self.precision}; use another --precision"
            )
        return compiled

    def _find_target(self, target: str) -> str:
        """Return the target in OpenVINO's syntax; for ``AUTO``, with those it may choose from."""
        names = self._core.available_devices
        matching = [name for name in names if target in (AUTO, name.partition(".")[0])]
        if not matching:
            raise DeviceUnavailableError(
                f"Device '{self.spec.name}' is not available with target={target.lower()}: "
                f"OpenVINO finds only {', '.join(names) or 'no target'} on this machine. Intel's "
                "GPUs and NPUs need drivers; see the installation guide at https://docs.openvino.ai"
            )
        precisions = {name: supported_precisions(self._core, name) for name in matching}
        able = [name for name in matching if self.precision in precisions[name]]
        if not able:
            offered = " or ".join(
                precision
                for precision in CAPABILITY_NAMES
                if any(precision in listed for listed in precisions.values())
            )
            raise UsageError(
                f"Device '{self.spec.name}' does not support {self.precision} on this "
                f"{' or '.join(matching)}; use --precision {offered}"
            )
        return f"{AUTO}:{','.join(able)}" if target == AUTO else target


def supported_precisions(core: Any, target: str) -> list[str]:
    """List the precisions that a target computes in.

    Args:
        core: An ``openvino.Core``.
        target: OpenVINO's name, for example ``"CPU"``.
    """
    supported = core.get_property(target, "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in CAPABILITY_NAMES.items() if capability in supported]
