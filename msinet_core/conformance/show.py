"""A report for people: the cells of a table, or a page in a browser."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from msinet_core.conformance.report import FAILURES, Report, Result
from msinet_core.errors import UsageError
from msinet_core.system.files import write_text
from msinet_core.system.version import __version__

SUFFIXES = (".json", ".html")


def check_report_name(path: Path) -> None:
    """Refuse a report's file name before minutes are spent on its content.

    Args:
        path: What ``--report`` says.

    Raises:
        UsageError: It is neither a JSON nor an HTML file, or a folder.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise UsageError(f"'{path}' is no report's name. Let it end in {' or '.join(SUFFIXES)}.")


def write_report(report: Report, path: Path) -> None:
    """Write a report atomically, as JSON or as a page that needs nothing else.

    Args:
        report: What was found.
        path: The file, ``.json`` or ``.html``.

    Raises:
        MsinetError: The disk refuses.
    """
    page = path.suffix.lower() == ".html"
    write_text(path, to_html(report) if page else report.to_json() + "\n")


def to_cells(report: Report) -> tuple[list[tuple[str, str, str]], list[tuple[str, ...]]]:
    """Give the cells of a table, and what stands under each row of it.

    Args:
        report: What was found.

    Returns:
        Id, status and difference of each row, and the row's reason where it has one of its own.
    """
    cells = [(row.id, str(row.status), _numbers(row)) for row in report.rows]
    shared = {row.reason for rows in _same_reason(report) for row in rows}
    return cells, [
        (row.reason,) if row.reason and row.reason not in shared else () for row in report.rows
    ]


def shared_reasons(report: Report) -> list[str]:
    """Tell each reason that several rows have once, with the number of rows and their groups.

    Args:
        report: What was found.
    """
    return [
        f"{len(rows)} rows {rows[0].status} ({_groups(rows)}): {rows[0].reason}"
        for rows in _same_reason(report)
    ]


def _same_reason(report: Report) -> list[list[Result]]:
    alike: dict[tuple[str, str], list[Result]] = {}
    for row in report.rows:
        if row.reason:
            alike.setdefault((row.status, row.reason), []).append(row)
    return [rows for rows in alike.values() if len(rows) > 1]


def _groups(rows: Sequence[Result]) -> str:
    counts = Counter(_group(row) for row in rows)
    return ", ".join(f"{count} of {group}/" for group, count in counts.items())


def _group(row: Result) -> str:
    return row.id.split("/")[0]


def _numbers(row: Result) -> str:
    if row.difference is None or row.tolerance is None:
        return ""
    if row.tolerance == 0:
        if _group(row) in ("light", "device"):  # they ask, and measure no difference
            return ""
        return "exact" if row.difference == 0 else f"{row.difference:.0f} differ"
    return f"{row.difference:.1e} of {row.tolerance:.1e}"


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
table.rows { table-layout: fixed; }
.rows th:nth-child(2) { width: 9rem; } .rows th:nth-child(3) { width: 12rem; }
.rows th:nth-child(4) { width: 5rem; } td { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .rows th { display: none; } .rows tr, .rows td { display: block; }
  .rows td { border: 0; } .rows tr { border-bottom: 1px solid; padding: .5rem 0; }
}
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
         border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.passed { color: #1a7f37; } .failed { color: #cf222e; font-weight: bold; }
.expected { color: #9a6700; } .other { opacity: .6; }
""".strip()


def to_html(report: Report) -> str:
    """Write a report as one page: no script, and nothing that is loaded from elsewhere.

    Args:
        report: What was found.
    """
    title = f"Conformance of device {escape(report.device)}"
    verdict = "passed" if report.passed else "failed"
    facts = {
        **report.facts,
        "precision": report.precision,
        **{f"option {name}": value for name, value in report.options.items()},
        "msinet": __version__,
        **report.versions,
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>{title}</h1>",
        f'<p class="{verdict}">{escape(report.verdict)}</p>',
        *([f"<p>{escape(report.likeness)}</p>"] if report.likeness else []),
        "<table>",
        *(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items()),
        "</table>",
    ]
    if report.failed:
        parts += ["<h2>Failed</h2>", *_rows(report.failed)]
    known = tuple(row for row in report.rows if row.status == "expected failure")
    if known:
        parts += ["<h2>Expected failures</h2>", *_rows(known)]
    for group, rows in groupby(report.rows, _group):
        parts += [f"<h2>{escape(group)}</h2>", *_rows(tuple(rows))]
    return "\n".join([*parts, "</body></html>", ""])


def _rows(rows: tuple[Result, ...]) -> Iterator[str]:
    heads = "".join(f"<th>{head}</th>" for head in ("row", "status", "difference", "time"))
    yield f'<table class="rows"><tr>{heads}</tr>'
    for row in rows:
        kind = "failed" if row.status in FAILURES else row.status.split()[0]
        look = kind if kind in ("passed", "failed", "expected") else "other"
        told = "<br>".join(escape(text) for text in (row.description, row.reason) if text)
        yield (
            f"<tr><td><code>{escape(row.id)}</code><br>{told}</td>"
            f'<td class="{look}">{escape(row.status)}</td>'
            f'<td class="number">{escape(_numbers(row))}</td>'
            f'<td class="number">{row.seconds:.2f} s</td></tr>'
        )
    yield "</table>"
