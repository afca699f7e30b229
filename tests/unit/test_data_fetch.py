"""Published datasets, from archives with the inner layout of the real ones to a sound folder."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from msinet_core.data import fetch
from msinet_core.data.check import check_dataset
from msinet_core.data.dataset import survey
from msinet_core.data.download import transfer, unzip
from msinet_core.data.fetch import fetch_dataset
from msinet_core.data.maps import saliency_map
from msinet_core.data.published import PUBLISHED, Source
from msinet_core.errors import DataError, InterruptedRunError, MsinetError, UsageError
from msinet_core.system.files import _host

SIZE = (24, 32)
SHARED = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared"))
OSIE = SHARED / "data" / "osie" / "fixations.mat"


def picture(
    kind: str,
    size: tuple[int, int] = SIZE,
    mode: str = "RGB",
    point: Any = None,
    shade: int = 90,
) -> bytes:
    pixels = np.full((*size, 3) if mode == "RGB" else size, 0 if mode == "L" else shade, np.uint8)
    if mode == "L":
        pixels[point or (5, 7)] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=95)
    return stream.getvalue()


def matlab(**variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def pascal_fixations(tables: Iterable[np.ndarray]) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        cells = file.create_dataset("fixCell", (1, 3), h5py.ref_dtype)
        for number, table in enumerate(tables):
            cells[0, number] = file.create_dataset(f"#refs#/{number}", data=table).ref
    return stream.getvalue()


JPEG, PNG, POINTS = picture("JPEG"), picture("PNG"), picture("PNG", mode="L")
GRAY = picture("JPEG", mode="L")
MASK = np.zeros(SIZE)
MASK[5, 7] = 1
GAZE = np.array([(([[8, 6]],))], dtype=[("fixations", object)])
NOISE = {"__MACOSX/._x.jpg": b"", "__MACOSX/a.mat": b"", "readme.txt": b"hello"}
OMRON = np.array([[7, 5, 1], [32, 24, 0], [0, 0, 2], [31, 23, 2]], np.int32)
PASCAL = np.array([[6.0, 1, 24], [8, 1, 32], [1, 2, 2]])


def osie_fixations(names: list[str]) -> bytes:
    def struct(**fields: Any) -> np.ndarray:
        array = np.empty((1, 1), [(name, object) for name in fields])
        array[0, 0] = tuple(fields.values())
        return array

    images = np.empty((len(names), 1), object)
    for number, name in enumerate(names):
        subjects = np.empty((1, 1), object)
        subjects[0, 0] = struct(fix_x=np.array([[8.0]]), fix_y=np.array([[6.0]]))
        images[number, 0] = struct(img=name, subjects=subjects)
    return matlab(fixations=images)


ARCHIVES: dict[str, list[dict[str, bytes]]] = {
    "salicon": [
        {f"images/{split}/{n}.jpg": JPEG for split, n in (("train", 1), ("train", 2), ("val", 3))}
        | {"images/test/9.jpg": JPEG},
        {f"{split}/{n}.mat": matlab(gaze=GAZE) for split, n in (("train", 1), ("val", 3))}
        | {"test/9.mat": b""},
        {f"{split}/{n}.png": POINTS for split, n in (("train", 1), ("train", 2), ("val", 3))},
    ],
    "mit1003": [
        {f"ALLSTIMULI/i{n}.jpeg": JPEG for n in range(3)} | {"ALLSTIMULI/DatabaseCode/x.m": b""},
        {f"ALLFIXATIONMAPS/i{n}_fixMap.jpg": GRAY for n in range(3)}
        | {f"ALLFIXATIONMAPS/i{n}_fixPts.jpg": GRAY for n in range(3)}
        | {"ALLFIXATIONMAPS/i05june05_static_street_boston_p1010764fixPts.jpg": GRAY},
    ],
    "cat2000": [
        {f"trainSet/Stimuli/Art/00{n}.jpg": JPEG for n in range(3)}
        | {f"trainSet/FIXATIONMAPS/Art/00{n}.jpg": GRAY for n in range(3)}
        | {f"trainSet/FIXATIONLOCS/Art/00{n}.mat": matlab(fixLocs=MASK) for n in range(3)}
        | {"trainSet/Stimuli/Art/Output/000_SaliencyMap.jpg": GRAY}
        | {"trainSet/FIXATIONMAPS/Art/Output/000_SaliencyMap.jpg": GRAY}
        | {"trainSet/allFixData.mat": b"not wanted"},
    ],
    "dutomron": [
        {f"DUT-OMRON-image/im{n}.jpg": JPEG for n in range(3)}
        | {"DUT-OMRON-image/._im0.jpg": b"not wanted"},
        {f"DUT-OMRON-eye-fixations/mat/im{n}.mat": matlab(s=OMRON) for n in range(3)},
    ],
    "pascals": [
        {f"datasets/imgs/pascal/{n}.jpg": JPEG for n in (1, 2, 3)}
        | {"datasets/imgs/ft/4.jpg": JPEG, "datasets/masks/pascal/1.png": PNG}
        | {f"algmaps/pascal/humanFix/{n}.png": POINTS for n in (1, 2, 3)}
        | {"algmaps/pascal/itti/1.png": POINTS}
        | {"datasets/fixations/pascalFix.mat": pascal_fixations([PASCAL] * 3)},
    ],
    "osie": [
        {f"x-master/data/stimuli/100{n}.jpg": JPEG for n in (1, 2, 3)}
        | {"x-master/data/attrs/1.jpg": JPEG}
        | {"x-master/data/eye/fixations.mat": osie_fixations([f"100{n}.jpg" for n in (1, 2, 3)])},
    ],
    "fiwi": [
        {f"webpage/stimuli/{n}.png": PNG for n in (1, 2, 3)}
        | {f"webpage/fixation/all5/{n}.png": POINTS for n in (1, 2, 3)}
        | {f"webpage/fixation/all1/{n}.png": POINTS for n in (1, 2, 3)},
    ],
}


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for shade, (name, content) in enumerate(members.items(), 30):
            kind = {JPEG: "JPEG", PNG: "PNG"}.get(content)  # the same picture twice is a problem
            archive.writestr(name, picture(kind, shade=shade % 200) if kind else content)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve all archives from a folder, and call 2 images for training and 1 for validation all."""
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, archives in ARCHIVES.items():
        sources = []
        for source, members in zip(PUBLISHED[name].sources, archives, strict=True):
            zipped(folder / source.file, {**NOISE, **members})
            url = f"http://127.0.0.1:{server.server_address[1]}/{source.file}"
            sources.append(Source(source.what, url, name=source.file))
        small = replace(PUBLISHED[name], sources=tuple(sources), train=2, valid=1, categories=1)
        monkeypatch.setitem(PUBLISHED, name, small)
    monkeypatch.setattr(
        "platformdirs.user_cache_path", lambda name, **options: tmp_path / "cache" / name
    )
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def get(name: str, root: Path, **options: Any) -> fetch.Fetched:
    return fetch_dataset(name, root, **options)


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_every_published_dataset_becomes_a_valid_folder(
    served: Path, tmp_path: Path, name: str
) -> None:
    fetched = get(name, tmp_path / "sets")
    assert (fetched.images, fetched.archives) == (3, ())
    assert fetched.folder == tmp_path / "sets" / name
    report = check_dataset(name, tmp_path / "sets")
    assert report.problems == []
    assert (len(report.dataset.train), len(report.dataset.valid)) == (2, 1)
    assert report.fixations
    assert report.outside == 0
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == [name]
    assert not (tmp_path / "cache" / "msinet" / "downloads" / name).exists()
    unwanted = ("Output", "readme", "MACOSX", "test", "all1", "itti", "attrs", "boston")
    kept = [str(path.relative_to(fetched.folder)) for path in fetched.folder.rglob("*")]
    assert not [path for path in kept if any(word in path for word in unwanted)]


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_fixations_are_those_of_the_archive(served: Path, tmp_path: Path, name: str) -> None:
    get(name, tmp_path)
    dataset, _ = survey(name, tmp_path)
    fixations = dataset.train[0].read_fixations()
    assert fixations is not None
    assert [5, 7] in np.concatenate(fixations.observers).tolist()


@pytest.mark.parametrize(
    ("name", "sigma", "points"),
    [("dutomron", 16, [[[5, 7]], [[0, 0], [23, 31]]]), ("fiwi", 30, [[[5, 7]]])],
)
def test_maps_are_blurred_with_the_published_sigma(
    served: Path, tmp_path: Path, name: str, sigma: float, points: list[list[list[int]]]
) -> None:
    get(name, tmp_path)
    dataset, _ = survey(name, tmp_path)
    sample = dataset.train[0]
    found = sample.read_fixations()
    assert found is not None
    assert [observer.tolist() for observer in found.observers] == points
    np.testing.assert_array_equal(sample.read_map(), saliency_map(found, SIZE, sigma))


def test_observers_of_pascal_are_distinguished_and_count_from_one(
    served: Path, tmp_path: Path
) -> None:
    folder = get("pascals", tmp_path).folder
    table = (folder / "fixations" / "2.csv").read_text()
    assert table == "observer,x,y\n1,7,5\n2,0,0\n2,31,23\n"
    assert not (folder / "fixations" / "pascalFix.mat").exists()


def test_archives_are_kept_on_request(served: Path, tmp_path: Path) -> None:
    fetched = get("mit1003", tmp_path, keep=True)
    cache = tmp_path / "cache" / "msinet" / "downloads" / "mit1003"
    assert fetched.archives == (cache / "ALLSTIMULI.zip", cache / "ALLFIXATIONMAPS.zip")
    assert all(archive.is_file() for archive in fetched.archives)


def test_an_archive_saved_by_hand_is_used(served: Path, tmp_path: Path) -> None:
    by_hand = tmp_path / "cache" / "msinet" / "downloads" / "osie"
    by_hand.mkdir(parents=True)
    file = PUBLISHED["osie"].sources[0].file
    (served / file).rename(by_hand / file)
    assert get("osie", tmp_path).images == 3


def test_an_existing_dataset_is_not_downloaded(served: Path, tmp_path: Path) -> None:
    (tmp_path / "osie").mkdir()
    (tmp_path / "osie" / "mine.txt").touch()
    assert get("osie", tmp_path) == fetch.Fetched(tmp_path / "osie")
    assert [path.name for path in (tmp_path / "osie").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(served: Path, tmp_path: Path) -> None:
    (tmp_path / "osie").mkdir()
    assert get("osie", tmp_path).images == 3


def test_names_that_cannot_be_downloaded_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'salicon'"):
        get("salicom", tmp_path)
    with pytest.raises(UsageError, match="--data demo"):
        get("demo", tmp_path)


def test_a_missing_archive_is_named_with_address_and_file(served: Path, tmp_path: Path) -> None:
    source = PUBLISHED["fiwi"].sources[0]
    (served / source.file).unlink()
    with pytest.raises(MsinetError, match="404") as error:
        get("fiwi", tmp_path / "sets")
    place = tmp_path / "cache" / "msinet" / "downloads" / "fiwi" / source.file
    assert source.address in str(error.value)
    assert str(place) in str(error.value)
    assert not (tmp_path / "sets").exists()


def refuse(served: Path, tmp_path: Path, members: dict[str, bytes], match: str) -> str:
    """Serve something else as OSIE; return the message, and see that nothing was written."""
    zipped(served / PUBLISHED["osie"].sources[0].file, members)
    return refused(tmp_path, match)


def refused(tmp_path: Path, match: str) -> str:
    with pytest.raises(DataError, match=match) as error:
        get("osie", tmp_path / "sets")
    assert list((tmp_path / "sets").iterdir()) == []
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "/etc/evil.jpg", "data/stimuli/../../../evil.jpg", "C:/evil", "..\\evil"],
)
def test_an_archive_with_a_path_outside_its_folder_is_refused(
    served: Path, tmp_path: Path, name: str
) -> None:
    refuse(served, tmp_path, {**ARCHIVES["osie"][0], name: b"evil"}, "evil")
    assert not list(tmp_path.rglob("evil*"))


def test_a_link_is_refused(served: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("x/data/stimuli/1001.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(served / PUBLISHED["osie"].sources[0].file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(tmp_path, r"1001\.jpg")


def test_a_file_that_occurs_twice_is_refused(served: Path, tmp_path: Path) -> None:
    twice = {"a/data/stimuli/1.jpg": JPEG, "b/data/stimuli/1.jpg": JPEG}
    refuse(served, tmp_path, twice, r"1\.jpg")


def test_an_encrypted_file_is_refused(served: Path, tmp_path: Path) -> None:
    path = served / PUBLISHED["osie"].sources[0].file
    zipped(path, {"a/data/stimuli/1.jpg": JPEG})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(tmp_path, r"1\.jpg")


def test_bombs_are_refused_before_anything_is_unpacked(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = {f"a/data/stimuli/{n}.jpg": bytes(20_000) for n in range(3)}
    for limit, value, match in (
        ("LARGEST_MEMBER", 10_000, "20,000 bytes"),
        ("LARGEST_TOTAL", 50_000, "60,000 bytes"),
        ("MOST_MEMBERS", 2, " 3 "),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(unzip, limit, value)
            refuse(served, tmp_path, bomb, match)


def test_a_member_with_a_false_size_is_truncated_and_refused(served: Path, tmp_path: Path) -> None:
    path = served / PUBLISHED["osie"].sources[0].file
    zipped(path, {"a/data/stimuli/1.jpg": bytes(1_000_000)})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    refused(tmp_path, "master.zip")


def test_a_disk_that_is_too_small_is_refused_before_unpacking(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr(unzip.shutil, "disk_usage", lambda path: Usage)
    monkeypatch.setattr("msinet_core.data.download.transfer.shutil.disk_usage", lambda path: Usage)
    archive = tmp_path / "cache" / "msinet" / "downloads" / "osie"
    archive.mkdir(parents=True)
    file = PUBLISHED["osie"].sources[0].file
    (served / file).rename(archive / file)
    refused(tmp_path, " 100 bytes")


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_archive_is_refused(served: Path, tmp_path: Path, damage: str) -> None:
    path = served / PUBLISHED["osie"].sources[0].file
    content = bytearray(path.read_bytes())
    at = content.index(JPEG[:8]) if JPEG[:8] in content else 200
    content[at + 20] ^= 255
    path.write_bytes({"cut": content[:-300], "flipped": content, "text": b"not a zip"}[damage])
    refused(tmp_path, "master.zip")


def test_an_incomplete_archive_does_not_become_a_dataset(served: Path, tmp_path: Path) -> None:
    members = dict(ARCHIVES["osie"][0])
    del members["x-master/data/stimuli/1002.jpg"]
    message = refuse(served, tmp_path, members, "OSIE")
    assert "stimuli/1002.jpg" in message


@pytest.mark.parametrize(
    ("name", "member", "content", "match"),
    [
        ("dutomron", "DUT-OMRON-eye-fixations/mat/im0.mat", matlab(t=1), "DUT-OMRON's fixations"),
        ("dutomron", "DUT-OMRON-eye-fixations/mat/im0.mat", matlab(s=OMRON[:1]), "DUT-OMRON's"),
        ("pascals", "datasets/fixations/pascalFix.mat", matlab(a=1), "PASCAL-S' fixations"),
    ],
)
def test_fixations_in_another_form_are_refused(
    served: Path, tmp_path: Path, name: str, member: str, content: bytes, match: str
) -> None:
    zipped(served / PUBLISHED[name].sources[-1].file, {**ARCHIVES[name][-1], member: content})
    with pytest.raises(DataError, match=match):
        get(name, tmp_path / "sets")
    assert list((tmp_path / "sets").iterdir()) == []


def test_ctrl_c_while_unpacking_leaves_nothing_half(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(member: unzip.Member, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unzip.Member, "write", interrupt)
        with pytest.raises(InterruptedRunError, match="osie"):
            get("osie", tmp_path / "sets")
    assert list((tmp_path / "sets").iterdir()) == []
    for archive in served.iterdir():
        archive.unlink()
    assert get("osie", tmp_path / "sets").images == 3


def test_leftovers_of_a_kill_while_unpacking_are_removed(served: Path, tmp_path: Path) -> None:
    left = tmp_path / "sets" / f".msinet-{_host()}-{2**22 + 1}-0123abcd.tmp"
    (left / "stimuli").mkdir(parents=True)
    get("osie", tmp_path / "sets")
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["osie"]


def test_a_root_that_cannot_be_written_is_refused_before_the_download(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MsinetError, match="file"):
        get("osie", tmp_path / "file")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_created_keeps_the_archives(served: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "osie").touch()
    with pytest.raises(MsinetError, match="osie"):
        get("osie", tmp_path / "sets")
    assert list((tmp_path / "cache").rglob(PUBLISHED["osie"].sources[0].file))


def test_the_real_osie_archive_is_read_with_real_fixations(served: Path, tmp_path: Path) -> None:
    if not OSIE.exists():
        pytest.skip("../shared/data/osie is not here")
    members = {f"p-master/data/stimuli/{n}.jpg": JPEG for n in range(1001, 1701)}
    members["p-master/data/eye/fixations.mat"] = OSIE.read_bytes()
    zipped(served / PUBLISHED["osie"].sources[0].file, members)
    PUBLISHED["osie"] = replace(PUBLISHED["osie"], train=500, valid=200)
    assert get("osie", tmp_path).images == 700


def test_every_published_set_has_a_recipe_and_a_file_name() -> None:
    assert list(fetch.RECIPES) == list(PUBLISHED)
    for known in PUBLISHED.values():
        assert len({source.file for source in known.sources}) == len(known.sources)


@pytest.mark.parametrize("name", ["osie", "mit1003", "pascals"])
def test_archives_obtained_by_hand_need_no_network(served: Path, tmp_path: Path, name: str) -> None:
    fetched = fetch_dataset(name, tmp_path / "sets", source=served)
    assert fetched.images == 3
    assert check_dataset(name, tmp_path / "sets").problems == []
    assert all((served / source.file).is_file() for source in PUBLISHED[name].sources)


def test_one_archive_may_have_any_name(served: Path, tmp_path: Path) -> None:
    (served / PUBLISHED["osie"].sources[0].file).rename(tmp_path / "my copy.zip")
    assert fetch_dataset("osie", tmp_path / "sets", source=tmp_path / "my copy.zip").images == 3


def test_an_unpacked_folder_is_used_and_not_changed(served: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    for source in PUBLISHED["mit1003"].sources:
        with zipfile.ZipFile(served / source.file) as archive:
            archive.extractall(unpacked)
    before = sorted(unpacked.rglob("*"))
    assert fetch_dataset("mit1003", tmp_path / "sets", source=unpacked).images == 3
    assert sorted(unpacked.rglob("*")) == before


def test_a_checksum_that_differs_is_named_and_may_be_accepted(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = PUBLISHED["osie"].sources
    known = replace(PUBLISHED["osie"], sources=(replace(source, checksum="md5:" + "0" * 32),))
    monkeypatch.setitem(PUBLISHED, "osie", known)
    with pytest.raises(DataError, match="expected 0000"):
        fetch_dataset("osie", tmp_path / "sets", source=served)
    assert not (tmp_path / "sets" / "osie").exists()
    fetched = fetch_dataset("osie", tmp_path / "sets", source=served, any_checksum=True)
    assert fetched.images == 3


def test_what_is_not_the_dataset_is_refused(served: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        fetch_dataset("osie", tmp_path / "sets", source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="OSIE") as error:
        fetch_dataset("osie", tmp_path / "sets", source=tmp_path / "empty")
    assert str(tmp_path / "empty") in str(error.value)
    assert "download" not in str(error.value)
    (served / PUBLISHED["mit1003"].sources[1].file).unlink()
    with pytest.raises(UsageError, match=r"ALLFIXATIONMAPS\.zip"):
        fetch_dataset("mit1003", tmp_path / "sets", source=served)
    assert not (tmp_path / "sets").exists() or not any((tmp_path / "sets").iterdir())
