"""Tables lose nothing, in a pipe and on a narrow terminal."""

from __future__ import annotations

import sys

import click
import pytest

from msinet_core.cli.tables import print_indented, print_table

HEADINGS = ("device", "rate")
ROWS = [("cpu", "1.25"), ("a-device-with-a-long-name", "100.00")]
NOTE = "word " * 60 + 'pip install "a-requirement[x]>=1"'


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


def test_a_pipe_gets_each_row_and_each_note_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(HEADINGS, ROWS, notes=[[NOTE], []], right=("rate",), styles={"cpu": "red"})
    assert capsys.readouterr().out.splitlines() == [
        "device                       rate",
        "---------------------------------",
        "cpu                          1.25",
        "a-device-with-a-long-name  100.00",
        "",
        "cpu",
        f"    {NOTE}",
    ]


@pytest.mark.parametrize("length", [200, 20_000])
def test_a_pipe_gets_long_cells_whole(capsys: pytest.CaptureFixture[str], length: int) -> None:
    cell = "[red]word " * length
    print_table(("path", "status"), [(cell.strip(), "ok")])
    assert capsys.readouterr().out.splitlines()[2] == f"{cell.strip()}  ok"


@pytest.mark.parametrize("columns", [30, 60])
def test_a_narrow_terminal_wraps_cells_and_notes_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    on_a_terminal(monkeypatch, columns)
    rows = [("a-device-with-a-long-name", "float32, bfloat16, float16 [cpu]", "100.00")]
    print_table(("device", "precisions", "rate"), rows, notes=[[NOTE]])
    printed = click.unstyle(capsys.readouterr().out)
    assert set(" ".join(rows[0]).split()) | set(NOTE.split()) <= set(printed.split())
    assert max(len(line) for line in printed.splitlines() if "word" in line) <= max(columns, 20)
    if columns == 60:
        assert max(map(len, printed.splitlines())) <= columns


@pytest.mark.parametrize("columns", [5, 20, None])
def test_wide_characters_and_long_words_are_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    if columns:
        on_a_terminal(monkeypatch, columns)
    cells = ("実験一号-学習率", "a_run_with_a_long_name")
    print_table(("run", "file"), [cells])
    printed = click.unstyle(capsys.readouterr().out)
    assert sorted("".join(printed.split()).removeprefix("runfile").replace("-", "")) == sorted(
        "".join(cells).replace("-", "")
    )
    if columns is None:
        assert printed.splitlines()[2] == "  ".join(cells)


def test_cells_are_wrapped_in_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 24)
    print_table(("device", "precisions"), [("cpu", "float32, bfloat16, float16")])
    printed = click.unstyle(capsys.readouterr().out)
    assert [line.rstrip() for line in printed.splitlines()] == [
        "device  precisions",
        "------------------------",
        "cpu     float32,",
        "        bfloat16,",
        "        float16",
    ]


def test_a_terminal_gets_colors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 80)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    print_table(HEADINGS, ROWS, styles={"1.25": "red"})
    assert "\x1b[31m1.25" in capsys.readouterr().out


def test_a_table_on_stderr_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADINGS, ROWS, notes=[["note"], []], to_stderr=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "note" in printed.err


def test_nothing_is_printed_for_an_empty_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_indented("")
    print_indented("one\ntwo")
    assert capsys.readouterr().out == "    one\n    two\n"
