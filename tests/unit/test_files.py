"""A file is either the old one or the new one, whatever happens."""

from __future__ import annotations

import errno
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from msinet_core.errors import MsinetError
from msinet_core.system.files import (
    _host,
    atomic_folder,
    atomic_path,
    check_writable,
    check_writable_folder,
    is_stream,
    move_into_place,
    write_bytes,
    write_text,
)

HERE, ELSEWHERE = _host(), "another-host"
DEAD, ALIVE = 999999999, os.getppid()


def test_writing_creates_the_folder_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "grün\n")
    write_bytes(tmp_path / "deep" / "b.bin", b"\x00\x01")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "grün\n".encode()
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.txt", "b.bin"]


@pytest.mark.parametrize("supported", [True, False])
def test_macos_empties_the_cache_of_the_disk_too(
    supported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    commands: list[int] = []

    def control(descriptor: int, command: int) -> int:
        commands.append(command)
        if not supported:
            raise OSError(errno.ENOTSUP, "Operation not supported")
        return 0

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    write_text(tmp_path / "a.txt", "text")
    assert commands == [51, 51]  # the file and its folder
    assert (tmp_path / "a.txt").read_text() == "text"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_text(path, "text")
    assert path.read_text() == "text"


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    full = os.strerror(errno.ENOSPC)
    with pytest.raises(MsinetError, match=full) as caught, atomic_path(path):
        raise OSError(errno.ENOSPC, full)
    assert path.read_text() == "old"
    assert "Free" in str(caught.value)


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MsinetError) as caught:
        write_text(tmp_path / "file" / "a.txt", "x")
    assert "Free" not in str(caught.value)  # space is not what is missing


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        (f".msinet-{HERE}-{DEAD}-0123abcd.tmp", False),
        (f".msinet-{HERE}-{ALIVE}-0123abcd.tmp", True),
        (f".msinet-{ELSEWHERE}-{DEAD}-0123abcd.tmp", True),
        (f".a.txt.{DEAD}-1.tmp", True),
        (f".msinet-{HERE}-{DEAD}-0123abcd.tmp.txt", True),
    ],
    ids=["dead", "alive", "another host", "another program", "another ending"],
)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_leftovers_of_our_own_dead_processes_are_removed(
    tmp_path: Path, name: str, stays: bool, kind: str
) -> None:
    leftover = tmp_path / name
    if kind == "file":
        leftover.write_text("left")
    else:
        leftover.mkdir()
        (leftover / "part").write_text("left")
    write_text(tmp_path / "a.txt", "new")
    assert leftover.exists() == stays


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
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
    with pytest.raises(MsinetError), atomic_folder(tmp_path / "set") as folder:
        (folder / "a").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine"]


def test_a_finished_file_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "finished").write_text("new")
    (tmp_path / "name").write_text("old")
    move_into_place(tmp_path / "finished", tmp_path / "name")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("name", "new")]


def test_the_file_that_a_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on Windows")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(pipe.read_text)
        write_text(pipe, "content")
        assert received.result(timeout=30) == "content"
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="not on Windows")
def test_a_device_file_is_written_to_and_not_replaced() -> None:
    check_writable(Path("/dev/null"))
    write_text(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for wrong in (tmp_path / "file" / "a.txt", tmp_path):
        with pytest.raises(MsinetError):
            check_writable(wrong)
    with pytest.raises(MsinetError):
        check_writable_folder(tmp_path / "file")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "a.txt")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ordinary_files_below_dev_are_replaced_and_not_overwritten() -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("this system has no /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "latest.msinet.h5"
        path.write_text("old")
        before = path.stat().st_ino
        assert not is_stream(path)
        write_text(path, "new")
        assert path.stat().st_ino != before
        with pytest.raises(MsinetError), atomic_path(path, replace=False) as temporary:
            temporary.write_text("newer")
        assert path.read_text() == "new"


def test_a_rename_that_fails_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(MsinetError), atomic_path(tmp_path / "a", replace=False) as temporary:
        temporary.write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has process namespaces")
def test_a_process_number_of_another_container_says_nothing(tmp_path: Path) -> None:
    inside = _host().rpartition("-")
    assert inside[0] == socket.gethostname()
    name = f".msinet-{inside[0]}-{int(inside[2]) + 1}-{DEAD}-0123abcd.tmp"
    (tmp_path / name).write_text("being written")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / name).exists()
