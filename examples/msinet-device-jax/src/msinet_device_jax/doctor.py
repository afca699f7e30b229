"""What ``msinet-run --device jax doctor`` checks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from msinet_core import (
    DEFAULT_IMAGE_SIZE,
    DeviceSpec,
    Finding,
    hardware,
    run_python,
)

from msinet_device_jax.probe import HARDWARE, PACKAGES, automatic_platform

CHECK_REQUIRES = ("jax>=0.10.2", "libtpu>=0.0.51")
"""What compiles for a TPU elsewhere; older releases do not support a single v5e chip."""

TIMEOUT = 3600.0
"""Seconds after which the compiler counts as hanging."""


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the available platforms, and whether a TPU could run the training step.

    Args:
        spec: The device.
        arguments: ``topology``, for example ``"v5e:1x1"``, to compile for;
            ``precision``, ``batch-size``, ``image-size`` (``HxW``) and ``width``.

    Raises:
        UsageError: The device does not support the precision.
    """
    yield _platforms()
    topology = arguments.get("topology")
    if topology is None:
        return
    missing = hardware.missing_requirements(CHECK_REQUIRES)
    if missing:
        fix = 'pip install "msinet-device-jax[tpu-check]"'
        yield Finding("ahead-of-time compilation", "problem", " ".join(missing), fix)
        return
    yield _compiled(spec, topology, arguments)


def _platforms() -> Finding:
    lines = []
    for platform, packages in PACKAGES.items():
        names = ", ".join(item.name for item in HARDWARE[platform]()) or "no hardware"
        installed = any(map(hardware.distribution_version, packages))
        state = "package installed" if installed else f"needs {' or '.join(packages)}"
        lines.append(f"{platform}: {names}; {state}")
    lines.append(f"--device-option platform=auto selects {automatic_platform()}.")
    return Finding("platforms", "ok", "\n".join(lines))


def _compiled(spec: DeviceSpec, topology: str, arguments: Mapping[str, str]) -> Finding:
    size = arguments.get("image-size", "{}x{}".format(*DEFAULT_IMAGE_SIZE))
    settings = {
        "topology": topology,
        "batch": int(arguments.get("batch-size", "8")),
        "size": [int(axis) for axis in size.split("x")],
        "precision": spec.check_precision(arguments.get("precision", "auto")),
        "width": float(arguments.get("width", "1")),
    }
    code = "from msinet_device_jax.ahead_of_time import main; main()"
    done = run_python(code, json.dumps(settings), timeout=TIMEOUT)
    title = f"ahead-of-time compilation for {topology}"
    if done.code != 0:
        reason = done.how if done.code is None else f"{done.how}: {done.last_line}"
        return Finding(title, "problem", f"The compilation {reason}.")
    facts = json.loads(done.output)
    if "error" in facts:
        return Finding(title, "problem", f"libtpu cannot compile the step: {facts['error']}")
    chips = f"{facts['chips']} x {facts['chip']}"
    detail = (
        f"The training step for batches of {facts['images']} compiles for {chips} "
        f"({settings['precision']}). For each chip: {facts['flops'] / 1e9:,.1f} GFLOP, "
        f"{facts['bytes'] / 2**30:.2f} GiB of memory, "
        f"{facts['in_place'] / 2**30:.2f} GiB of it updated in place."
    )
    seconds = facts["optimal_seconds"] or 0
    if seconds > 0:  # libtpu reports a negative number if it has no estimate for some op
        facts["estimated_images_per_s"] = facts["images"] / seconds
        detail += f" The compiler estimates at best {facts['images'] / seconds:,.0f} images/s."
    return Finding(title, "ok", f"{detail} It was not run.", data=facts)
