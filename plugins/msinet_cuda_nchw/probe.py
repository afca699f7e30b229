"""Whether there is an NVIDIA GPU, its driver, and a TensorFlow with CUDA kernels."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

from msinet_core.device import Availability, Hardware, Probe
from msinet_core.probing import command_output, file_text, pci_devices
from msinet_cuda_nchw.nvml import ask_driver
from msinet_tensorflow.probe import framework_version, hardware_missing, tensorflow_probe
from msinet_tensorflow.versions import installed_wheels

REQUIRES = ("tensorflow[and-cuda]>=2.16; sys_platform == 'linux'",)
"""What ``pip install "msinet[cuda]"`` brings."""

INSTALL = 'pip install "msinet[cuda]"'
NVIDIA = "0x10de"
DISPLAY_CONTROLLER = "0x03"
DRIVER = Path("/proc/driver/nvidia")
WSL = Path("/dev/dxg")
MEBIBYTE = 2**20


def probe() -> Probe:
    """Look for the GPU, the driver and the packages, without TensorFlow and without CUDA."""
    if sys.platform != "linux":
        return hardware_missing(
            "TensorFlow computes on NVIDIA GPUs under Linux only, and this is "
            f"{platform.system() or sys.platform}.",
            f"On Linux, or in WSL2 on Windows, with an NVIDIA GPU: {INSTALL}",
        )
    hardware = nvidia_gpus()
    if not hardware:
        return _no_gpu()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return Probe(
            Availability.NOT_HERE,
            f"CUDA_VISIBLE_DEVICES is set to '{visible}', which hides every GPU.",
            "Run: unset CUDA_VISIBLE_DEVICES",
            framework_version(),
            hardware,
        )
    return _packages(hardware)


def nvidia_gpus() -> tuple[Hardware, ...]:
    """Describe the GPUs that NVIDIA's driver offers; none without a driver."""
    if not DRIVER.exists() and not WSL.exists():
        return ()
    told = ask_driver()
    if told is not None and told.gpus:
        return tuple(Hardware(gpu.name, gpu.cores, gpu.memory) for gpu in told.gpus)
    listed = command_output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    gpus = tuple(_from_csv(line) for line in listed.splitlines() if line.strip())
    return gpus or _from_driver()


def _from_csv(line: str) -> Hardware:
    name, _, size = (part.strip() for part in line.rpartition(","))
    amount = size.partition(" ")[0]  # "81559 MiB"; "[N/A]" where the GPU shares the host's memory
    return Hardware(name, memory=int(amount) * MEBIBYTE if amount.isdigit() else None)


def _from_driver() -> tuple[Hardware, ...]:
    found = []
    with suppress(OSError):
        for folder in sorted(DRIVER.joinpath("gpus").iterdir()):
            for line in file_text(folder / "information").splitlines():
                key, _, value = line.partition(":")
                if key.strip() == "Model":
                    found.append(Hardware(value.strip()))
    return tuple(found)


def _no_gpu() -> Probe:
    cards = [card for card in pci_devices(NVIDIA) if card.kind.startswith(DISPLAY_CONTROLLER)]
    if cards:
        return hardware_missing(
            "There is an NVIDIA GPU in this machine, but its driver is not loaded.",
            "Install NVIDIA's driver for Linux; nvidia-smi must list the GPU. Then: " + INSTALL,
        )
    return hardware_missing(
        "There is no NVIDIA GPU with a driver on this machine (no /proc/driver/nvidia).",
        f"On a Linux machine with an NVIDIA GPU: {INSTALL}",
    )


def _packages(hardware: tuple[Hardware, ...]) -> Probe:
    wheels = installed_wheels()
    if list(wheels) == ["tensorflow-cpu"]:
        return Probe(
            Availability.NOT_HERE,
            f"tensorflow-cpu {wheels['tensorflow-cpu']} has no kernels for NVIDIA GPUs.",
            f"pip uninstall --yes tensorflow-cpu && {INSTALL}",
            framework_version(),
            hardware,
        )
    return tensorflow_probe(REQUIRES, INSTALL, hardware)
