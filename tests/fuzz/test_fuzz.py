"""Damaged and hostile files in every format: the quick run of ``python tests/fuzz``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("kind", "attacks"), [("damaged", 15), pytest.param("crafted", 90, marks=pytest.mark.slow)]
)
def test_no_file_crashes_hangs_exhausts_memory_or_misleads(
    tmp_path: Path, kind: str, attacks: int
) -> None:
    options = ["--files", "4", "--only", kind, "--keep", str(tmp_path)]
    command = [sys.executable, str(Path(__file__).parent), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) >= attacks
    tried, refused = (sum(int(row[column]) for row in rows) for column in (1, 2))
    assert refused > 0.7 * tried  # the files are damaged
