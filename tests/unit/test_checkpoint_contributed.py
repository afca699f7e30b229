"""Plugins contribute checkpoint formats, which then work like the built-in ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import msinet_core as msinet
from msinet_core import Availability, DeviceSpec, Probe
from msinet_core.checkpoint import Checkpoint, read_weights, save_checkpoint
from msinet_core.errors import CheckpointError, UsageError
from msinet_core.network.msinet import msinet_graph
from msinet_core.registry.plugin import spec_problems
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.02)

PLUGIN = """
from msinet_core import Availability, DeviceSpec, Probe, hookimpl

@hookimpl
def msinet_register_devices(register):
    register(DeviceSpec(
        name="toy", summary="a toy", framework="Toy", factory="nowhere:Toy", api_version=1,
        probe=lambda: Probe(Availability.INSTALLED), priority=-1,
        checkpoint_format="npz", checkpoint_formats=("toy_formats:NPZ",),
    ))
"""
FORMATS = """
import numpy as np
from msinet_core import Archive, Format, StoredTensor

def matches(path):
    return path.suffix == ".npz" and path.is_file()

def open_archive(path):
    with np.load(path) as file:
        return Archive(path, {
            name: StoredTensor(file[name].shape, str(file[name].dtype), False,
                               lambda name=name: np.load(path)[name])
            for name in file.files
        })

def write(path, checkpoint):
    np.savez(path, **checkpoint.state.weights)

NPZ = Format("npz", "NumPy archive (*.npz)", matches, open_archive, write=write, suffixes=(".npz",))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a plugin that adds the device ``toy`` and the format ``npz``."""
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    (tmp_path / "toy_formats.py").write_text(FORMATS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MSINET_PLUGINS", "toy_plugin")
    yield tmp_path
    for module in ("toy_plugin", "toy_formats"):
        sys.modules.pop(module, None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.msinet.h5"
    save_checkpoint(path, Checkpoint(GRAPH, random_state(GRAPH, 1)))
    return path


@pytest.mark.parametrize("to", [None, "npz", "toy"])
def test_a_contributed_format_is_written_and_read(
    folder: Path, source: Path, to: str | None
) -> None:
    path = folder / "x.npz"
    done = msinet.convert(source, path, to)
    assert done.target.name == "npz"
    assert msinet.inspect(path).format == "npz"
    again = folder / "again.msinet.h5"
    msinet.convert(path, again, network=source)
    found, expected = read_weights(again).state.weights, random_state(GRAPH, 1).weights
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def test_its_module_is_imported_only_when_needed(folder: Path, source: Path) -> None:
    msinet.convert(source, folder / "x.weights.h5")
    assert msinet.inspect(source).format == "msinet"
    assert "toy_formats" not in sys.modules


@pytest.mark.parametrize(
    "content", ["raise RuntimeError('broken')", "NPZ = 7", "", "import nothing_"]
)
def test_a_broken_contribution_is_named_and_harms_nothing_else(
    folder: Path, source: Path, content: str
) -> None:
    (folder / "toy_formats.py").write_text(content)
    (folder / "x.npz").write_bytes(b"something")
    with pytest.raises(CheckpointError, match="toy_plugin"):
        msinet.inspect(folder / "x.npz")
    with pytest.raises(UsageError, match="toy_plugin"):
        msinet.convert(source, folder / "y.npz")
    assert msinet.convert(source, folder / "x.h5").target.name == "keras2"


def test_every_devices_own_format_can_be_written(source: Path, tmp_path: Path) -> None:
    from msinet_core.checkpoint.catalog import FORMATS
    from msinet_core.registry.registry import load_registry

    writable = {one.name for one in FORMATS if one.write is not None}
    own = {item.spec.name: item.spec.checkpoint_format for item in load_registry().registrations}
    assert set(own.values()) <= writable
    assert own["cuda"] == "keras"
    assert own["mps"] == "torch"
    assert own["mlx"] == "mlx"
    assert own["reference"] == "msinet"


def test_keras_models_are_written_by_the_plugin_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSINET_DISABLE_PLUGINS", "msinet")
    with pytest.raises(UsageError):
        msinet.convert(source, tmp_path / "x.keras")


SPEC = DeviceSpec(
    name="toy",
    summary="a toy",
    framework="Toy",
    factory="nowhere:Toy",
    api_version=1,
    probe=lambda: Probe(Availability.INSTALLED),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint_format": None},
        {"checkpoint_formats": ("no colon",)},
        {"checkpoint_formats": (7,)},
        {"checkpoint_formats": "module:NAME"},
    ],
)
def test_invalid_contributions_are_found_at_registration(changes: dict[str, object]) -> None:
    assert spec_problems(SPEC) == []
    assert len(spec_problems(replace(SPEC, **changes))) == 1  # type: ignore[arg-type]


def test_a_format_without_a_reader_is_refused_by_name(tmp_path: Path) -> None:
    only_written = msinet.Format("x", "x", write=lambda path, checkpoint: None)
    assert not only_written.matches(tmp_path)
    with pytest.raises(CheckpointError):
        only_written.open(tmp_path)
