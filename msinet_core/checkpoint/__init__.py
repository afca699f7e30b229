"""Checkpoints: the native format, and conversion from and to the formats of other software."""

from __future__ import annotations

from msinet_core.checkpoint.archive import Checkpoint
from msinet_core.checkpoint.native import save_checkpoint
from msinet_core.checkpoint.read import load_checkpoint, read_weights

__all__ = ["Checkpoint", "load_checkpoint", "read_weights", "save_checkpoint"]
