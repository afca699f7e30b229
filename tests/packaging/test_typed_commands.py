"""The commands in the documentation and in job files are valid."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from msinet_core.cli import cli
from msinet_core.registry.registry import load_registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
VERTEX = ROOT / "examples" / "vertex-ai"
JOBS = ("t4", "a100", "v5e")
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?msinet-run (?P<arguments>.+)")
PLACEHOLDER = re.compile(r"[A-Z][A-Za-z]?[A-Z|]*|.*[|$<].*|\.\.\.")


def blocks(text: str) -> Iterator[str]:
    """Yield the content of each fenced block, with lines that end in a backslash joined."""
    for match in re.finditer(r"^( *)```[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        yield re.sub(r"\s*\\\n\s*", " ", match[2])


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each ``msinet-run`` command of a page.

    In a synopsis, optional parts count as given, and text after two spaces is a comment.
    """
    for block in blocks(text):
        for line in block.splitlines():
            for part in re.split(r"\s(?:&&|&|\|)(?:\s|$)|;\s", line.strip()):
                match = COMMAND.fullmatch(part.strip())
                if match:
                    typed = re.split(r" {2,}| #| 2?> ?", match["arguments"])[0]
                    yield shlex.split(re.sub(r"[\[\]]", "", typed))


def faults(typed: list[str], devices: Mapping[str, set[str]]) -> list[str]:
    """List what is wrong with a command, without running it.

    Args:
        typed: The arguments of ``msinet-run``.
        devices: For each device its options.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="msinet-run", **cli.context_settings)
    asks_help = bool({"--help", "-h", "--version"} & set(typed))
    found: list[str] = []
    named, chosen = [], []
    try:
        while True:
            values, rest, _ = command.make_parser(context).parse_args(list(typed))
            for parameter in command.params:
                given = values.get(parameter.name or "")
                given = given if isinstance(given, list) else [given]
                texts = [text for text in given if isinstance(text, str)]
                named += texts if parameter.name == "device" else []
                chosen += texts if "--device-option" in parameter.opts else []
                found += _misfits(parameter, texts, context)
                if parameter.required and given == [None] and not asks_help:
                    found.append(f"{parameter.name} is missing")
            if not isinstance(command, click.Group):
                break
            if not rest:
                return found if asks_help else [*found, "no command"]
            inner = command.get_command(context, rest[0])
            if inner is None:
                return [*found, f"no command {rest[0]}"]
            command, typed = inner, rest[1:]
            context = click.Context(command, info_name=rest[0], parent=context)
    except click.UsageError as error:
        return [*found, error.format_message()]
    found += [f"unexpected {text}" for text in rest]
    named = [name for name in named if not PLACEHOLDER.fullmatch(name)]
    found += [f"no device {name}" for name in named if name not in devices]
    for option in chosen:
        name = option.partition("=")[0]
        if not any(name in devices.get(device, ()) for device in named):
            found.append(f"no option {name} of {named}")
    return found


def _misfits(parameter: click.Parameter, texts: list[str], context: click.Context) -> list[str]:
    found = []
    for text in texts:
        if PLACEHOLDER.fullmatch(text) or isinstance(parameter.type, click.Path):
            continue
        try:
            parameter.type.convert(text, parameter, context)
        except click.UsageError as error:
            found.append(error.format_message())
    return found


@pytest.fixture(scope="module")
def devices() -> dict[str, set[str]]:
    return {
        registration.spec.name: {option.name for option in registration.spec.options}
        for registration in load_registry().registrations
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_valid(page: Path, devices: dict[str, set[str]]) -> None:
    page_commands = list(commands(page.read_text(encoding="utf-8")))
    known = {**devices, **{name: set() for name in plugin_devices(page, page_commands)}}
    wrong = {" ".join(typed): found for typed in page_commands if (found := faults(typed, known))}
    assert not wrong


def plugin_devices(page: Path, page_commands: list[list[str]]) -> Iterator[str]:
    """Yield the devices of the plugins that a page writes or describes."""
    for typed in page_commands:
        if typed[:2] == ["plugins", "new"]:
            yield typed[2]
    if page.parent.name.startswith("msinet-device-"):
        yield page.parent.name.removeprefix("msinet-device-")


def test_the_pages_have_commands() -> None:
    typed = [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]
    assert len(typed) > 40


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("msinet-run trian --data x", "no command trian"),
        ("msinet-run train --data x --epoch 3", "No such option"),
        ("msinet-run train --data x --epochs three", "must be an integer"),
        ("$ msinet-run --device metl train --data x", "no device metl"),
        ("V=1 msinet-run train --device cuda -O xl=on", "no option xl"),
        ("venv/bin/msinet-run predict a.jpg", "weights is missing"),
        ("msinet-run inspect a b", "unexpected b"),
        ("msinet-run evaluate --data x --weights", "requires an argument"),
        ("msinet-run train --data x \\\n    --precision float12", "must be one of"),
    ],
)
def test_an_invalid_command_is_found(line: str, fault: str, devices: dict[str, set[str]]) -> None:
    (typed,) = commands(f"text\n```sh\n{line}\n```\n")
    assert any(fault in found for found in faults(typed, devices)), faults(typed, devices)


def test_a_synopsis_is_understood(devices: dict[str, set[str]]) -> None:
    page = "```\nmsinet-run --device D predict PATH... [--weights FILE]   maps for images\n```"
    assert [faults(typed, devices) for typed in commands(page)] == [[]]


def test_every_extra_that_a_page_installs_exists() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    named = set(re.findall(r"(?:\.|msinet)\[([a-z,-]+)\]", "\n".join(pages)))
    assert {"cpu", "cuda", "metal", "tpu"} <= named
    assert {extra for names in named for extra in names.split(",")} <= set(EXTRAS)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_trains_on_the_device_its_image_is_built_for(
    name: str, devices: dict[str, set[str]]
) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((VERTEX / f"{name}.yaml").read_text(encoding="utf-8"))
    container = job["workerPoolSpecs"][0]["containerSpec"]
    extra = container["imageUri"].removeprefix("IMAGES/")
    data, folder, *options = container["args"]
    assert (data, folder) == ("/gcs/BUCKET/DATA", "/gcs/BUCKET/runs/RUN")
    assert f"--device={extra}" in options
    assert extra in EXTRAS
    assert faults(["train", "--data", data, "--run", folder, *options], devices) == []
