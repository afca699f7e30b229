"""Checkpoints: the native format, and the formats that other software left behind."""

from __future__ import annotations

from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.description import describe
from msinet_core.checkpoint.formats import load_checkpoint, read_graph, read_weights
from msinet_core.checkpoint.native_save import save_checkpoint

__all__ = [
    "Checkpoint",
    "describe",
    "load_checkpoint",
    "read_graph",
    "read_weights",
    "save_checkpoint",
]
