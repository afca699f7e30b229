"""Archives bent in any way give their files, or a sentence, and never anything outside."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.data.download.unzip import open_zip
from msinet_core.errors import DataError

CONTENT = {"a/one.jpg": bytes(3000), "a/two.jpg": b"two" * 100, "a/three.jpg": b""}


def archive(compression: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as target:
        for name, content in CONTENT.items():
            target.writestr(name, content)
    return stream.getvalue()


ARCHIVES = [archive(kind) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


def unpack(data: bytes) -> dict[str, bytes] | str:
    """Unpack everything into an empty folder; return the files, or the message."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.zip").write_bytes(data)
        try:
            with open_zip(folder / "x.zip") as members:
                for number, member in enumerate(members):
                    member.write(folder / "out" / str(number))
                return {
                    member.name: (folder / "out" / str(number)).read_bytes()
                    for number, member in enumerate(members)
                }
        except DataError as error:
            return str(error)


def test_common_compressions_are_unpacked() -> None:
    assert [unpack(data) for data in ARCHIVES] == [CONTENT] * 2


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_could_fill_the_memory_are_refused(kind: int) -> None:
    assert f" {kind}" in unpack(archive(kind))


def test_a_file_without_a_name_is_skipped() -> None:
    bent = ARCHIVES[0].replace(b"a/two.jpg", b"\0/two.jpg")
    assert unpack(bent) == {name: data for name, data in CONTENT.items() if "two" not in name}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ARCHIVES), st.data())
def test_flipped_bytes_give_files_or_an_error(whole: bytes, data: st.DataObject) -> None:
    bent = bytearray(whole)
    for index in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        bent[index] ^= data.draw(st.integers(1, 255))
    found = unpack(bytes(bent))
    if isinstance(found, dict):  # what nothing checks: names, dates, attributes
        assert all(content in CONTENT.values() for content in found.values())
    else:
        assert "x.zip" in found


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(ARCHIVES), st.data())
def test_truncated_archives_give_an_error(whole: bytes, data: st.DataObject) -> None:
    found = unpack(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert isinstance(found, str)
    assert "x.zip" in found


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["..", ".", "a", "~", "C:", "/", "\\", "//", "\\\\host", "…", " "]),
        min_size=1,
        max_size=5,
    )
)
def test_names_stay_inside_or_are_refused(parts: list[str]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr("".join(f"{part}/" for part in parts) + "x.jpg", b"x")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        path.write_bytes(stream.getvalue())
        try:
            with open_zip(path) as members:
                names = [member.name for member in members]
        except DataError as error:
            assert "x.zip" in str(error)
        else:
            for name in names:
                assert ".." not in Path(name).parts
                assert not Path(name).is_absolute()
                assert "\\" not in name
