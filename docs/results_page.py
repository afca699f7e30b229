"""The page of benchmark results, written from ``benchmarks/results/*.json``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from msinet_core.benchmark.results import Results
from msinet_core.benchmark.table import make_table
from msinet_core.registry.registry import load_registry

HEAD = """# Benchmark results

Images per second by machine, device, precision and batch size, as `msinet-run bench` measures
them. Written by `python docs/generate.py` from the files in `benchmarks/results/`, whose README
says how to add a machine with one command.

* **bare**: the compiled step alone, on images in memory; **whole**: training on JPEG files, or
  predicting a folder. **share** is what remains of the bare rate.
* **of peak**: the bare step's operations per second, compared with eight equal convolutions on
  the same device, in the same precision and batch size. Above 100%, the machine was slower while
  the convolutions were measured.
* **MiB**: the largest resident memory of the process, with the framework itself.
"""


def results_page(folder: Path) -> str:
    """Return the page of results, in Markdown.

    Args:
        folder: The folder of the JSON files.
    """
    found = {path: Results.read(path) for path in sorted(folder.glob("*.json"))}
    sections = [HEAD]
    for path, results in found.items():
        sections.append("\n".join(_section(path, results)))
    sections.append("\n".join(_missing(list(found.values()))))
    return "\n".join(sections)


def _section(path: Path, results: Results) -> Iterator[str]:
    table = make_table([results])
    commit = f", commit {results.commit}" if results.commit else ""
    yield f"## {results.describe_machine()}\n"
    yield f"msinet {results.msinet}{commit}, {results.date}; `{path.name}`.\n"
    chart = path.with_suffix(".svg")
    if chart.exists():
        yield f"![Rates](../../benchmarks/results/{chart.name})\n"
    yield _row(table.headings)
    yield _row(["---:" if name in table.numbers else "---" for name in table.headings])
    yield from map(_row, table.rows)
    yield ""
    if table.notes:
        yield from (wrap(f"* {note}", indent="  ") for note in table.notes)
        yield ""
    yield wrap(f"{results.fastest_sentence()}.") + "\n"


def _missing(found: Sequence[Results]) -> Iterator[str]:
    measured = {row["device"] for results in found for row in results.measured()}
    yield "## Not measured yet\n"
    yield "No results of these devices have been contributed:\n"
    for registration in load_registry().registrations:
        spec, built_in = registration.spec, registration.plugin.distribution == "msinet"
        if built_in and spec.priority > -100 and spec.name not in measured:
            yield f"* `{spec.name}`: {spec.summary}"
    yield ""


def wrap(text: str, indent: str = "") -> str:
    """Break a paragraph of Markdown into lines of at most 100 characters.

    Args:
        text: The paragraph.
        indent: Of the lines after the first.
    """
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
