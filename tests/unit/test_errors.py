"""Parts of messages: suggestions, reasons of the system, long lists."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from msinet_core.errors import MsinetError, bullet_list, did_you_mean, os_reason
from msinet_core.system.files import write_text


def test_the_nearest_name_is_suggested_whatever_its_case() -> None:
    assert did_you_mean("VGG", ("auto", "vgg16")) == " Did you mean 'vgg16'?"
    assert did_you_mean("salcon", ("SALICON",)) == " Did you mean 'SALICON'?"
    assert did_you_mean("elephant", ("auto", "vgg16")) == ""


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "the permission is missing"),
        (errno.EISDIR, "it is a folder and no file"),
        (errno.EPIPE, "as the system says"),
    ],
)
def test_the_systems_reasons_are_words(number: int, expected: str) -> None:
    assert os_reason(OSError(number, "as the system says")) == expected


def test_an_error_without_a_number_keeps_its_text() -> None:
    assert os_reason(OSError("lost")) == "lost"
    assert os_reason(OSError()) == "OSError"


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MsinetError, match=r"a file and no folder|of that name is there already"):
        write_text(tmp_path / "file" / "x.txt", "text")


def test_a_long_list_is_cut_and_debugging_shows_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSINET_DEBUG", raising=False)
    lines = [str(number) for number in range(9)]
    assert bullet_list(lines, 3).endswith("- 2\n  - ... and 6 more; MSINET_DEBUG=1 lists all")
    monkeypatch.setenv("MSINET_DEBUG", "1")
    assert bullet_list(lines, 3).endswith("  - 8")
