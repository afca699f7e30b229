"""How much a file may make a reader do, whatever it claims.

Reading a file of any content takes at most three times its size plus 64 MiB of memory, and at most
five seconds for each 10 MB. Python's objects are much larger than the bytes that describe them, so
what is counted in the thousands is limited here; MSI-Net has 46 tensors.
"""

from __future__ import annotations

MAX_ENTRIES = 20_000
"""Tensors, texts, groups or members of one file."""

MAX_TEXT = 2**24
"""Characters of a JSON text."""

MAX_VALUES = 400_000
"""Values in a JSON text: an empty list takes 20 times as much memory as its text."""

MAX_NAME = 1_000
"""Characters of the name of a tensor or layer: many names may be made of one."""
