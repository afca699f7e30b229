"""Examine the device `jax` for ``msinet-run doctor``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping

from msinet_core.device import DeviceSpec
from msinet_core.errors import UsageError
from msinet_core.hardware.host import missing_requirements
from msinet_core.registry.doctor import Finding

from msinet_device_jax.probe import HARDWARE, PACKAGES, PLATFORMS, automatic_platform

CHECK_REQUIRES = ("jax>=0.10.2", "libtpu>=0.0.51")
"""What compiles for a TPU that is not here; older releases do not know a single v5e chip."""

TIMEOUT = 3600.0
"""Seconds after which the compiler counts as hanging."""


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Yield which platforms JAX has here, and whether a TPU could run the training step.

    Args:
        spec: The device.
        arguments: ``topology``, for example ``"v5e:1x1"``, without which nothing is compiled;
            ``precision``, ``batch-size``, ``image-size`` (``HxW``) and ``width``.

    Raises:
        UsageError: An argument cannot be used.
    """
    yield _platforms()
    topology = arguments.get("topology")
    if topology is None:
        return
    missing = missing_requirements(CHECK_REQUIRES)
    if missing:
        fix = 'pip install "msinet-device-jax[tpu-check]"'
        yield Finding("ahead-of-time compilation", "problem", " ".join(missing), fix)
        return
    yield _compiled(spec, topology, arguments)


def _platforms() -> Finding:
    lines = []
    for platform in PLATFORMS:
        hardware = ", ".join(item.name for item in HARDWARE[platform]()) or "no hardware"
        missing = [name for name in PACKAGES[platform] if missing_requirements([name])]
        lacking = len(missing) == len(PACKAGES[platform])
        told = f"needs {' or '.join(PACKAGES[platform])}" if lacking else "package installed"
        lines.append(f"{platform}: {hardware}; {told}")
    lines.append(f"--device-option platform=auto takes {automatic_platform()}.")
    return Finding("platforms", "ok", "\n".join(lines))


def _compiled(spec: DeviceSpec, topology: str, arguments: Mapping[str, str]) -> Finding:
    try:
        subject = {
            "topology": topology,
            "batch": int(arguments.get("batch-size", "8")),
            "size": [int(axis) for axis in arguments.get("image-size", "240x320").split("x")],
            "precision": spec.check_precision(arguments.get("precision", "auto")),
            "width": float(arguments.get("width", "1")),
        }
    except ValueError as error:
        raise UsageError(f"An argument of doctor is no number: {error}.") from error
    command = [sys.executable, "-m", "msinet_device_jax.ahead_of_time", json.dumps(subject)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    title = f"ahead-of-time compilation for {topology}"
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        return Finding(title, "problem", f"It ended with exit code {done.returncode}: {last}")
    facts = json.loads(done.stdout)
    if "refused" in facts:
        return Finding(title, "problem", f"libtpu refused the step: {facts['refused']}")
    detail = (
        f"The training step for batches of {subject['batch']} compiles for {facts['chip']} "
        f"({subject['precision']}): {facts['flops'] / 1e9:,.1f} GFLOP, "
        f"{facts['bytes'] / 2**30:.2f} GiB of memory. Nothing was executed."
    )
    return Finding(title, "ok", detail, data=facts)
