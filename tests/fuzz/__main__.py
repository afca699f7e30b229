"""Damage files of every format at random, read each in a child process, and print what happened.

``python tests/fuzz --files 100 --seed 0`` damages 100 files of each kind and tries every attack in
`crafted`; ``--only damaged`` and ``--only crafted`` do one of the two. A file fails if reading it
ends the process, takes more than ten seconds for each 10 MB or more memory than three times the
file plus 64 MiB, raises anything but a sentence, or gives wrong weights although the file has
checksums. Exits with 1 if one fails; failing files are kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crafted import ATTACKS
from mutations import mutate
from reader import MIB, digest_of
from samples import Sample, make_samples, write_case

_READER = Path(__file__).with_name("reader.py")
_SECONDS_PER_BYTE = 10 / 10e6
_MIN_SECONDS = 10
_START = 30
"""Seconds in which a child starts on a busy machine; a hanging file is found by the same limit."""

_BATCH = 200
_GOOD = ("refused", "read")
Case = dict[str, Any]


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100, help="Damaged files of each kind.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("damaged", "crafted"))
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "msinet-fuzz")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        damaged, crafted = _damaged(folder, options.files, options.seed), _crafted(folder)
        cases = {"damaged": damaged, "crafted": crafted}.get(
            options.only, itertools.chain(damaged, crafted)
        )
        failures = _run(cases, folder / "cases", options.keep)
    return 1 if failures else 0


def _damaged(folder: Path, files: int, seed: int) -> Iterator[Case]:
    """Write damaged files, one after another."""
    for title, sample in make_samples(folder / "samples").items():
        digest = digest_of(sample.folder / sample.opened) if sample.has_checksums else None
        draw = random.Random(f"{seed} {title}")
        for number in range(files):
            path = _damage(sample, draw, folder / "cases" / f"{title} {number}")
            yield {"title": f"random damage: {title}", "path": str(path), "digest": digest}


def _crafted(folder: Path) -> Iterator[Case]:
    """Write the files that are made by hand, one after another."""
    for number, (title, attack) in enumerate(ATTACKS.items()):
        target = folder / "cases" / f"attack {number}"
        target.mkdir(parents=True)
        yield {"title": title, "path": str(attack(target)), "digest": None}


def _damage(sample: Sample, draw: random.Random, folder: Path) -> Path:
    part = sample.take((sample.folder / sample.file).read_bytes())
    return write_case(sample, mutate(part, draw), folder)


def _run(cases: Iterator[Case], folder: Path, keep: Path) -> int:
    """Read cases, print a table, and return how many failed."""
    outcomes: dict[str, Counter[str]] = {}
    while batch := list(itertools.islice(cases, _BATCH)):
        for case, outcome in _read(batch, folder):
            counts = outcomes.setdefault(case["title"], Counter())
            counts[outcome if outcome in _GOOD else "failed"] += 1
            if outcome not in _GOOD:
                print(f"{case['title']}: {outcome}", file=sys.stderr, flush=True)
                own = folder / Path(case["path"]).relative_to(folder).parts[0]
                shutil.copytree(own, keep / own.name, dirs_exist_ok=True)
        shutil.rmtree(folder)
        folder.mkdir()
    print("| attack | tried | refused | read | failed |\n|---|---|---|---|---|")
    for title, counts in outcomes.items():
        numbers = counts.total(), *(counts[kind] for kind in (*_GOOD, "failed"))
        print(f"| {title} | {' | '.join(map(str, numbers))} |")
    return sum(counts["failed"] for counts in outcomes.values())


def _read(cases: list[Case], folder: Path) -> Iterator[tuple[Case, str]]:
    """Read cases in a child process, in another one after each that ends it."""
    done = 0
    while done < len(cases):
        listed = folder / "cases.json"
        listed.write_text(json.dumps(cases[done:]))
        command = [sys.executable, str(_READER), str(listed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            lines = _lines(child)
            for case in cases[done:]:
                outcome = _outcome(Path(case["path"]), lines, child)
                done += 1
                yield case, outcome
                if child.poll() is not None:
                    break
            child.kill()


def _lines(child: subprocess.Popen[str]) -> queue.Queue[str | None]:
    lines: queue.Queue[str | None] = queue.Queue()

    def follow() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=follow, daemon=True).start()
    return lines


def _outcome(path: Path, lines: queue.Queue[str | None], child: subprocess.Popen[str]) -> str:
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    try:
        while (line := lines.get(timeout=_START + 2 * size * _SECONDS_PER_BYTE)) is not None:
            if "end" in (result := json.loads(line)):
                break
    except queue.Empty:
        child.kill()
        child.wait()
        return "hangs"
    if line is None:
        return f"ends the process with {child.wait()}"
    if result["bytes"] > 3 * size + 64 * MIB:
        return f"takes {result['bytes'] / MIB:.0f} MiB for {size:,} bytes"
    if result["seconds"] > max(_MIN_SECONDS, 2 * size * _SECONDS_PER_BYTE):  # it is read twice
        return f"takes {result['seconds']:.1f} s for {size:,} bytes"
    return str(result["outcome"])


if __name__ == "__main__":
    sys.exit(main())
