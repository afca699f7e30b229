"""A device plugin to begin with: a package that installs, registers and says what is missing."""

from __future__ import annotations

from msinet_core.scaffold.writer import write_plugin

__all__ = ["write_plugin"]
