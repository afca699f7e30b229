"""Commands that install extras of msinet name where this msinet came from."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from msinet_core.system import install_hints
from msinet_core.system.install_hints import editable_folder, installable

COMMAND = 'pip uninstall --yes tensorflow && pip install "msinet[cpu]"'


@pytest.fixture
def installed_from(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    def pretend(origin: Any) -> None:
        class Distribution:
            def read_text(self, name: str) -> str | None:
                assert name == "direct_url.json"
                return origin if origin is None or isinstance(origin, str) else json.dumps(origin)

        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
        install_hints._origin.cache_clear()

    yield pretend
    install_hints._origin.cache_clear()


@pytest.mark.parametrize("origin", [None, "", "not JSON", "[]"])
def test_from_an_index_the_command_is_unchanged(
    installed_from: Callable[[Any], None], origin: str | None
) -> None:
    installed_from(origin)
    assert installable(COMMAND) == COMMAND


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({"url": "file:///home/me/msinet", "dir_info": {}}, '"/home/me/msinet[cpu]"'),
        (
            {"url": "file:///home/my%20code", "dir_info": {"editable": True}},
            '-e "/home/my code[cpu]"',
        ),
        (
            {"url": "file:///tmp/msinet-0.1.0-py3-none-any.whl", "archive_info": {}},
            '"msinet[cpu] @ file:///tmp/msinet-0.1.0-py3-none-any.whl"',
        ),
        (
            {"url": "https://x.org/m.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            '"msinet[cpu] @ git+https://x.org/m.git@abc"',
        ),
    ],
)
def test_from_elsewhere_the_origin_is_named(
    installed_from: Callable[[Any], None], origin: Any, requirement: str
) -> None:
    installed_from(origin)
    assert installable(COMMAND).endswith(f"&& pip install {requirement}")


def test_for_another_machine_no_path_of_this_one_is_named(
    installed_from: Callable[[Any], None],
) -> None:
    installed_from({"url": "file:///home/me/msinet", "dir_info": {}})
    text = installable('On a Mac with Apple silicon: pip install "msinet[metal]"')
    assert '".[metal]"' in text
    assert "/home/me" not in text
    assert installable("On a Mac: buy one") == "On a Mac: buy one"


def test_only_editable_distributions_have_a_source_folder(
    installed_from: Callable[[Any], None],
) -> None:
    installed_from({"url": "file:///home/my%20code", "dir_info": {"editable": True}})
    assert editable_folder("msinet") == "/home/my code"
    installed_from({"url": "file:///home/my%20code", "dir_info": {}})
    assert editable_folder("msinet") is None
