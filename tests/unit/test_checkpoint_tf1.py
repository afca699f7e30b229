"""TensorFlow 1 checkpoints are read without TensorFlow; make_tf1.py wrote the one in data/."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from msinet_core import inspect
from msinet_core.checkpoint import Checkpoint, load_checkpoint, read_weights
from msinet_core.checkpoint.catalog import find_format
from msinet_core.checkpoint.formats import tf1
from msinet_core.checkpoint.wire.crc32c import masked_crc32c
from msinet_core.checkpoint.wire.table import read_table
from msinet_core.errors import CheckpointError, UsageError
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.01)
SOURCE = Path(__file__).parent / "data" / "checkpoints"
INDEX = "tiny_tf1.ckpt.index"
DATA = "tiny_tf1.ckpt.data-00000-of-00001"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    for name in (INDEX, DATA):
        shutil.copy(SOURCE / name, tmp_path)
    return tmp_path / "tiny_tf1.ckpt"


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_weights(path, GRAPH)
    return str(error.value)


@pytest.mark.parametrize("name", ["tiny_tf1.ckpt", INDEX, DATA])
def test_every_tensor_is_read_by_any_of_its_names(prefix: Path, name: str) -> None:
    found = read_weights(prefix.with_name(name), GRAPH)
    assert found.state.optimizer is None
    assert list(found.state.weights) == [parameter.name for parameter in GRAPH.parameters]
    for place, parameter in enumerate(GRAPH.parameters):
        expected = place + np.arange(parameter.size, dtype=np.float32).reshape(parameter.shape)
        tensor = found.state.weights[parameter.name]
        np.testing.assert_array_equal(tensor, expected)
        assert tensor.dtype == np.float32
        assert tensor.flags.writeable


def test_it_is_described_with_its_optimizer(prefix: Path) -> None:
    found = inspect(prefix)
    assert found.format == "tf1"
    assert found.graph is None
    assert not found.published
    assert found.damage == []
    assert found.bytes == sum(prefix.with_name(name).stat().st_size for name in (INDEX, DATA))
    groups = [row.group for row in found.tensors]
    assert groups == ["weights"] * 46 + ["optimizer/m"] * 46 + ["optimizer/v"] * 46
    assert {row.checksum for row in found.tensors} == {"ok"}
    assert found.optimizer_step == 1
    assert found.unused == []


def test_it_holds_no_network_and_no_run(prefix: Path) -> None:
    assert inspect(prefix).graph is None
    with pytest.raises(CheckpointError):
        load_checkpoint(prefix)


def test_without_a_graph_it_must_fit_the_published_network(prefix: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        read_weights(prefix)
    text = str(error.value)
    assert "46 weights; 45 tensors differ" in text
    assert text.count("has shape") == 3
    assert f"msinet-run convert {prefix} NEW.msinet.h5 --network CHECKPOINT" in text
    assert "conv1/conv1_1/kernel: has shape (3, 3, 3, 1), expected (3, 3, 3, 64)" in text


def test_half_a_checkpoint_names_the_other_half(prefix: Path) -> None:
    prefix.with_name(DATA).unlink()
    assert DATA in refusal(prefix)


def test_data_without_an_index(prefix: Path) -> None:
    prefix.with_name(INDEX).unlink()
    for path in (prefix, prefix.with_name(DATA)):
        assert INDEX in refusal(path)


def test_a_prefix_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="model_salicon_cpu"):
        read_weights(tmp_path / "model_salicon_cpu.ckpt")


def test_a_renamed_index_is_no_checkpoint(prefix: Path) -> None:
    renamed = prefix.with_name(INDEX).rename(prefix.with_name("model.ckpt"))
    assert "PREFIX.index" in refusal(renamed)


def test_the_folder_of_a_file_is_not_listed(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prefix.with_name("weights.h5")
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "glob", None)  # it may hold 100,000 images
    assert "not in a supported format" in refusal(path)
    assert find_format(prefix.with_name(DATA)).name == "tf1"


def test_a_saved_model_with_variables_is_described_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    tf1.write(folder / "variables" / "variables", Checkpoint(GRAPH, random_state(GRAPH, 1)))
    found = inspect(folder)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert (found.file, found.bytes) == (str(folder), sum(sizes))
    assert len(sizes) == 3


def test_every_damaged_tensor_is_named(prefix: Path) -> None:
    data = bytearray(prefix.with_name(DATA).read_bytes())
    data[:] = bytes(len(data))
    prefix.with_name(DATA).write_bytes(data)
    text = refusal(prefix)
    assert all(f"weights/{parameter.name}" in text for parameter in GRAPH.parameters)
    assert {row.checksum for row in inspect(prefix).tensors} == {"damaged"}


def test_truncated_data_names_the_file(prefix: Path) -> None:
    data = prefix.with_name(DATA).read_bytes()
    prefix.with_name(DATA).write_bytes(data[: len(data) // 2])
    assert DATA in refusal(prefix)


def test_a_flipped_bit_in_the_index_is_found_or_does_not_matter(prefix: Path) -> None:
    index = prefix.with_name(INDEX)
    whole = index.read_bytes()
    expected = read_weights(prefix, GRAPH).state.weights
    draw = random.Random(0)
    noticed = 0
    for offset in [*range(len(whole) - 60, len(whole)), *draw.sample(range(len(whole)), 100)]:
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << draw.randrange(8)
        index.write_bytes(flipped)
        try:
            found = read_weights(prefix, GRAPH).state.weights
        except CheckpointError:
            noticed += 1
        else:
            assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert noticed > 100


def test_a_truncated_index_is_refused_at_any_length(prefix: Path) -> None:
    index = prefix.with_name(INDEX)
    whole = index.read_bytes()
    for length in range(0, len(whole), 101):
        index.write_bytes(whole[:length])
        assert INDEX in refusal(prefix)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def entries_of(entries: dict[bytes, bytes]) -> bytes:
    return b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value
        for key, value in entries.items()
    )


def block(body: bytes, compression: int = 0) -> bytes:
    body += struct.pack("<II", 0, 1) + bytes([compression])
    return body + struct.pack("<I", masked_crc32c(body))


def table(body: bytes, compression: int = 0) -> bytes:
    """Return an index as TensorFlow writes it, with one block."""
    data = block(body, compression)
    handle = varint(0) + varint(len(data) - 5)
    top = block(entries_of({b"zzz": handle}))
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(top) - 5)
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    return data + top + footer.ljust(40, b"\0") + magic


def write_index(prefix: Path, entries: dict[bytes, bytes], compression: int = 0) -> None:
    prefix.with_name(INDEX).write_bytes(table(entries_of(entries), compression))


HEADER = b"\x08\x01"  # one data file


@pytest.mark.parametrize(
    "entries",
    [
        {b"": b""},  # no data file
        {b"": b"\x08" + varint(10**9)},  # far too many
        {b"": b"\x0a\x01x"},
        {b"a": b""},
        {b"": HEADER, b"\xff": b""},  # not UTF-8
        {b"": HEADER, b"a": b"\x0b"},  # no such type of field
        {b"": HEADER, b"a": b"\x80" * 11},  # an integer without an end
        {b"": HEADER, b"_CHECKPOINTABLE_OBJECT_GRAPH": b""},
    ],
)
def test_an_invalid_index_is_refused(prefix: Path, entries: dict[bytes, bytes]) -> None:
    write_index(prefix, entries)
    assert str(prefix) in refusal(prefix)


def test_names_that_repeat_each_other_without_end_are_refused() -> None:
    size = 2**14
    body = varint(0) + varint(size) + varint(0) + b"k" * size
    body += (varint(size) + varint(0) + varint(0)) * 2**11  # 5 bytes each, for names of 16 KiB
    with pytest.raises(ValueError, match="names"):
        read_table(table(body))


def test_what_is_not_supported_is_not_called_damaged(prefix: Path) -> None:
    write_index(prefix, {b"": HEADER}, compression=1)
    assert f"{prefix}.index is compressed" in (text := refusal(prefix))
    write_index(prefix, {b"": HEADER + b"\x10\x01"})
    assert f"{prefix}.index was written on a big-endian machine" in (other := refusal(prefix))
    assert "damaged" not in text + other


def shape(*axes: int) -> bytes:
    dimensions = b"".join(
        b"\x12" + varint(len(size)) + size for size in (b"\x08" + varint(axis) for axis in axes)
    )
    return b"\x12" + varint(len(dimensions)) + dimensions


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (b"\x08\x01" + shape(2) + b"\x28\x07", "7 bytes"),
        (b"\x08\x01" + shape(2) + b"\x18\x05\x28\x08", "data file 5"),
        (b"\x08\x01" + shape(2**61, 2) + b"\x28\x08", "bytes"),
        (b"\x08\x02" + shape(2) + b"\x28\x10", "float64"),
        (b"\x08\x63" + shape(2) + b"\x28\x10", "type 99"),
        (b"\x08\x01" + shape(2) + b"\x3a\x00", "slices"),
    ],
)
def test_a_tensor_that_cannot_be_read_is_marked(prefix: Path, entry: bytes, reason: str) -> None:
    write_index(prefix, {b"": HEADER, b"\0slice": b"", b"a/kernel": entry})
    found = inspect(prefix)
    assert [(row.name, row.checksum) for row in found.tensors] == [("a/kernel", "damaged")]
    assert reason in found.damage[0]


def test_files_without_permission_are_refused_with_the_systems_reason(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Permission denied" in refusal(prefix)
    monkeypatch.undo()

    def refuse_data(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "fromfile", refuse_data)
    assert "weights/conv1/conv1_1/kernel: Permission denied" in refusal(prefix)
