"""Write every file that is made from the code: ``python docs/generate.py``.

These are the pages of commands, of the Python API, of conformance, of benchmark results and of
hardware reports. ``--check`` writes nothing and exits with 1 if a file is out of date; a test does
the same.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from docs.api_page import api
from docs.results_page import results_page
from msinet_core.cli import COMMANDS, cli
from msinet_core.conformance.report import FAILURES
from tests.faults.page import fill_in

DOCS = Path(__file__).parent
API_TEMPLATE = DOCS / "api.txt"
RESULTS = DOCS.parent / "benchmarks" / "results"
REPORTS = DOCS / "hardware-reports"
"""A folder per machine, named after it, with the JSON files that ``.ci/hardware`` wrote."""
CONFORMANCE = DOCS / "reference" / "conformance.md"
NAMES = re.compile(r"^\{\{ ([^}]+) \}\}$", re.MULTILINE)
"""A list of names in the template."""
WIDTH = 100

COMMANDS_HEAD = """# Commands

The output of `msinet-run COMMAND --help` for every command. Written by `python docs/generate.py`;
edit the commands instead.
"""

HARDWARE_HEAD = """# Hardware reports

What msinet did on hardware that its developers lack: the files that [the workflow
`hardware`](../how-to/report-hardware.md) and users sent, as a table. "verified" means that every
operation, gradient and training step agreed with the reference. Speeds are those of a network a
quarter as wide, at 96x128. Written by `python docs/generate.py` from `docs/hardware-reports/`.
"""


def commands_page() -> str:
    """Return the reference of all commands, in Markdown."""
    context = click.Context(
        cli, info_name="msinet-run", terminal_width=WIDTH, **cli.context_settings
    )
    return "\n".join([COMMANDS_HEAD, *_sections(cli, context, "##", COMMANDS)])


def _sections(
    command: click.Command, context: click.Context, level: str, names: tuple[str, ...] | None = None
) -> Iterator[str]:
    lines = (line.rstrip() for line in command.get_help(context).splitlines())
    yield "\n".join([f"{level} {context.command_path}", "```text", *lines, "```", ""])
    if isinstance(command, click.Group):
        deeper = level if names else f"{level}#"
        for name in names or command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            inner = click.Context(child, info_name=name, parent=context, terminal_width=WIDTH)
            yield from _sections(child, inner, deeper)


def api_page() -> str:
    """Return the reference of the front door, in Markdown.

    A line ``{{ A B }}`` of the template stands for the documentation of the names A and B.
    """

    def expand(match: re.Match[str]) -> str:
        return "\n".join(line for name in match[1].split() for line in api(name)).rstrip()

    return NAMES.sub(expand, API_TEMPLATE.read_text("utf-8"))


def conformance_page() -> str:
    """Return the conformance page with the tables of today."""
    return fill_in(CONFORMANCE.read_text("utf-8"))


def benchmarks_page() -> str:
    """Return the page of benchmark results, in Markdown."""
    return results_page(RESULTS)


def hardware_page(reports: Path = REPORTS) -> str:
    """Return the page of hardware reports, in Markdown.

    Args:
        reports: A folder with a folder of JSON files per machine.
    """
    rows = [row for folder in sorted(reports.glob("*/")) for row in _report_rows(folder)]
    if not rows:
        rows = ["No machine has been reported yet."]
    else:
        head = ("machine", "device", "program", "hardware", "compared with the reference", "doctor")
        head = (*head, "conformance kit", "predicts, images/s", "trains, images/s")
        rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]
    return "\n".join([HARDWARE_HEAD, *rows, ""])


def _report_rows(folder: Path) -> Iterator[str]:
    """Yield a row for each device that a machine's doctor examined."""
    doctors = _by_device(folder, "doctor")
    for device in doctors:
        details, problems = {"program": "unknown", "availability": "unknown"}, list[str]()
        for precision, examined in doctors[device].items():
            findings = examined.get("findings", [])
            details |= {finding["title"]: finding["detail"] for finding in findings}
            problems += [
                f"{finding['title']} ({precision})"
                for finding in findings
                if finding["status"] == "problem"
            ]
            problems += [] if examined else [f"failed ({precision})"]
        listed = _json(folder / f"devices-{device}.json").get("devices", [])
        status = {item["name"]: item["status"] for item in listed}.get(device, "unknown")
        results = _json(folder / f"bench-{device}.json").get("results", [{}])[0]
        rates = [results.get(work, {}).get("bare_images_per_s") for work in ("predict", "train")]
        cells = [folder.name, f"`{device}`", details["program"], details["availability"], status]
        cells += [", ".join(problems) or "no problem"]
        cells += [", ".join(_kit_cells(_by_device(folder, "kit").get(device, {})))]
        cells += ["" if rate is None else f"{rate:.2f}" for rate in rates]
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _by_device(folder: Path, part: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what a part of ``.ci/hardware`` printed, by device and precision."""
    found = dict[str, dict[str, dict[str, Any]]]()
    for path in sorted(folder.glob(f"{part}-*.json")):
        device, _, precision = path.stem.removeprefix(f"{part}-").rpartition("-")
        found.setdefault(device, {})[precision] = _json(path)
    return found


def _kit_cells(reports: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for precision, report in reports.items():
        failed = sum(row["status"] in FAILURES for row in report.get("rows", []))
        outcome = (
            "passed" if report.get("passed") else f"{failed} failed" if failed else "no result"
        )
        yield f"{precision} {outcome}"


def _json(path: Path) -> dict[str, Any]:
    """Read what a command printed; it prints nothing if it failed."""
    text = path.read_text("utf-8") if path.is_file() else ""
    document: dict[str, Any] = json.loads(text or "{}")
    return document


FILES: Mapping[Path, Callable[[], str]] = {
    DOCS / "reference" / "commands.md": commands_page,
    DOCS / "reference" / "api.md": api_page,
    CONFORMANCE: conformance_page,
    DOCS / "reference" / "benchmarks.md": benchmarks_page,
    DOCS / "reference" / "hardware.md": hardware_page,
}


def main(check: bool) -> int:
    """Write the files that are out of date, and name them.

    Args:
        check: Write nothing; return 1 if a file is out of date.
    """
    outdated = [path for path, make in FILES.items() if path.read_text("utf-8") != make()]
    for path in outdated:
        print(f"{'out of date' if check else 'updated'}: {path}")
        if not check:
            path.write_text(FILES[path](), encoding="utf-8")
    return int(check and bool(outdated))


if __name__ == "__main__":
    for variable in ("MSINET_PLUGINS", "MSINET_DISABLE_PLUGINS"):  # pages are the same everywhere
        os.environ.pop(variable, None)
    sys.exit(main("--check" in sys.argv))
