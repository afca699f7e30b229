"""``msinet-run inspect``: what a checkpoint file holds, and whether it is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import PathType, json_option, print_json
from msinet_core.errors import CheckpointError, counted, printable

if TYPE_CHECKING:
    from msinet_core.checkpoint.inspect import Description, TensorSummary

_STATISTICS = ("min", "max", "mean")


@click.command()
@click.argument("file", type=PathType())
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show what FILE holds: network, origin and every tensor, and whether it is damaged.

    FILE is a checkpoint in any format that msinet reads, or published:salicon (or another
    dataset); for a TensorFlow checkpoint, its prefix or one of its files. Exits with 1 if
    anything in it is damaged.
    """
    from dataclasses import asdict

    import msinet_core as msinet
    from msinet_core.checkpoint.archive import damage_message

    description = msinet.inspect(file, progress=True)
    if as_json:
        print_json(asdict(description))
    else:
        _show(description)
    if description.damage:
        raise msinet.CheckpointError(damage_message(description.file, description.damage))


def _show(description: Description) -> None:
    rows = {key: value for key, value in _rows(description).items() if value}
    width = max(map(len, rows))
    for key, value in rows.items():
        click.echo(f"{click.style(printable(key).ljust(width), bold=True)}  {printable(value)}")
    click.echo()
    _print_tensors(description.tensors)


def _rows(description: Description) -> Mapping[str, str]:
    from msinet_core.hardware.machine import describe_machine

    metadata = description.metadata
    rows = {
        "file": f"{description.file}  ({description.bytes:,} bytes)",
        "format": description.title,
        "network": _network(description),
        **{key.replace("_", " "): _plain(value) for key, value in metadata.items()},
    }
    with suppress(LookupError, TypeError, ValueError):  # a file may say anything
        rows["machine"] = describe_machine(metadata["machine"])
    if split := _split(metadata):
        rows["split"] = split
    if description.format == "safetensors":
        rows["kernels"] = (
            "as stored; the file does not declare the order of their axes: convert it with "
            "--from-layout torch (OIHW) or mlx (OHWI)"
        )
    if description.optimizer_step is not None:
        rows["optimizer"] = f"Adam, after {description.optimizer_step:,} steps"
    if description.training is not None:
        rows["training"] = "can be resumed; holds " + ", ".join(description.training)
    if description.unused:
        rows["not used"] = f"{len(description.unused)} entries, such as {description.unused[0]}"
    return rows


def _split(metadata: Mapping[str, Any]) -> str:
    from msinet_core.data.split import StoredSplit

    try:
        stored = StoredSplit.from_metadata(metadata)
    except CheckpointError:  # among the damage
        return ""
    if stored is None:
        return ""
    parts = f"{len(stored.train)} training, {len(stored.valid)} validation"
    return f"{parts} and {len(stored.test)} test images, by content; seed {stored.seed}"


def _network(description: Description) -> str:
    name = "MSI-Net as published" if description.published else "not MSI-Net as published"
    graph = description.graph
    if graph is None:
        return f"{name}, by its names and shapes; the file holds no network"
    return f"{name}, fingerprint {graph.fingerprint}, {counted(graph.parameters, 'parameter')}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, entry in value.items() if (text := _plain(entry)))
    if isinstance(value, list):
        return " x ".join(_plain(entry) for entry in value)
    return "unknown" if value is None else str(value)


def _print_tensors(tensors: list[TensorSummary]) -> None:
    from msinet_core.cli.tables import print_table

    rows = []
    styles: dict[str, str] = {}
    for tensor in tensors:
        checksum = tensor.checksum
        if tensor.not_finite:
            checksum += f", {tensor.not_finite} NaN or infinite"
        if checksum not in ("ok", "none"):
            styles[checksum] = "red"
        numbers = (getattr(tensor, name) for name in _STATISTICS)
        rows.append(
            (
                f"{tensor.group}/{tensor.name}",
                " x ".join(str(axis) for axis in tensor.shape),
                tensor.dtype,
                checksum,
                *("" if number is None else f"{number:.4g}" for number in numbers),
            )
        )
    headings = ("tensor", "shape", "type", "checksum", *_STATISTICS)
    print_table(headings, rows, right=_STATISTICS, styles=styles)
