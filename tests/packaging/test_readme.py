"""The README has every command and device, and two commands to start with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from msinet_core.cli import COMMANDS
from msinet_core.registry.registry import load_registry

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"^msinet-run.* {command}\b", README, re.MULTILINE)


def test_every_built_in_device_is_in_the_readme() -> None:
    built_in = {
        registration.spec.name
        for registration in load_registry().registrations
        if registration.plugin.distribution == "msinet"
    }
    assert all(f"| `{name}` |" in README for name in built_in)


def test_it_starts_with_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert "--device cpu train" in blocks[0]
    assert "pytest" in blocks[1]
