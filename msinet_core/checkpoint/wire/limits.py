"""How much a file may make a reader do, whatever it claims.

Reading a file of any content takes at most three times its size plus 64 MiB of memory, and at most
five seconds for each 10 MB. Python's objects are much larger than the bytes that describe them, so
what is counted in the thousands is limited here; MSI-Net has 46 tensors.
"""

from __future__ import annotations

MAX_ENTRIES = 20_000
"""Tensors, texts, groups or members of one file."""

MAX_TEXT = 2**21
"""Characters of a JSON text: 150 times the published network. Empty lists take 20 times as much
memory as their text."""
