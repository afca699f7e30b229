"""``msinet-run data fetch``, and how downloads are shown."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msinet_core.data.published import PUBLISHED, Source
from msinet_core.system import progress_bars as progress


def png(point: tuple[int, int]) -> bytes:
    pixels = np.zeros((24, 32), np.uint8)
    pixels[point] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FIWI of three images whose archive was saved in the cache by hand; no server has it."""
    source = Source("everything", "https://127.0.0.1:1/webpage_dataset.zip")
    monkeypatch.setitem(
        PUBLISHED, "fiwi", replace(PUBLISHED["fiwi"], train=2, valid=1, sources=(source,))
    )
    monkeypatch.setattr(
        "platformdirs.user_cache_path", lambda name, **options: tmp_path / "cache" / name
    )
    path = tmp_path / "cache" / "msinet" / "downloads" / "fiwi" / source.file
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as target:
        for number in (1, 2, 3):
            target.writestr(f"w/stimuli/{number}.png", png((3, number)))
            target.writestr(f"w/all5/{number}.png", png((9, number)))
    return path


def test_fetch_creates_a_valid_dataset(run, archive):
    result = run("data", "fetch", "fiwi", "--data-root", "sets")
    assert result.exit_code == 0, result.output
    assert str(Path("sets/fiwi")) in result.stdout
    assert "--data fiwi --data-root sets" in result.stdout
    assert "6/6 files" in result.stderr
    assert not archive.exists()
    checked = run("data", "check", "fiwi", "--data-root", "sets", "--json")
    document = json.loads(checked.stdout)
    assert (document["train"], document["valid"], document["problems"]) == (2, 1, [])


def test_fetch_keeps_the_archive_on_request_and_an_existing_dataset(run, archive):
    kept = run("data", "fetch", "fiwi", "--keep")
    assert str(archive) in kept.stdout
    assert archive.exists()
    again = run("data", "fetch", "fiwi")
    assert again.exit_code == 0
    assert str(Path("data/fiwi")) in again.stdout


def test_a_failed_download_ends_with_1_and_both_addresses(run, archive, monkeypatch):
    monkeypatch.setattr("msinet_core.data.download.transfer.time.sleep", lambda seconds: None)
    archive.unlink()
    result = run("data", "fetch", "fiwi")
    assert result.exit_code == 1
    assert "https://127.0.0.1:1/webpage_dataset.zip" in result.stderr
    assert str(archive) in result.stderr


def test_an_unknown_name_is_wrong_usage(run):
    result = run("data", "fetch", "fiwo")
    assert result.exit_code == 2
    assert "'fiwi'" in result.stderr


def test_unknown_published_weights_are_wrong_usage(run, tmp_path, tiny_data):
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    for command in (
        ("predict", "a.png", "--weights", "published:fiwo"),
        ("train", "--data", tiny_data, "--init", "published:fiwo"),
        ("convert", "published:fiwo", "a.msinet.h5"),
    ):
        result = run("--device", "reference", *command)
        assert result.exit_code == 2, result.output
        assert "'published:fiwi'" in result.stderr


def test_bytes_are_shown_as_megabytes(capsys, monkeypatch):
    seconds = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds)
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 2.0)
    display = progress.progress_bars()
    with display.task("a.zip", 3_000_000, "bytes") as task:
        for _ in range(3):
            seconds += 1
            task.advance(1_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "a.zip  2.0/3.0 MB  1.00 MB/s  0:01 left",
        "a.zip  3.0/3.0 MB  1.00 MB/s  0:00 left",
    ]
    with display.task("of unknown size", 0, "bytes") as task:
        for _ in range(2):
            seconds += 1
            task.advance(500_000)
    assert capsys.readouterr().err.splitlines() == ["of unknown size  1.0 MB  0.50 MB/s"]


def test_bytes_are_shown_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    display = progress.progress_bars()
    with display.task("a.zip", 3_000_000, "bytes") as task:
        task.advance(3_000_000)
    with display.task("of unknown size", 0, "bytes") as task:
        task.advance(500_000)
    shown = terminal.getvalue()
    assert "3.0/3.0 MB" in shown
    assert "500.0/? kB" in shown
