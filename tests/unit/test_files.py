"""A file is either the old one or the new one, whatever happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from msinet_core.errors import MsinetError
from msinet_core.system.files import (
    atomic_folder,
    atomic_path,
    move_into_place,
    write_bytes,
    write_text,
)


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "grün")
    write_bytes(tmp_path / "deep" / "b.bin", b"\x00\x01")
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "grün"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.txt", "b.bin"]


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(MsinetError, match="the disk is full") as caught:  # noqa: SIM117
        with atomic_path(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "unchanged" in str(caught.value)
    assert path.read_text() == "old"


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MsinetError, match="Could not write"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    dead = tmp_path / ".a.txt.999999999-1.tmp"
    dead.write_text("left")
    alive = tmp_path / f".a.txt.{os.getppid()}-1.tmp"
    alive.write_text("being written")
    write_text(path, "new")
    assert not dead.exists()
    assert alive.exists()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "set"
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []
    target.mkdir()  # an empty one is replaced
    with atomic_folder(target) as folder:
        (folder / "a").write_text("whole")
        assert list(target.iterdir()) == []
    assert (target / "a").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_a_folder_that_is_not_empty_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "set") as folder:
        (folder / "a").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine"]


def test_a_finished_file_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "finished").write_text("new")
    (tmp_path / "name").write_text("old")
    move_into_place(tmp_path / "finished", tmp_path / "name")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("name", "new")]
