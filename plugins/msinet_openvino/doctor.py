"""What ``msinet-run --device openvino doctor`` finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msinet_core.device import DeviceSpec
from msinet_core.registry.doctor import Finding


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Ask OpenVINO for each target here: what it is, and which precisions it computes in.

    Args:
        spec: The device `openvino`.
        arguments: ``"precision"``: whether the processor computes in this one.
    """
    if not spec.probe().ready:
        return  # said already
    import openvino as ov

    from msinet_openvino.device import computed_precisions

    core = ov.Core()
    for target in core.available_devices:
        name = core.get_property(target, "FULL_DEVICE_NAME")
        computed = computed_precisions(core, target)
        yield Finding(f"target {target}", "ok", f"{name} computes in {', '.join(computed)}.")
    precision = arguments.get("precision", "auto")
    if precision != "auto" and precision not in computed_precisions(core, "CPU"):
        yield Finding(
            "precision",
            "problem",
            f"The processor does not compute in {precision}.",
            "Use another --precision.",
        )
    yield Finding(
        "training", "note", "It predicts only. msinet-run devices shows the devices that train."
    )
