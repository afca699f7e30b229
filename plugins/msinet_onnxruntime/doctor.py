"""What ``msinet-run --device onnxruntime doctor`` checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msinet_core import DeviceSpec, Finding
from msinet_onnxruntime.probe import distribution
from msinet_onnxruntime.providers import PROVIDERS, check_provider


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Say which execution providers this ONNX Runtime has.

    Args:
        spec: The device `onnxruntime`.
        arguments: ``"provider"``, to check that the installed build has it.
    """
    if not spec.probe().ready:
        return  # reported by the core
    import onnxruntime as ort

    available = ort.get_available_providers()
    found = ", ".join(
        f"{name} ({provider.runtime_name})"
        for name, provider in PROVIDERS.items()
        if provider.runtime_name in available
    )
    yield Finding("providers", "ok", f"{distribution()} has {found}.", data=available)
    if missing := check_provider(spec.options_in(arguments)["provider"], available):
        yield Finding("provider", "problem", missing.reason, missing.fix)
