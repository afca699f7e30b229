"""What ``msinet-run --device openvino doctor`` checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msinet_core import DeviceSpec, Finding


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """List OpenVINO's targets on this machine with their precisions, and open the device.

    Args:
        spec: The device `openvino`.
        arguments: ``"precision"`` and the device's options.

    Raises:
        DeviceUnavailableError: OpenVINO does not find the chosen target.
        UsageError: The target does not support the precision.
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
    spec.open(arguments.get("precision", "auto"), spec.options_in(arguments))
