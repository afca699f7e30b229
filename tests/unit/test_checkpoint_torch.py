"""PyTorch's files without PyTorch: hostile and damaged ones harm nothing.

What PyTorch itself reads and writes is tested in tests/devices/test_convert_torch.py.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msinet_core import convert, inspect
from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.checkpoint.wire.pickle import Call, Global, read_pickle
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    source = tmp_path / "source.msinet.h5"
    save_checkpoint(source, Checkpoint(GRAPH, random_state(GRAPH, 1)))
    convert(source, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_pytorch_is_not_imported(path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import msinet_core as msinet; "
        "msinet.convert(sys.argv[1], sys.argv[2])"
    )
    again = path.with_name("again.pt")
    subprocess.run([sys.executable, "-c", code, path, again], check=True)
    assert again.read_bytes() == path.read_bytes()


def with_big_endian_values(content: dict[str, bytes]) -> None:
    content["archive/byteorder"] = b"big"


def without_pickle(content: dict[str, bytes]) -> None:
    del content["archive/data.pkl"]


def without_a_tensor(content: dict[str, bytes]) -> None:
    del content["archive/data/7"]


def with_a_short_tensor(content: dict[str, bytes]) -> None:
    content["archive/data/7"] = content["archive/data/7"][:-1]


def with_a_long_tensor(content: dict[str, bytes]) -> None:
    content["archive/data/7"] += b"\0"


def with_a_second_model(content: dict[str, bytes]) -> None:
    content["other/data.pkl"] = content["archive/data.pkl"]


@pytest.mark.parametrize(
    "change",
    [without_a_tensor, with_a_short_tensor, with_a_long_tensor],
)
def test_an_incomplete_archive_is_refused(
    path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    content = members(path)
    change(content)
    with pytest.raises(CheckpointError, match=path.name):
        read_weights(write(path, content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_big_endian_values, "big-endian"),
        (without_pickle, "0 members named data.pkl"),
        (with_a_second_model, "2 members named data.pkl"),
    ],
)
def test_an_archive_in_another_form_is_not_called_damaged(
    path: Path, change: Callable[[dict[str, bytes]], None], reason: str
) -> None:
    content = members(path)
    change(content)
    with pytest.raises(CheckpointError, match=f"x.pt .*{reason}") as error:
        read_weights(write(path, content))
    assert "again" not in str(error.value)


def test_an_old_file_of_a_big_endian_machine_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    parts = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}, {}, []
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(CheckpointError, match="big-endian") as error:
        read_weights(path)
    assert "damaged" not in str(error.value)


DEEP_TUPLE = b"K\x01" + b"K\x01\x86" * 190_000
"""Python crashes if it hashes this."""


@pytest.mark.parametrize(
    ("found", "keys"),
    [
        (
            b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + DEEP_TUPLE + b"X\0\0\0\0K\x01NtQ.",
            b"].",
        ),
        (b"}.", b"]" + DEEP_TUPLE + b"a."),
    ],
)
def test_names_of_storages_that_crash_python_are_refused(
    tmp_path: Path, found: bytes, keys: bytes
) -> None:
    path = tmp_path / "x.pt"
    parts = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + found + keys)
    code = "import sys; from msinet_core import inspect; inspect(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, path], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"CheckpointError" in done.stderr


def test_views_of_one_storage_are_read_up_to_a_limit(tmp_path: Path) -> None:
    count, views = 2**21, 50
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        b"X\x01\0\0\x000X\x03\0\0\0cpuJ"
        + struct.pack("<i", count)
        + b"tQK\0J"
        + struct.pack("<i", count)
        + b"\x85K\x01\x85\x89}tR"
    )
    names = [f"a{number}" for number in range(views)]
    items = (b"X" + struct.pack("<I", len(name)) + name.encode() + tensor for name in names)
    path = write(
        tmp_path / "x.pt",
        {"x/data.pkl": b"\x80\x02}(" + b"".join(items) + b"u.", "x/data/0": bytes(4 * count)},
    )
    found = inspect(path)
    assert found.tensors[0].not_finite == 0
    assert "would take" in found.damage[-1]
    assert 5 < views - len(found.damage) < 15  # three times the file plus 64 MiB


def test_changed_values_are_noticed_by_their_crc(path: Path) -> None:
    content = members(path)
    # Without the checksums that msinet adds, as in PyTorch's own files.
    content["archive/data.pkl"] = content["archive/data.pkl"].replace(b"sha256:", b"nobody:")
    write(path, content)
    read_weights(path)
    data = bytearray(path.read_bytes())
    data[data.index(content["archive/data/0"])] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="conv1/conv1_1/kernel"):
        read_weights(path)


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    bomb = write(tmp_path / "x.pt", {"x/data/0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        read_weights(bomb)


def refuse(identifier: object) -> Any:
    raise ValueError("no persistent objects here")


def read(data: bytes) -> Any:
    return read_pickle(io.BytesIO(data), refuse)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -5,
        2**70,
        0.5,
        "ä",
        (),
        (1,),
        (1, 2, 3, 4),
        [1, [2]],
        {"a": {"b": [1]}, "c": None},
    ],
)
def test_plain_data_are_read(value: object) -> None:
    assert read(pickle.dumps(value, 2)) == value


def test_a_call_is_data() -> None:
    call = read(b"cos\nsystem\n(X\5\0\0\0touchtR.")
    assert isinstance(call, Call)
    assert (call.function, call.arguments) == ("os.system", ("touch",))
    assert read(b"cos\nsystem\n.") == Global("os.system")


def test_an_ordered_dict_keeps_items_and_attributes() -> None:
    value = collections.OrderedDict(a=1)
    value.extra = 2  # type: ignore[attr-defined]
    call = read(pickle.dumps(value, 2))
    assert (call.function, call.items, call.state) == (
        "collections.OrderedDict",
        {"a": 1},
        {"extra": 2},
    )


TUPLE_OF_TWICE_THE_LAST = b"q\x01h\x01\x86"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02",
        b"}U",
        b"h\x05.",  # what was never stored
        b"]a.",
        b"(((",
        b"K\x01K\x02\x85b.",  # a state for a tuple
        b"\x82\x01.",  # an extension
        b"X" + struct.pack("<I", 2**32 - 1) + b"short",
        b"r" + struct.pack("<I", 2**32 - 1) + b".",  # nothing to store
        b"Qq.",
    ],
)
def test_broken_pickles_are_refused_at_once(data: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        read(data)


@pytest.mark.parametrize(
    "key",
    [b"K\x01" + TUPLE_OF_TWICE_THE_LAST * 200, DEEP_TUPLE, b"K\x01", b"N"],
    ids=["takes forever to hash", "crashes Python", "number", "None"],
)
def test_a_key_that_is_no_text_is_left_out(key: bytes) -> None:
    assert read(b"}(" + key + b"K\x02u.") == {}


def test_too_many_opcodes_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        read(b"N" * 1_000_001 + b".")


def test_a_large_index_takes_no_memory() -> None:
    assert read(b"Nr" + struct.pack("<I", 2**32 - 1) + b".") is None


def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / "x.pt"
    path.write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(CheckpointError):
        read_weights(path)
    assert not (tmp_path / "owned").exists()
