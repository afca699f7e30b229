"""Download files and archives: checked, retried and resumed."""

from __future__ import annotations

from msinet_core.data.download.transfer import Patience, download

__all__ = ["Patience", "download"]
