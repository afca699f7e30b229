"""What ``msinet-run --device openvino doctor`` checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msinet_core import DeviceSpec, Finding


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """List OpenVINO's targets on this machine with their precisions.

    Args:
        spec: The device `openvino`.
        arguments: ``"precision"``, to check that the CPU supports it.
    """
    if not spec.probe().ready:
        return  # reported by the core
    import openvino as ov

    from msinet_openvino.device import supported_precisions

    core = ov.Core()
    for target in core.available_devices:
        name = core.get_property(target, "FULL_DEVICE_NAME")
        precisions = ", ".join(supported_precisions(core, target))
        yield Finding(f"target {target}", "ok", f"{name} computes in {precisions}.")
    precision = arguments.get("precision", "auto")
    if precision != "auto" and precision not in supported_precisions(core, "CPU"):
        yield Finding(
            "precision",
            "problem",
            f"This CPU does not support {precision}.",
            "Use another --precision.",
        )
