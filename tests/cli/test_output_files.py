"""A file that cannot be written is refused before the work whose result would be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from msinet_core.cli import cli

if TYPE_CHECKING:
    from tests.conftest import Run

BELOW_A_FILE = "file/new"

TRAIN = ("train", "--data", "tiny", "--init", "random", "--width", "0.02", "--epochs", "1")
# The work of each command would fail, with another message: nothing has these weights or rows.
OUTPUTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("bench", "--json"): ("bench", "--device", "reference", "--json", f"{BELOW_A_FILE}.json"),
    ("bench", "--plot"): ("bench", "--device", "reference", "--plot", f"{BELOW_A_FILE}.png"),
    ("bench", "--trace"): ("bench", "--device", "reference", "--trace", BELOW_A_FILE),
    ("convert", "target"): ("convert", "none.h5", f"{BELOW_A_FILE}.msinet.h5"),
    ("data demo", "folder"): ("data", "demo", BELOW_A_FILE),
    ("data fetch", "--data-root"): ("data", "fetch", "osie", "--data-root", BELOW_A_FILE),
    ("evaluate", "--out"): (
        *("evaluate", "--data", "tiny", "--weights", "none.h5", "--out", f"{BELOW_A_FILE}.csv"),
    ),
    ("evaluate", "--report"): (
        *("evaluate", "--data", "tiny", "--weights", "none.h5", "--report", f"{BELOW_A_FILE}.html"),
    ),
    ("plugins check", "--report"): (
        *("plugins", "check", "reference", "--report", f"{BELOW_A_FILE}.json"),
    ),
    ("plugins new", "--into"): ("plugins", "new", "npu", "--into", BELOW_A_FILE),
    ("predict", "--out"): (
        *("predict", "tiny/stimuli/val", "--weights", "none.h5", "--out", BELOW_A_FILE),
    ),
    ("runs compare", "--out"): ("runs", "compare", "tiny", "--out", f"{BELOW_A_FILE}.png"),
    ("train", "--run"): ("--device", "reference", *TRAIN, "--run", BELOW_A_FILE),
}
INPUTS = {
    *{("bench", "files"), ("compare", "first"), ("compare", "second"), ("convert", "source")},
    *{("convert", "--network"), ("data fetch", "--from"), ("evaluate", "--maps")},
    *{("evaluate", "--weights"), ("inspect", "file"), ("plugins check", "--expected-failures")},
    *{("plugins check", "--failed-from"), ("predict", "--weights"), ("predict", "paths")},
    *{("runs compare", "folders"), ("runs list", "folders"), ("train", "--config")},
    *{(name, "--data-root") for name in ("data check", "data list", "data maps")},
    *{(name, "--data-root") for name in ("evaluate", "train")},
}


def paths(group: click.Group, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the command and the name of each parameter that is a path."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from paths(command, f"{prefix}{name} ")
            continue
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                is_option = isinstance(parameter, click.Option)
                shown = parameter.opts[0] if is_option else parameter.name
                yield f"{prefix}{name}", str(shown)


def test_every_path_is_known_as_an_input_or_an_output() -> None:
    assert sorted(paths(cli)) == sorted({*OUTPUTS, *INPUTS})


@pytest.mark.parametrize(("command", "parameter"), sorted(paths(cli)))
def test_an_empty_path_is_not_the_current_folder(run: Run, command: str, parameter: str) -> None:
    """It may be an unset variable of a shell."""
    given = [f"{parameter}="] if parameter.startswith("--") else [""] * 2
    done = run(*command.split(), *given, *["x"] * (parameter.startswith("--")))
    assert done.exit_code == 2
    assert "empty" in done.stderr


@pytest.mark.parametrize("arguments", OUTPUTS.values(), ids=[" ".join(key) for key in OUTPUTS])
def test_an_unwritable_output_is_refused_before_the_work(
    run: Run, tiny_data: Path, arguments: tuple[str, ...]
) -> None:
    Path("file").write_text("old", encoding="utf-8")
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    assert BELOW_A_FILE in done.stderr
    assert "none.h5" not in done.stderr
    assert done.stdout == ""
    assert Path("file").read_text(encoding="utf-8") == "old"
