"""``msinet-run data fetch``: what it prints and how it ends, and how downloads are shown."""

from __future__ import annotations

import io
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
    """A FIWI of three images whose archive was put in the cache by hand; nobody serves it."""
    source = Source("everything", "https://127.0.0.1:1/webpage_dataset.zip", "webpage_dataset.zip")
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


def test_fetch_says_where_the_set_is_and_how_to_train(run, archive):
    result = run("data", "fetch", "fiwi", "--data-root", "sets")
    assert result.exit_code == 0, result.output
    assert f"fiwi is in {Path('sets/fiwi')}: 3 images with maps." in result.stdout
    assert "msinet-run train --data fiwi --data-root sets" in result.stdout
    assert "unpack webpage_dataset.zip  6/6 files" in result.stderr
    assert not archive.exists()
    checked = run("data", "check", "fiwi", "--data-root", "sets")
    assert "Data set fiwi is sound: 2 training and 1 validation images" in checked.stdout


def test_fetch_keeps_the_archive_when_asked_and_leaves_a_set_alone(run, archive):
    kept = run("data", "fetch", "fiwi", "--keep")
    assert f"Kept: {archive}" in kept.stdout
    again = run("data", "fetch", "fiwi")
    assert again.exit_code == 0
    assert f"{Path('data/fiwi')} is there already; nothing was downloaded" in again.stdout


def test_a_failed_download_ends_with_1_and_the_way_by_hand(run, archive, monkeypatch):
    monkeypatch.setattr("msinet_core.data.download.transfer.time.sleep", lambda seconds: None)
    archive.unlink()
    result = run("data", "fetch", "fiwi")
    assert result.exit_code == 1
    assert "Trying again in 4 s" in result.stderr
    assert (
        f"download https://127.0.0.1:1/webpage_dataset.zip by other means and put it at {archive}"
        in (result.stderr)
    )


def test_a_name_that_is_nothing_is_wrong_usage(run):
    result = run("data", "fetch", "fiwo")
    assert result.exit_code == 2
    assert "Did you mean 'fiwi'?" in result.stderr


def test_published_weights_that_nobody_published_are_wrong_usage(run, tmp_path, tiny_data):
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    for command in (
        ("predict", "a.png", "--weights", "published:fiwo"),
        ("train", "--data", tiny_data, "--init", "published:fiwo"),
        ("convert", "published:fiwo", "a.msinet.h5"),
    ):
        result = run("--device", "reference", *command)
        assert result.exit_code == 2, result.output
        assert "Did you mean 'published:fiwi'?" in result.stderr


def test_bytes_are_shown_as_megabytes(capsys, monkeypatch):
    seconds = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 2.0)
    display = progress.progress_bars()
    with display.task("a.zip", 3_000_000, "bytes") as task:
        for _ in range(3):
            task.advance(1_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "a.zip  2.0/3.0 MB  1.00 MB/s  0:01 left",
        "a.zip  3.0/3.0 MB  1.00 MB/s  0:00 left",
    ]
    with display.task("of unknown size", 0, "bytes") as task:
        for _ in range(2):
            task.advance(500_000)
    assert capsys.readouterr().err.splitlines() == ["of unknown size  1.0 MB  0.50 MB/s"]


def test_bytes_are_shown_on_a_terminal():
    from rich.console import Console

    display = progress._RichProgress()
    display._console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with display.task("a.zip", 3_000_000, "bytes") as task:
        task.advance(3_000_000)
    with display.task("of unknown size", 0, "bytes") as task:
        task.advance(500_000)
    shown = display._console.file.getvalue()
    assert "3.0/3.0 MB" in shown
    assert "500.0/? kB" in shown
