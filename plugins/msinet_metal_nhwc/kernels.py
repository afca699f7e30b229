"""The kernels that TensorFlow with tensorflow-metal registers for the GPU of a Mac.

The first lines of the table describe how it was recorded.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from msinet_tensorflow.audit import Kernel, KernelTable

TABLE = "metal_kernels_1.2.0.tsv"
TABLE_METAL = "1.2.0"
TABLE_TENSORFLOW = "2.18.1 and 2.19.1"
"""The releases that the table was recorded from."""


@cache
def metal_kernels() -> KernelTable:
    """Read the kernels of tensorflow-metal 1.2.0 and of TensorFlow on Apple silicon."""
    text = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    return read_table(text)


def read_table(text: str) -> KernelTable:
    """Read a table with the columns op, source, device, constraints and host_memory.

    Args:
        text: Tab-separated lines; the first after the comments names the columns.
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    table: dict[str, list[Kernel]] = {}
    for row in csv.DictReader(lines, delimiter="\t"):
        items = (item.partition("=") for item in row["constraints"].split(";") if item)
        allowed = {attribute: frozenset(dtypes.split(",")) for attribute, _, dtypes in items}
        hosted = frozenset(filter(None, row["host_memory"].split(",")))
        table.setdefault(row["op"], []).append(Kernel(row["device"], allowed, hosted))
    return table
