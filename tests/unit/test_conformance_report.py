"""The report as data, JSON, a table and an HTML page."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from msinet_core.conformance.report import Report, Result, failed_rows
from msinet_core.conformance.report_page import (
    check_report_path,
    shared_reasons,
    to_cells,
    to_html,
    write_report,
)
from msinet_core.errors import MsinetError

ROWS = (
    Result("a/b", "Holds.", "passed", 1e-7, 1e-5, seconds=0.25),
    Result("a/c", "Holds <too>.", "failed", float("nan"), 1e-5, "<b>'s size & is not finite."),
    Result("a/d", "Does not apply.", "not applicable", reason="the device does not train"),
    Result("e/f", "Is known.", "expected failure", 3.0, 0.0, "R. (https://example.org)"),
    Result("e/g", "Was known.", "passed unexpectedly", 0.0, 0.0, "Remove it."),
)
FACTS = {"date": "today"}
REPORT = Report("some", "float32", 1.23456, ROWS, {"numpy": "2"}, {"xla": "on"}, facts=FACTS)


def test_a_difference_that_is_not_a_number_is_left_out():
    rows = [
        Result("a/b", "Holds.", "failed", float("inf"), 0.0, "The shape is (2,)."),
        Result("a/c", "Holds.", "failed", float("nan"), 1e-5, "Not finite."),
    ]
    report = Report("some", "float32", 1.0, tuple(rows))
    assert [cell[2] for cell in to_cells(report)[0]] == ["", ""]
    assert "inf" not in to_html(report)


def test_the_report_as_json():
    document = json.loads(REPORT.to_json(), parse_constant=pytest.fail)  # no NaN in JSON
    rows = document.pop("rows")
    assert document == {
        "device": "some",
        "precision": "float32",
        "options": {"xla": "on"},
        "available": True,
        "passed": False,
        "counts": dict.fromkeys((row.status for row in ROWS), 1),
        "seconds": 1.235,
        "versions": {"numpy": "2"},
        "complete": True,
        "likeness": "",
        "facts": FACTS,
    }
    assert [row["passed"] for row in rows] == [True, False, None, None, False]
    assert rows[0] == {
        "id": "a/b",
        "description": "Holds.",
        "status": "passed",
        "passed": True,
        "difference": 1e-7,
        "tolerance": 1e-5,
        "reason": "",
        "seconds": 0.25,
    }
    assert rows[1]["difference"] is None


def test_the_report_as_a_table():
    cells, reasons = to_cells(REPORT)
    assert cells[0] == ("a/b", "passed", "1.0e-07 of 1.0e-05")
    assert [difference for _, _, difference in cells[2:]] == ["", "3 differ", "exact"]
    assert reasons[:3] == [(), ("<b>'s size & is not finite.",), ("the device does not train",)]


class PageReader(HTMLParser):
    """Collects the text of a page that is well formed and self-contained."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href", "onload"} & dict(attrs).keys()
        assert tag not in ("script", "link", "b", "too")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_as_a_page_is_escaped_and_self_contained():
    page = PageReader()
    page.feed(to_html(REPORT))
    page.close()
    assert page.open == []
    text = " ".join(page.text)
    for shown in ("Holds <too>.", "<b>'s size & is not finite.", "option xla", "3 differ", "numpy"):
        assert shown in text
    assert "today" in text
    assert text.index("Expected failures") < text.index("a/b")
    assert text.count("a/c") == 3  # as the smallest failing row, under Failed, and in its group


def test_reports_are_json_or_html_files(tmp_path):
    for name in ("report.json", "report.HTML"):
        check_report_path(tmp_path / name)
        write_report(REPORT, tmp_path / name)
    assert json.loads((tmp_path / "report.json").read_text())["device"] == "some"
    assert (tmp_path / "report.HTML").read_text().startswith("<!DOCTYPE html>")
    (tmp_path / "folder.json").mkdir()
    for name in ("report", "report.txt", "folder.json"):
        with pytest.raises(MsinetError, match=name):
            check_report_path(tmp_path / name)


@pytest.mark.parametrize("rows", [(), (Result("a/b", "Holds.", "not applicable"),)])
def test_a_report_in_which_nothing_passed_has_not_passed(rows):
    assert not Report("some", "float32", 0.0, rows).passed


def test_an_incomplete_report_has_not_passed():
    assert Report("some", "float32", 0.0, ROWS[:1]).passed
    assert not Report("some", "float32", 0.0, ROWS[:1], complete=False).passed


def test_a_reason_that_rows_share_is_shown_once():
    rows = [*(Result(f"a/{n}", "S.", "failed", reason="Not written.") for n in range(3)), ROWS[2]]
    report = Report("some", "float32", 1.0, tuple(rows))
    assert shared_reasons(report) == ["3 rows failed (3 of a/): Not written."]
    assert to_cells(report)[1] == [(), (), (), ("the device does not train",)]


def test_the_failed_rows_of_a_report_are_read_back(tmp_path):
    write_report(REPORT, tmp_path / "report.json")
    assert failed_rows(tmp_path / "report.json") == ["a/c", "e/g"]
    passed = Report("some", "float32", 1.0, ROWS[:1])
    write_report(passed, tmp_path / "passed.json")
    (tmp_path / "other.json").write_text('{"rows": 3}')
    (tmp_path / "broken.json").write_text("{")
    for name in ("passed.json", "other.json", "broken.json", "missing.json"):
        with pytest.raises(MsinetError, match=name):
            failed_rows(tmp_path / name)


def failing(*ids: str) -> Report:
    rows = tuple(Result(name, "S.", "failed", reason="R.") for name in ids)
    return Report("some", "float32", 1.0, rows)


def test_the_next_step_is_the_row_that_uses_least_of_the_device():
    rows = ("calls/training", "gradient/concat", "device/float32", "forward/concat", "use/threads")
    assert "forward/concat" in failing(*rows).next_step
    assert "device/opens" in failing(*rows, "device/opens").next_step
    assert failing().next_step == ""


def test_failures_of_long_sums_alone_are_explained():
    alone = failing("train/four-updates", "numerics/global-mean").next_step
    assert "sums" in alone
    assert "sums" not in failing("train/four-updates", "train/four-losses").next_step
