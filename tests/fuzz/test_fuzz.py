"""Damaged and hostile files in every format: the quick run of ``python tests/fuzz``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_no_file_crashes_hangs_exhausts_memory_or_misleads(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent), "--files", "4", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) > 100
    assert sum(int(row[2]) for row in rows) > len(rows)  # refused: the files are damaged
