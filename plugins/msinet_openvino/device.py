"""The device `openvino`: prediction on the processor, or on what else OpenVINO drives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino as ov

from msinet_core.device import Device, DeviceSpec, Program
from msinet_core.errors import DeviceUnavailableError, UsageError
from msinet_core.network.graph import LayerBuilder
from msinet_openvino.layers import LAYER_BUILDERS
from msinet_openvino.model import OpenVINOModel

ELEMENT_TYPES = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16, "float16": ov.Type.f16}
CAPABILITY_NAMES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}
AUTO = "AUTO"


class OpenVINODevice(Device):
    """OpenVINO on one of its targets, and on no other unless the target is ``auto``.

    Args:
        spec: The light description it was opened from.
        precision: What the network is computed in; the map's normalization stays float32.
        options: ``target`` and ``hint``; None for their defaults.

    Raises:
        DeviceUnavailableError: OpenVINO does not find the target.
        UsageError: The target does not compute in that precision.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(spec, precision, options)
        self._core = ov.Core()
        self._target = _find_target(self._core, self.options["target"].upper(), precision)

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        return LAYER_BUILDERS

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
        # Said for float32 too: by itself OpenVINO computes in bfloat16 where the processor can.
        wanted = ELEMENT_TYPES[self.precision]
        hints = {"PERFORMANCE_HINT": hint.upper(), "INFERENCE_PRECISION_HINT": wanted}
        compiled = self._core.compile_model(network, self._target, hints)
        if self._target.startswith(AUTO):  # it does not tell, and chooses among those that are able
            return compiled
        chosen = compiled.get_property("INFERENCE_PRECISION_HINT")
        if chosen != wanted:
            raise UsageError(
                f"OpenVINO would compute in {chosen.get_type_name()} on {self._target} in place of "
                f"{self.precision}. Use another --precision."
            )
        return compiled


def computed_precisions(core: Any, target: str) -> list[str]:
    """List the precisions that a target computes in, in the core's names.

    Args:
        core: An ``openvino.Core``.
        target: OpenVINO's name of it, for example ``"CPU"``.
    """
    able = core.get_property(target, "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in CAPABILITY_NAMES.items() if capability in able]


def _find_target(core: Any, target: str, precision: str) -> str:
    """Return what to compile for, in OpenVINO's words; with ``AUTO``, what it chooses among."""
    found = core.available_devices
    here = [name for name in found if target in (AUTO, name.partition(".")[0])]
    if not here:
        raise DeviceUnavailableError(
            f"Device 'openvino' is not available with target={target.lower()}: OpenVINO finds "
            f"{', '.join(found) or 'nothing'} on this machine. Intel's GPUs and NPUs need their "
            f"drivers, which OpenVINO's installation guide names: https://docs.openvino.ai"
        )
    able = [name for name in here if precision in computed_precisions(core, name)]
    if not able:
        offered = " or ".join(
            dict.fromkeys(p for name in here for p in computed_precisions(core, name))
        )
        raise UsageError(
            f"Device 'openvino' cannot compute in {precision} on this {' or '.join(here)}, only in "
            f"{offered}. Use --precision {offered}."
        )
    return f"{AUTO}:{','.join(able)}" if target == AUTO else target
