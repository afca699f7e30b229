"""Every attack in the documentation is tried by tests, as many as it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "measurements.md"


def test_the_table_of_attacks_is_that_of_the_tests() -> None:
    command = [sys.executable, str(TESTS / "attacks.py"), "--collect-only", "-qq"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout  # a test that does not exist ends with 4
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) > 30
    assert all(row.split(" | ")[1] != "0" for row in rows)
    assert "\n".join(rows[1:]) in PAGE.read_text(encoding="utf-8"), (
        "copy the rows that this prints to docs/measurements.md: "
        "python tests/attacks.py --collect-only"
    )
