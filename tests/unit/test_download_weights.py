"""Published weights by name: from the archive to what `read_weights` takes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from msinet_core import convert, inspect
from msinet_core.checkpoint import published
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.published import MODELS, fetch_vgg16, resolve_weights
from msinet_core.data.published import PUBLISHED
from msinet_core.errors import CheckpointError, DataError, UsageError

TINY = Path(__file__).parent / "data" / "checkpoints"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "platformdirs.user_cache_path", lambda *_, **options: tmp_path / "cache" / "msinet"
    )
    return tmp_path / "cache" / "msinet" / "weights"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were asked for; the answer is an archive with the members in `MEMBERS`."""
    asked: list[str] = []

    def download(url: str, target: Path, **options: Any) -> Path:
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w") as archive:
            for name, content in MEMBERS.items():
                archive.writestr(name, content)
        return target

    monkeypatch.setattr(published, "download", download)
    return asked


CHECKPOINT = {
    "model_salicon_cpu.ckpt.index": (TINY / "tiny_tf1.ckpt.index").read_bytes(),
    "model_salicon_cpu.ckpt.data-00000-of-00001": (
        TINY / "tiny_tf1.ckpt.data-00000-of-00001"
    ).read_bytes(),
}
MEMBERS: dict[str, bytes] = {}


@pytest.fixture(autouse=True)
def members(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    MEMBERS.clear()
    MEMBERS.update(CHECKPOINT, **{"readme.txt": b"", "model_salicon_cpu.pb": b"frozen"})
    return MEMBERS


def test_a_file_is_a_file(tmp_path: Path) -> None:
    assert resolve_weights(tmp_path / "a.h5") == tmp_path / "a.h5"
    assert resolve_weights("best.msinet.h5") == Path("best.msinet.h5")


def test_a_published_checkpoint_is_unpacked_once(cache: Path, asked: list[str]) -> None:
    prefix = cache / "published-salicon" / "model_salicon_cpu.ckpt"
    for _ in range(2):
        assert resolve_weights(Path("published:salicon")) == prefix
    assert asked == [f"https://drive.google.com/uc?export=download&id={MODELS['salicon']}"]
    assert sorted(path.name for path in cache.iterdir()) == ["published-salicon"]
    assert not (cache / "published-salicon" / "readme.txt").exists()
    assert find_format(prefix).name == "tf1"


def test_an_archive_that_an_interrupted_command_left_is_removed(
    cache: Path, asked: list[str]
) -> None:
    prefix = resolve_weights("published:salicon")
    (cache / "published-salicon.zip").write_bytes(b"left")
    assert resolve_weights("published:salicon") == prefix
    assert [path.name for path in cache.iterdir()] == ["published-salicon"]


def test_processes_may_unpack_the_same_archive(
    cache: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack = published._unpack

    def twice(archive: Path, folder: Path) -> None:
        unpack(archive, folder)  # by another process
        archive.unlink()
        unpack(archive, folder)

    monkeypatch.setattr(published, "_unpack", twice)
    assert resolve_weights("published:salicon").parent == cache / "published-salicon"


def test_a_published_frozen_graph_is_found(
    cache: Path, asked: list[str], members: dict[str, bytes]
) -> None:
    for name in CHECKPOINT:
        del members[name]
    found = resolve_weights("published:salicon")
    assert found == cache / "published-salicon" / "model_salicon_cpu.pb"
    assert found.read_bytes() == b"frozen"


def test_an_archive_without_a_model_is_refused(
    cache: Path, asked: list[str], members: dict[str, bytes]
) -> None:
    members.clear()
    members["photo.jpg"] = b""
    with pytest.raises(CheckpointError, match=r"published-osie\.zip"):
        resolve_weights("published:osie")
    assert sorted(path.name for path in cache.iterdir()) == ["published-osie.zip"]


def test_an_archive_that_leads_out_of_its_folder_is_refused(
    cache: Path, asked: list[str], members: dict[str, bytes]
) -> None:
    members["../../model_evil.pb"] = b"evil"
    with pytest.raises(DataError, match="model_evil"):
        resolve_weights("published:salicon")
    assert not list(cache.parent.parent.rglob("*evil*"))


def test_published_weights_can_be_inspected(cache: Path, asked: list[str]) -> None:
    found = inspect("published:salicon")
    assert found.file == str(cache / "published-salicon" / "model_salicon_cpu.ckpt")


def test_published_weights_name_the_published_network(
    tmp_path: Path, cache: Path, asked: list[str]
) -> None:
    source, target = TINY / "tiny_tf1.ckpt", tmp_path / "x.msinet.h5"
    with pytest.raises(CheckpointError, match="46 weights; 45 tensors differ"):
        convert(source, target, network="published:salicon")
    with pytest.raises(UsageError, match="published:salicon was trained with asymmetric"):
        convert(source, target, network="published:salicon", resize="half_pixel")


def test_an_unknown_name_is_wrong_usage(asked: list[str]) -> None:
    with pytest.raises(UsageError, match="'published:salicon'"):
        resolve_weights("published:salcon")
    assert asked == []


def test_a_name_that_is_near_none_gets_no_suggestion() -> None:
    with pytest.raises(UsageError) as error:
        resolve_weights("published:foo")
    assert "Did you mean" not in str(error.value)


def test_there_are_weights_for_every_published_data_set() -> None:
    assert list(MODELS) == list(PUBLISHED)


def test_vgg16_is_what_keras_publishes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def download(url: str, target: Path, **options: Any) -> Path:
        given.update(options, url=url)
        return target

    monkeypatch.setattr(published, "download", download)
    assert fetch_vgg16() == cache / published.VGG16_FILE
    assert given == {
        "url": published.VGG16_ADDRESS,
        "checksum": "md5:6d6bbae143d832006294945121d1f1fc",
        "limit": 2**30,
        "progress": None,
    }
