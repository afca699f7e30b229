"""HDF5 is read as the HDF5 library reads it, and what Keras does not write is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from msinet_core import CheckpointError
from msinet_core.checkpoint.guard import reading
from msinet_core.checkpoint.hdf5_tensors import write_text
from msinet_core.checkpoint.wire.hdf5 import read_file, read_root
from msinet_core.checkpoint.wire.hdf5_messages import Group

VALUES = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "32-bit integer": np.int32,
    "16-bit integer": ">u2",
    "32-bit floating point": ">f4",
    "64-bit compound": np.complex64,
    "32-bit string": "S4",
    "32-bit opaque": "V4",
    "8-bit enumeration": bool,
}


def read(path: Path) -> Group:
    with reading(path):
        return read_file(path)


def test_every_group_dataset_and_attribute_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    long = "ä" * 100_000
    with h5py.File(path, "w") as file:
        for number in range(300):  # many tables of links, and a B-tree of two levels
            group = file.create_group(f"layer{number}/inner")
            group["kernel"] = np.full((2, 3), number, np.float32)
            group.attrs["name"] = f"variable {number}"
            group.attrs["number"] = number
        write_text(file, "long", long)
        file["empty"] = np.zeros((0, 5), np.float32)
        file.create_dataset("chunked", data=np.zeros(9), chunks=(3,))
        file.create_dataset("unwritten", (9,))
    file = read(path)
    assert file.text("long") == long
    assert len(file.members) == 303
    found = {name: (dataset, group) for name, dataset, group in file.datasets()}
    for number in range(300):
        dataset, group = found[f"layer{number}/inner/kernel"]
        assert dataset.name == f"/layer{number}/inner/kernel"
        assert dataset.shape == (2, 3)
        np.testing.assert_array_equal(np.frombuffer(dataset.content or b"", "<f4"), number)
        assert group.any_text("name") == f"variable {number}"
        assert group.integer("number") == number
        assert group.text("number") is None
        assert group.integer("missing") is None
    assert found["empty"][0].content == b""
    assert found["chunked"][0].content is None
    assert found["unwritten"][0].content is None


@pytest.mark.parametrize("name", VALUES)
def test_types_are_distinguished(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    value = np.zeros(3, VALUES[name])
    with h5py.File(path, "w") as file:
        file["x"] = value
    (dataset,) = (dataset for _, dataset, _ in read(path).datasets())
    assert dataset.datatype.name == name
    assert dataset.content is not None
    assert len(dataset.content) == value.nbytes


@pytest.mark.parametrize(
    "options",
    [{"userblock_size": 512}, {"libver": "latest"}, {"libver": "v108"}, {"track_order": True}],
)
def test_structures_that_keras_does_not_write_are_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", **options) as file:
        file["x"] = 1
    with pytest.raises(CheckpointError, match=r"x\.h5"):
        read(path)


def test_the_root_is_read_without_its_members(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["group/x"] = 1
        file.attrs["a"] = 5
    root = read_root(path)
    assert root is not None
    assert list(root.members) == ["group"]
    assert not list(root.datasets())
    assert root.integer("a") == 5


def test_the_hdf5_library_is_not_used_for_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["layers/x"] = 1
    code = (
        "import sys; from pathlib import Path; from msinet_core import inspect\n"
        "inspect(Path(sys.argv[1])); assert not [m for m in sys.modules if m.startswith('h5py.')]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
