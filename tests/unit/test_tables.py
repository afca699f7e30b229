"""Tables lose nothing, in a pipe and on a narrow terminal."""

from __future__ import annotations

import sys

import click
import pytest

from msinet_core.cli.tables import print_indented, print_table

HEADINGS = ("device", "rate")
ROWS = [("cpu", "1.25"), ("a-device-with-a-long-name", "100.00")]
NOTE = "word " * 60 + 'pip install "a-requirement>=1"'


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


def test_a_pipe_gets_each_row_and_each_note_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(HEADINGS, ROWS, notes=[[NOTE], []], right=("rate",))
    assert capsys.readouterr().out.splitlines() == [
        "device                       rate",
        "-------------------------  ------",
        "cpu                          1.25",
        f"    {NOTE}",
        "a-device-with-a-long-name  100.00",
    ]


def test_a_narrow_terminal_gets_a_block_for_each_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 30)
    print_table(HEADINGS, ROWS, notes=[[NOTE], []])
    told = capsys.readouterr().out
    assert "a-device-with-a-long-name" in told
    assert "    rate: 100.00" in told
    assert "requirement>=1" in told
    assert max(len(line) for line in told.splitlines() if "word" in line) <= 30


def test_cells_are_wrapped_before_rows_become_blocks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 24)
    print_table(("device", "precisions"), [("cpu", "float32, bfloat16, float16")])
    assert click.unstyle(capsys.readouterr().out).splitlines() == [
        "device  precisions",
        "------  ----------------",
        "cpu     float32,",
        "        bfloat16,",
        "        float16",
    ]


def test_a_wide_terminal_gets_the_table_with_colors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 80)
    print_table(HEADINGS, ROWS, styles={"1.25": {"fg": "red"}})
    told = capsys.readouterr().out
    assert "cpu                        " in told
    assert "1.25" in told


def test_nothing_is_printed_for_an_empty_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_indented("")
    print_indented("one\ntwo")
    assert capsys.readouterr().out == "    one\n    two\n"
