"""The rows of a run's CSV files that a resumed run keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from msinet_core.training.csv_table import rows_until


@pytest.mark.parametrize("cut", ["", "1", "1,3,0.2", "1,3,0.2,", "1,3,0.2,9"])
def test_a_row_that_was_cut_short_is_dropped(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "steps.csv"
    path.write_text(f"epoch,step,loss,images_per_s,data_wait\n1,2,0.3,9.1,0.1\n{cut}")
    assert [row["step"] for row in rows_until(path, 3)] == ["2"]


def test_a_row_that_is_not_text_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_bytes(b"epoch,step,loss\n1,2,0.3\n1,\xff,0.2\n")
    assert [row["step"] for row in rows_until(path, 3)] == ["2"]


@pytest.mark.parametrize(("step", "kept"), [(0, []), (1, ["1"]), (2, ["1", "2"])])
def test_later_rows_are_dropped(tmp_path: Path, step: int, kept: list[str]) -> None:
    path = tmp_path / "steps.csv"
    assert rows_until(path, step) == []
    path.write_text("step,loss\n1,0.3\n2,0.2\n3,0.1\n")
    assert [row["step"] for row in rows_until(path, step)] == kept
