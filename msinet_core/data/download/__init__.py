"""Files from the network: whole, checked, resumed where they broke off, and in their place."""

from __future__ import annotations

from msinet_core.data.download.transfer import Patience, download

__all__ = ["Patience", "download"]
