"""Write a device plugin to start from: it installs, registers, and lists what to fill in."""

from __future__ import annotations

from msinet_core.scaffold.writer import write_plugin

__all__ = ["write_plugin"]
