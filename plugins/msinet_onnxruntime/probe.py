"""Whether ONNX Runtime is installed; light."""

from __future__ import annotations

from msinet_core import Probe, hardware

REQUIRES = ("onnx>=1.16", "onnxruntime>=1.20")
"""What ``pip install "msinet[onnxruntime]"`` installs."""

INSTALL = 'pip install "msinet[onnxruntime]"'

BUILDS = ("", "-gpu", "-directml", "-openvino", "-qnn")
"""How the names of ONNX Runtime's distributions end; each has some of the execution providers.

Source: https://onnxruntime.ai/docs/install
"""


def distribution() -> str:
    """Return the name of the installed build; that of the CPU build if there is none."""
    names = [f"onnxruntime{build}" for build in BUILDS]
    return next((name for name in names if hardware.distribution_version(name)), names[0])


def requirements() -> tuple[str, ...]:
    """Return what the device needs, with the installed build of ONNX Runtime."""
    return tuple(text.replace("onnxruntime", distribution()) for text in REQUIRES)


def probe() -> Probe:
    """Look for ONNX Runtime; its CPU provider runs on every machine that it installs on."""
    processor = (hardware.cpu_hardware(),)
    return Probe.of_packages(distribution(), requirements(), INSTALL, processor)
