"""A report for people: the cells of a table, or an HTML page."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template

from msinet_core.conformance.report import FAILURES, Report, Result
from msinet_core.errors import UsageError
from msinet_core.system.files import check_writable, write_text
from msinet_core.system.version import __version__

SUFFIXES = (".json", ".html")


def check_report_path(path: Path) -> None:
    """Refuse a file that a report cannot be written to, before the check starts.

    Args:
        path: The value of ``--report``.

    Raises:
        UsageError: It ends in neither ``.json`` nor ``.html``.
        MsinetError: The file system refused, or it is a directory.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"Invalid report file '{path}': use a name ending in .json or .html")
    check_writable(path)


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON or as one self-contained HTML page, depending on the suffix.

    Args:
        report: The report.
        path: The file, ``.json`` or ``.html``.

    Raises:
        MsinetError: The file cannot be written.
    """
    page = path.suffix.lower() == ".html"
    write_text(path, to_html(report) if page else report.to_json() + "\n")


def to_cells(report: Report) -> tuple[list[tuple[str, str, str]], list[tuple[str, ...]]]:
    """Return the cells of a table and the notes under its rows.

    Args:
        report: The report.

    Returns:
        Id, status and difference of each row, and the row's reason unless other rows share it.
    """
    cells = [(row.id, str(row.status), _difference(row)) for row in report.rows]
    shared = {row.reason for rows in _same_reason(report) for row in rows}
    return cells, [
        (row.reason,) if row.reason and row.reason not in shared else () for row in report.rows
    ]


def shared_reasons(report: Report) -> list[str]:
    """Return each reason that several rows share, with the number of rows in each group.

    Args:
        report: The report.
    """
    return [
        f"{len(rows)} rows {rows[0].status} ({_groups(rows)}): {rows[0].reason}"
        for rows in _same_reason(report)
    ]


def _same_reason(report: Report) -> list[list[Result]]:
    by_reason: dict[tuple[str, str], list[Result]] = {}
    for row in report.rows:
        if row.reason:
            by_reason.setdefault((row.status, row.reason), []).append(row)
    return [rows for rows in by_reason.values() if len(rows) > 1]


def _groups(rows: Sequence[Result]) -> str:
    counts = Counter(row.group for row in rows)
    return ", ".join(f"{count} of {group}/" for group, count in counts.items())


def _difference(row: Result) -> str:
    if row.difference is None or row.tolerance is None or not math.isfinite(row.difference):
        return ""
    if row.tolerance == 0:
        if row.group in ("description", "device"):  # they answer yes or no
            return ""
        return "exact" if row.difference == 0 else f"{row.difference:.0f} differ"
    return f"{row.difference:.1e} of {row.tolerance:.1e}"


def to_html(report: Report) -> str:
    """Return a report as one HTML page without scripts or external resources.

    Args:
        report: The report.
    """
    title = f"Conformance of device {escape(report.device)}"
    facts = {
        **report.facts,
        "precision": report.precision,
        **{f"option {name}": value for name, value in report.options.items()},
        "msinet": __version__,
        **report.versions,
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    sections: list[tuple[str, Sequence[Result]]] = [
        ("Failed", report.failed),
        ("Expected failures", [row for row in report.rows if row.status == "expected failure"]),
        *((name, list(rows)) for name, rows in groupby(report.rows, lambda row: row.group)),
    ]
    template = Template((files(__package__) / "report_page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=title,
        verdict_class="passed" if report.passed else "failed",
        notes="".join(
            f"<p>{escape(text)}</p>\n" for text in (report.next_step, report.likeness) if text
        ),
        verdict=escape(report.verdict),
        facts="\n".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in facts.items()
        ),
        rows="\n".join(
            "\n".join([f"<h2>{escape(name)}</h2>", *_rows(rows)]) for name, rows in sections if rows
        ),
    )


def _rows(rows: Sequence[Result]) -> Iterator[str]:
    headings = "".join(f"<th>{name}</th>" for name in ("row", "status", "difference", "time"))
    yield f'<table class="rows"><tr>{headings}</tr>'
    for row in rows:
        kind = "failed" if row.status in FAILURES else row.status.split()[0]
        style = kind if kind in ("passed", "failed", "expected") else "other"
        text = "<br>".join(escape(part) for part in (row.description, row.reason) if part)
        text = text.replace("\n", "<br>")
        yield (
            f"<tr><td><code>{escape(row.id)}</code><br>{text}</td>"
            f'<td class="{style}">{escape(row.status)}</td>'
            f"<td>{escape(_difference(row))}</td><td>{row.seconds:.2f} s</td></tr>"
        )
    yield "</table>"
