"""Truncated, flipped and hostile files in every format are refused with a sentence."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, describe, read_weights
from msinet_core.checkpoint.convert import convert
from msinet_core.checkpoint.native_save import save_checkpoint
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.01)
WEIGHTS = random_state(GRAPH, 1).weights
FILES = {
    "keras": "file.weights.h5",
    "keras2": "file_keras2.h5",
    "torch": "file_torch.safetensors",
    "mlx": "file_mlx.safetensors",
    "frozen": "file.pb",
    "savedmodel": "saved_model.pb",
    "keras-model": "file.keras",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small file of each format."""
    folder = tmp_path_factory.mktemp("files")
    source = folder / "source.msinet.h5"
    save_checkpoint(source, Checkpoint(GRAPH, random_state(GRAPH, 1)))
    for name, file in FILES.items():
        if name == "keras-model":
            with zipfile.ZipFile(folder / file, "w") as archive:
                archive.writestr("config.json", "{}")
                archive.write(folder / FILES["keras"], "model.weights.h5")
        else:
            convert(source, folder / file, name)
    return {name: folder / file for name, file in FILES.items()}


@pytest.fixture
def file(tmp_path: Path, files: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    """A copy of the file of the format that the test is parametrized with."""
    return Path(shutil.copy(files[request.param], tmp_path))


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_weights(path, GRAPH)
    text = str(error.value)
    assert text.endswith((".", ")", ":")) or "\n" in text
    return text


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_the_whole_file_is_read(file: Path) -> None:
    found = read_weights(file, GRAPH).state.weights
    assert all(found[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_a_truncated_file_is_refused_at_any_length(file: Path) -> None:
    whole = file.read_bytes()
    lengths = [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 40]
    if file.suffix not in (".pb",):
        lengths.append(len(whole) - 1)  # a graph may end in a field that nobody needs
    for length in lengths:
        file.write_bytes(whole[:length])
        message(file)


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_a_flipped_bit_is_found_or_does_not_matter(file: Path) -> None:
    whole = file.read_bytes()
    draw = random.Random(0)
    noticed = 0
    for offset in draw.sample(range(len(whole)), 60):
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        try:
            found = read_weights(file, GRAPH).state.weights
        except CheckpointError:
            noticed += 1
        else:
            assert all(found[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)
    assert noticed > 5


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_every_mismatch_is_listed_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_DEBUG", "1")
    with pytest.raises(CheckpointError) as error:
        read_weights(file, msinet_graph(0.1))
    assert "was written for another network" in str(error.value)
    assert str(error.value).count("should be") >= 40


def safetensors(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(start: int, end: int, **more: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, end], **more}


LAYOUT = {"kernel_layout": "OIHW"}


@pytest.mark.parametrize(
    ("header", "data", "expected"),
    [
        ({"__metadata__": LAYOUT, "a": tensor(0, 8), "b": tensor(4, 12)}, b"x" * 12, "8 is free"),
        ({"__metadata__": LAYOUT, "a": tensor(4, 12)}, b"x" * 12, "0 is free"),
        ({"__metadata__": LAYOUT, "a": tensor(0, 8)}, b"x" * 12, "and the file at"),
        ({"__metadata__": LAYOUT, "a": tensor(0, 8, shape=[3])}, b"x" * 8, "for shape (3,)"),
        ({"__metadata__": LAYOUT, "a": tensor(0, -8)}, b"", "0 to -8"),
        ({"__metadata__": LAYOUT, "a": tensor(0, 8, shape=[-1, -2])}, b"x" * 8, "lies at"),
        ({"__metadata__": {"kernel_layout": 7}}, b"", "are no texts"),
        (b'{"a": 1, "a": 2}', b"", "stands in it twice"),
        (b"[1]", b"", "header cannot be used"),
        (b"not JSON", b"", "header cannot be used"),
        (b"[" * 100_000, b"", "header cannot be used"),
        ({"__metadata__": {"kernel_layout": "IOHW"}}, b"", "known are OIHW and OHWI"),
        ({"__metadata__": {"format": "pt"}, "a": tensor(0, 8)}, b"x" * 8, "--from-layout torch"),
        ({"__metadata__": {"msinet_format": "9", **LAYOUT}}, b"", "another version of msinet"),
    ],
)
def test_wrong_safetensors_headers(
    tmp_path: Path, header: object, data: bytes, expected: str
) -> None:
    assert expected in message(safetensors(tmp_path / "x.safetensors", header, data))


def test_a_header_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "says that its header has 9223372036854775808 bytes" in message(path)


def test_other_types_are_refused_by_name(tmp_path: Path) -> None:
    header = {"__metadata__": LAYOUT, "conv1.conv1_1.bias": tensor(0, 4, dtype="F16")}
    path = safetensors(tmp_path / "x.safetensors", header, b"xxxx")
    assert "it is F16, and weights are F32" in describe(path)["damage"][0]


def write_keras(path: Path, change: Callable[[h5py.File], None], source: Path) -> Path:
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


PLACE = "layers/conv2d/vars/0"


def replace(file: h5py.File, **options: object) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, **options)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda file: file.__setitem__("layers/x", h5py.ExternalLink("/etc/x", "/")),
            "links to other",
        ),
        (lambda file: file.__setitem__("layers/x", h5py.SoftLink("/layers")), "a soft link"),
        (lambda file: file.__setitem__("layers/x", file["layers"]), "a loop or a second link"),
        (
            lambda file: replace(file, shape=(2**20, 2**20), dtype="f4", chunks=(1, 1024)),
            "made to exhaust memory",
        ),
        (
            lambda file: replace(file, data=np.zeros(2**16, "f4"), compression="gzip"),
            "made to exhaust memory",
        ),
        (lambda file: file["layers/conv2d/vars"].attrs.__delitem__("name"), "does not name them"),
        (
            lambda file: file["layers/conv2d/vars"].attrs.__setitem__("name", "conv1_conv1_2"),
            "several tensors under one name",
        ),
    ],
)
def test_hostile_keras_files(
    tmp_path: Path, files: dict[str, Path], change: Callable[[h5py.File], None], expected: str
) -> None:
    assert expected in message(write_keras(tmp_path / "x.weights.h5", change, files["keras"]))


def test_a_broken_heap_of_texts_is_found_before_the_library_loops(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    def rename(file: h5py.File) -> None:
        file["layers/conv2d/vars"].attrs["name"] = "conv1_conv1_1"  # of variable length

    path = write_keras(tmp_path / "x.weights.h5", rename, files["keras"])
    whole = path.read_bytes()
    assert read_weights(path, GRAPH).graph == GRAPH
    heap = whole.index(b"GCOL")
    for offset, value in ((heap + 8, 0xFF), (heap + 24, 0xFF), (heap + 31, 0x80)):
        broken = bytearray(whole)
        broken[offset : offset + 1] = bytes([value])
        path.write_bytes(broken)
        assert "do not follow one another" in message(path)


def test_groups_whose_damage_crashes_the_library_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="v108") as file:
        for number in range(30):
            file.create_group(f"layer{number}")
    assert "stores groups in a way that Keras does not" in message(path)


def write_archive(path: Path, members: dict[str, bytes], compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"../../evil.h5": b"x", "model.weights.h5": b"x"}, "'../../evil.h5' is no part"),
        ({"/etc/passwd": b"x", "model.weights.h5": b"x"}, "'/etc/passwd' is no part"),
        ({"assets/../../x": b"x", "model.weights.h5": b"x"}, "is no part of a Keras model"),
        ({"code.py": b"x", "model.weights.h5": b"x"}, "'code.py' is no part"),
        ({"config.json": b"{}"}, "it needs one model.weights.h5"),
        ({"model.weights.h5": b"not HDF5"}, "is not an HDF5 file"),
        ({f"assets/{number}": b"" for number in range(1001)}, "it has 1,001 members"),
    ],
)
def test_hostile_keras_archives(tmp_path: Path, members: dict[str, bytes], expected: str) -> None:
    assert expected in message(write_archive(tmp_path / "x.keras", members))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    members = {"model.weights.h5": bytes(2**25)}
    path = write_archive(tmp_path / "x.keras", members, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    assert "to 33,554,432 bytes" in message(path)


@pytest.mark.parametrize("content", [b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x80" * 11, b"\x0a"])
def test_broken_protocol_buffers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pb"
    path.write_bytes(content)
    assert "is no TensorFlow graph, or damaged" in message(path)


def test_a_graph_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "x.pb"
    path.write_bytes(b"\x0a\x05\x0a\x01x\x12\x00")
    assert "no constants named as MSI-Net's layers are" in message(path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    assert "has no weights of MSI-Net" in message(tmp_path / "model")


def test_a_constant_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    axis = field(2, b"\x08\x80\x80\x80\x80\x80\x20")  # 2**40
    value = b"\x08\x01" + field(2, axis) + field(5, b"\0\0\0\0")
    attribute = field(5, field(1, b"value") + field(2, field(8, value)))
    node = field(1, field(1, b"conv1/conv1_1/bias") + field(2, b"Const") + attribute)
    path = tmp_path / "x.pb"
    path.write_bytes(node)
    assert "it claims shape (1099511627776,) and holds 4 bytes" in describe(path)["damage"][0]


def test_a_pickle_is_never_loaded_without_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    path = tmp_path / "x.pt"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    text = message(path)
    assert "which only PyTorch reads" in text
    assert "pip install torch" in text
    assert not (tmp_path / "owned").exists()
