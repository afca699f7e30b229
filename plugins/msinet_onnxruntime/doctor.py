"""What ``msinet-run --device onnxruntime doctor`` checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msinet_core import DeviceSpec, Finding
from msinet_onnxruntime.probe import distribution
from msinet_onnxruntime.providers import PROVIDERS


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
    names = {
        name: provider.runtime_name
        for name, provider in PROVIDERS.items()
        if provider.runtime_name in available
    }
    found = ", ".join(f"{name} ({runtime_name})" for name, runtime_name in names.items())
    yield Finding("providers", "ok", f"{distribution()} has {found}.", data=available)
    chosen = arguments.get("provider", "cpu")
    if chosen not in names:
        yield Finding(
            "provider",
            "problem",
            f"{distribution()} does not have {PROVIDERS[chosen].runtime_name}.",
            f"pip uninstall {distribution()} && pip install {PROVIDERS[chosen].package}",
        )
