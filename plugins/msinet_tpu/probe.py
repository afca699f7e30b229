"""The probe of `tpu`: a TPU, and a TensorFlow built for it."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator

from msinet_core import Hardware, Probe, hardware
from msinet_tensorflow.probe import tensorflow_probe, unavailable

REQUIRES = (
    "tensorflow-tpu>=2.18; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "libtpu>=0.0.17,<0.0.31; sys_platform == 'linux' and platform_machine == 'x86_64'",
)
"""The requirements that ``pip install "msinet[tpu]"`` installs.

tensorflow-tpu 2.20 allows every later libtpu, but with 0.0.40 and 0.0.51 its import ends the
process ("not available in this library"); 0.0.17 to 0.0.30 work. Measured without a TPU.
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
"""PCI device numbers. Google's network cards have the same vendor number.

Source: jax/_src/hardware_utils.py.
"""

ENVIRONMENT = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "COLAB_TPU_ADDR")
"""Variables that name a TPU: on TPU VMs, in their containers, and for a TPU in the network."""


def probe() -> Probe:
    """Look for TPU chips, the name of a TPU in the environment, and the packages."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return unavailable(
            "TPUs are supported on Linux x86-64 only, and this is "
            f"{platform.system() or sys.platform} on {platform.machine()}.",
            f"On a Google Cloud TPU VM: {INSTALL}",
        )
    chips = tuple(tpu_chips()) or tuple(_named_in_environment())
    if not chips:
        return unavailable(
            f"No TPU found (no TPU chip, and none of {', '.join(ENVIRONMENT)} is set).",
            f"On a Google Cloud TPU VM: {INSTALL}",
        )
    return tensorflow_probe(REQUIRES, INSTALL, chips)


def tpu_chips() -> Iterator[Hardware]:
    """Describe the TPU chips in this machine."""
    kinds = Counter(
        CHIPS[card.device] for card in hardware.pci_devices(GOOGLE) if card.device in CHIPS
    )
    for name, count in sorted(kinds.items()):
        yield Hardware(name if count == 1 else f"{count} x {name}", bfloat16=True)


def _named_in_environment() -> Iterator[Hardware]:
    name = next((os.environ[key] for key in ENVIRONMENT if os.environ.get(key)), "")
    if name:
        yield Hardware(f"TPU {name}", bfloat16=True)
