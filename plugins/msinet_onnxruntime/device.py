"""The device `onnxruntime`: prediction with one of ONNX Runtime's execution providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime as ort

from msinet_core import (
    Device,
    DeviceSpec,
    DeviceUnavailableError,
    OnnxLayers,
    Program,
)
from msinet_onnxruntime.model import OnnxRuntimeModel
from msinet_onnxruntime.probe import distribution
from msinet_onnxruntime.providers import PROVIDERS, check_provider

ERRORS_ONLY = 3
"""ONNX Runtime's level of messages; warnings are about its own optimizations."""


class OnnxRuntimeDevice(Device):
    """ONNX Runtime with one execution provider, and no other for any node.

    Args:
        spec: The description of the device.
        precision: ``"float32"``.
        options: ``provider``.

    Raises:
        DeviceUnavailableError: The installed ONNX Runtime does not have the provider.
    """

    layers = OnnxLayers()

    def __init__(self, spec: DeviceSpec, precision: str, options: Mapping[str, str]) -> None:
        super().__init__(spec, precision, options)
        self.provider = PROVIDERS[self.options["provider"]]
        if missing := check_provider(self.options["provider"], ort.get_available_providers()):
            raise DeviceUnavailableError(spec.unavailable_message(missing))

    def build(self, program: Program) -> OnnxRuntimeModel:
        return OnnxRuntimeModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {distribution(): ort.__version__}

    def open_session(self, model: bytes) -> Any:
        """Load an ONNX model for the provider.

        Args:
            model: The model.

        Returns:
            An ``onnxruntime.InferenceSession``.

        Raises:
            DeviceUnavailableError: The provider does not compute every node of it.
        """
        provider, name = self.provider, self.options["provider"]
        settings = ort.SessionOptions()
        settings.log_severity_level = ERRORS_ONLY
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if provider.runtime_name != PROVIDERS["cpu"].runtime_name:
            # ONNX Runtime adds the CPU for the nodes that the provider does not take.
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if provider.static:
            settings.add_free_dimension_override_by_name("batch", 1)
        try:
            session = ort.InferenceSession(
                model,
                settings,
                providers=[(provider.runtime_name, dict(provider.options))],
                enable_fallback=0,
            )
        except Exception as error:
            raise DeviceUnavailableError(
                f"ONNX Runtime cannot load the network with provider={name}: {error}"
            ) from error
        others = other_providers(session, provider.runtime_name)
        if others:
            raise DeviceUnavailableError(
                f"ONNX Runtime would compute with {', '.join(others)} instead of "
                f"{provider.runtime_name}; use another provider"
            )
        return session


def other_providers(session: Any, name: str) -> list[str]:
    """List the execution providers but one that a session computes with.

    Args:
        session: An ``onnxruntime.InferenceSession`` that recorded which nodes each one got.
        name: The one that is left out.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before ONNX Runtime 1.24
        return [] if session.get_providers()[0] == name else session.get_providers()
    assigned = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    return sorted(assigned - {name})
