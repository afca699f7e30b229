"""Google's TPU chips, found without a framework."""

from __future__ import annotations

from collections import Counter

from msinet_core.hardware.hardware import Hardware
from msinet_core.hardware.host import pci_devices

_GOOGLE = "0x1ae0"

_CHIPS = {
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


def tpu_chips() -> tuple[Hardware, ...]:
    """Describe the TPU chips in this machine, each kind once."""
    cards = pci_devices(_GOOGLE)
    kinds = Counter(_CHIPS[card.device] for card in cards if card.device in _CHIPS)
    return tuple(
        Hardware(name if count == 1 else f"{count} x {name}", bfloat16=True)
        for name, count in sorted(kinds.items())
    )
