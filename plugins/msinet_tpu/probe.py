"""The probe of `tpu`: a TPU, and a TensorFlow built for it."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator

from msinet_core import Hardware, Probe, hardware
from msinet_tensorflow.probe import hardware_missing, tensorflow_probe

REQUIRES = (
    "tensorflow-tpu>=2.18; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "libtpu>=0.0.17,<0.0.31; sys_platform == 'linux' and platform_machine == 'x86_64'",
)
"""The requirements that ``pip install "msinet[tpu]"`` installs.

tensorflow-tpu 2.20 itself takes every later libtpu too. Its import was tried with several, without
a TPU: with 0.0.17 to 0.0.30 it succeeds, with 0.0.40 and 0.0.51 it ends the process ("not available
in this library").
"""

INSTALL = 'pip install "msinet[tpu]"'
GOOGLE = "0x1ae0"

CHIPS = {
    "0x0027": "TPU v2 or v3",
    "0x0056": "TPU",
    "0x005e": "TPU v4",
    "0x0062": "TPU v5p",
    "0x0063": "TPU v5e",
    "0x006f": "TPU v6e",
    "0x0076": "TPU7x",
}
"""PCI device numbers; Google's network cards bear the same maker's number.

Source: jax/_src/hardware_utils.py.
"""

ENVIRONMENT = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "COLAB_TPU_ADDR")
"""Variables that name a TPU: on TPU VMs and in their containers, and for one in the network."""


def probe() -> Probe:
    """Look for TPU chips, for a TPU's name in the environment, and for the packages."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return hardware_missing(
            "TPUs are used from Linux on x86-64, and this is "
            f"{platform.system() or sys.platform} on {platform.machine()}.",
            f"On a Google Cloud TPU VM: {INSTALL}",
        )
    chips = tuple(tpu_chips()) or tuple(_named_in_environment())
    if not chips:
        return hardware_missing(
            f"no TPU found (no TPU chip, and none of {', '.join(ENVIRONMENT)} is set).",
            f"On a Google Cloud TPU VM: {INSTALL}",
        )
    return tensorflow_probe(REQUIRES, INSTALL, chips)


def tpu_chips() -> Iterator[Hardware]:
    """Describe the TPU chips that are plugged into this machine."""
    kinds = Counter(
        CHIPS[card.device] for card in hardware.pci_devices(GOOGLE) if card.device in CHIPS
    )
    for name, count in sorted(kinds.items()):
        yield Hardware(name if count == 1 else f"{count} x {name}")


def _named_in_environment() -> Iterator[Hardware]:
    name = next((os.environ[key] for key in ENVIRONMENT if os.environ.get(key)), "")
    if name:
        yield Hardware(f"TPU {name}")
