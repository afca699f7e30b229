"""Write a device plugin to start from: with parts to be filled in, or a complete example."""

from __future__ import annotations

from msinet_core.scaffold.example import EXAMPLES, write_example
from msinet_core.scaffold.writer import write_plugin

__all__ = ["EXAMPLES", "write_example", "write_plugin"]
