"""Truncated, flipped and hostile files in every format are refused."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

from msinet_core import inspect
from msinet_core.checkpoint import Checkpoint, read_weights
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.convert import convert
from msinet_core.checkpoint.native import save_checkpoint
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
    "torch-file": "file.pt",
    "onnx": "file.onnx",
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
        elif name != "onnx" or find_spec("onnx"):
            convert(source, folder / file, name.removesuffix("-file"))
    return {name: folder / file for name, file in FILES.items()}


@pytest.fixture
def file(tmp_path: Path, files: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    """A copy of the file of the format that the test is parametrized with."""
    if request.param == "onnx":
        pytest.importorskip("onnx")
    return Path(shutil.copy(files[request.param], tmp_path))


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_weights(path, GRAPH)
    return str(error.value)


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
        refusal(file)


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
    assert str(error.value).count("expected (") >= 40


def safetensors(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(start: int, end: int, **more: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, end], **more}


LAYOUT = {"kernel_layout": "OIHW"}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"__metadata__": LAYOUT, "a": tensor(0, 8), "b": tensor(4, 12)}, b"x" * 12),
        ({"__metadata__": LAYOUT, "a": tensor(4, 12)}, b"x" * 12),
        ({"__metadata__": LAYOUT, "a": tensor(0, 8)}, b"x" * 12),
        ({"__metadata__": LAYOUT, "a": tensor(0, 8, shape=[3])}, b"x" * 8),
        ({"__metadata__": LAYOUT, "a": tensor(0, -8)}, b""),
        ({"__metadata__": LAYOUT, "a": tensor(0, 8, shape=[-1, -2])}, b"x" * 8),
        ({"__metadata__": {"kernel_layout": 7}}, b""),
        (b"[1]", b""),
        (b"not JSON", b""),
        (b"[" * 100_000, b""),
        ({"__metadata__": {"kernel_layout": "IOHW"}}, b""),
        ({"__metadata__": {"format": "pt"}, "a": tensor(0, 8)}, b"x" * 8),
        ({"__metadata__": {"msinet_format": "9", **LAYOUT}}, b""),
    ],
)
def test_wrong_safetensors_headers(tmp_path: Path, header: object, data: bytes) -> None:
    refusal(safetensors(tmp_path / "x.safetensors", header, data))


def test_of_duplicate_names_the_last_counts_everywhere(tmp_path: Path) -> None:
    header = (
        b'{"__metadata__": {"kernel_layout": "OIHW", "kernel_layout": "OHWI"}, '
        b'"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
        b'"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}'
    )
    path = safetensors(tmp_path / "x.safetensors", header, b"x" * 8)
    found = inspect(path)
    assert (found.format, [row.shape for row in found.tensors]) == ("mlx", [(1, 2)])
    archive = find_format(path).open(path)
    assert archive.weights["a"].load().shape == (1, 2)


@pytest.mark.parametrize(
    "header",
    [
        b'{"__metadata__": {}, "__metadata__": {"kernel_layout": "OIHW"}}',
        b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}',
    ],
)
def test_fields_that_are_there_twice_are_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(CheckpointError, match="duplicate"):
        inspect(safetensors(tmp_path / "x.safetensors", header))


def test_a_right_safetensors_header_is_read(tmp_path: Path) -> None:
    header = {"__metadata__": LAYOUT, "a": tensor(0, 8), "b": tensor(8, 16)}
    found = inspect(safetensors(tmp_path / "x.safetensors", header, b"x" * 16))
    assert [row.shape for row in found.tensors] == [(2,), (2,)]


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    header = {str(number): tensor(0, 0, shape=[0]) for number in range(25_001)}
    assert "too many" in refusal(safetensors(tmp_path / "x.safetensors", header))


def test_a_header_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    refusal(path)


def test_other_types_are_refused_by_name(tmp_path: Path) -> None:
    header = {"__metadata__": LAYOUT, "conv1.conv1_1.bias": tensor(0, 4, dtype="F16")}
    path = safetensors(tmp_path / "x.safetensors", header, b"xxxx")
    assert "F16" in inspect(path).damage[0]


def write_keras(path: Path, change: Callable[[h5py.File], None], source: Path) -> Path:
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


VARIABLE = "layers/conv2d/vars/0"


def replace(file: h5py.File, **options: object) -> None:
    del file[VARIABLE]
    file.create_dataset(VARIABLE, **options)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda file: file.__setitem__("layers/x", h5py.ExternalLink("/etc/x", "/")), "external"),
        (lambda file: file.__setitem__("layers/x", h5py.SoftLink("/layers")), "layers/x"),
        (lambda file: file.__setitem__("layers/x", file["layers"]), "layers/x"),
        (
            lambda file: replace(file, shape=(2**20, 2**20), dtype="f4", chunks=(1, 1024)),
            VARIABLE,
        ),
        (lambda file: replace(file, data=np.zeros(2**16, "f4"), compression="gzip"), VARIABLE),
        (lambda file: replace(file, data=np.zeros(2**10, "f4"), chunks=(2**10,)), VARIABLE),
        (lambda file: file["layers/conv2d/vars"].attrs.__delitem__("name"), "layers/conv2d"),
        (
            lambda file: file["layers/conv2d/vars"].attrs.__setitem__("name", "conv1_conv1_2"),
            "conv1/conv1_2/kernel",
        ),
    ],
)
def test_hostile_keras_files(
    tmp_path: Path, files: dict[str, Path], change: Callable[[h5py.File], None], name: str
) -> None:
    assert name in refusal(write_keras(tmp_path / "x.weights.h5", change, files["keras"]))


def test_a_broken_heap_of_texts_is_found(tmp_path: Path, files: dict[str, Path]) -> None:
    def rename(file: h5py.File) -> None:
        file["layers/conv2d/vars"].attrs["name"] = "conv1_conv1_1"  # of variable length

    path = write_keras(tmp_path / "x.weights.h5", rename, files["keras"])
    whole = path.read_bytes()
    assert read_weights(path, GRAPH).graph == GRAPH
    heap = whole.index(b"GCOL")
    for offset, value in ((heap + 12, 0xFF), (heap + 16, 0xFF), (heap + 31, 0x80)):
        broken = bytearray(whole)
        broken[offset : offset + 1] = bytes([value])
        path.write_bytes(broken)
        assert path.name in refusal(path)


def test_groups_in_a_newer_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="v108") as file:
        for number in range(30):
            file.create_group(f"layer{number}")
    assert "newer form" in refusal(path)


def write_archive(path: Path, members: dict[str, bytes], compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"config.json": b"{}"}, "model.weights.h5"),
        ({"model.weights.h5": b"x"}, "config.json"),
        ({"config.json": b"{}", "model.weights.h5": b"not HDF5"}, "HDF5"),
    ],
)
def test_hostile_keras_archives(tmp_path: Path, members: dict[str, bytes], name: str) -> None:
    assert name in refusal(write_archive(tmp_path / "x.keras", members))


@pytest.mark.parametrize("name", ["../evil.h5", "/etc/passwd", "assets/../../x", "code.py"])
def test_other_members_of_keras_archives_are_not_touched(
    tmp_path: Path, files: dict[str, Path], name: str
) -> None:
    content = {"config.json": b"{}", "model.weights.h5": files["keras"].read_bytes(), name: b"x"}
    folder = tmp_path / "folder"
    folder.mkdir()
    assert read_weights(write_archive(folder / "x.keras", content), GRAPH).graph == GRAPH
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "x.keras"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(tmp_path: Path, compression: int) -> None:
    members = {"model.weights.h5": random.Random(0).randbytes(2**12)}  # it does not shrink
    assert "compressed" in refusal(write_archive(tmp_path / "x.keras", members, compression))


@pytest.mark.parametrize("content", [b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x80" * 11, b"\x0a"])
def test_broken_protocol_buffers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pb"
    path.write_bytes(content)
    refusal(path)


def test_a_graph_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "x.pb"
    path.write_bytes(b"\x0a\x05\x0a\x01x\x12\x00")
    assert "conv1/conv1_1/kernel" in refusal(path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    assert "variables/" in refusal(tmp_path / "model")


def test_a_constant_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    axis = field(2, b"\x08\x80\x80\x80\x80\x80\x20")  # 2**40
    value = b"\x08\x01" + field(2, axis) + field(5, b"\0\0\0\0")
    attribute = field(5, field(1, b"value") + field(2, field(8, value)))
    node = field(1, field(1, b"conv1/conv1_1/bias") + field(2, b"Const") + attribute)
    path = tmp_path / "x.pb"
    path.write_bytes(node)
    assert "4,398,046,511,104" in inspect(path).damage[0]
    refusal(path)
