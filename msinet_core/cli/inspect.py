"""``msinet-run inspect``: what a checkpoint file holds and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from msinet_core.cli.options import json_option
from msinet_core.errors import CheckpointError, bullet_list

_STATISTICS = ("min", "max", "mean")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show what FILE holds: network, origin, every tensor, and whether it is whole.

    FILE is a checkpoint in any format that msinet reads; for a TensorFlow checkpoint, its prefix
    or one of its files. Exits with 1 when anything in it is damaged.
    """
    from msinet_core.checkpoint import describe

    description = describe(file)
    if as_json:
        click.echo(json.dumps(description, indent=2))
    else:
        _show(description)
    if description["damage"]:
        raise CheckpointError(
            f"{description['file']} is damaged:\n{bullet_list(description['damage'])}\n"
            f"Copy or download it again, or use another checkpoint."
        )


def _show(description: Mapping[str, Any]) -> None:
    facts = {key: value for key, value in _facts(description).items() if value}
    width = max(map(len, facts))
    for key, value in facts.items():
        click.echo(f"{click.style(key.ljust(width), bold=True)}  {value}")
    click.echo()
    _print_tensors(description["tensors"])


def _facts(description: Mapping[str, Any]) -> Mapping[str, str]:
    from msinet_core.checkpoint import safetensors

    rows = {
        "file": f"{description['file']}  ({description['bytes']:,} bytes)",
        "format": description["title"],
        "network": _network(description),
        **{key.replace("_", " "): _plain(value) for key, value in _origin(description).items()},
    }
    if description["format"] == safetensors.UNTOLD:
        rows["kernels"] = (
            "as stored; the file does not say how their axes are ordered, and convert takes "
            "--from-layout torch (OIHW) or mlx (OHWI)"
        )
    if description["optimizer_step"] is not None:
        rows["optimizer"] = f"Adam, after {description['optimizer_step']:,} steps"
    if description["training"] is not None:
        rows["training"] = "can be resumed; holds " + ", ".join(description["training"])
    if description["unused"]:
        unused = description["unused"]
        rows["not used"] = f"{len(unused)} entries that training left: {unused[0]} ..."
    return rows


def _network(description: Mapping[str, Any]) -> str:
    name = "MSI-Net as published" if description["published"] else "not MSI-Net as published"
    graph = description["graph"]
    if graph is None:
        return f"{name}, judged by names and shapes; the format holds no network"
    return f"{name}, fingerprint {graph['fingerprint']}, {graph['parameters']:,} parameters"


def _origin(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata, the best known first."""
    metadata = description["metadata"]
    order = ("device", "versions", "msinet", "created", "dataset", "image_size", "epoch", "step")
    first = {key: metadata[key] for key in order if key in metadata}
    return {**first, **metadata}


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return " x ".join(_plain(entry) for entry in value)
    return "not known" if value is None else str(value)


def _print_tensors(tensors: list[Mapping[str, Any]]) -> None:
    from msinet_core.cli.tables import print_table

    rows = []
    styles: dict[str, str] = {}
    for tensor in tensors:
        checksum = tensor["checksum"]
        if tensor["not_finite"]:
            checksum += f", {tensor['not_finite']} NaN or infinite"
        if checksum not in ("ok", "none"):
            styles[checksum] = "red"
        numbers = (tensor[key] for key in _STATISTICS)
        rows.append(
            (
                f"{tensor['group']}/{tensor['name']}",
                " x ".join(str(axis) for axis in tensor["shape"]),
                tensor["dtype"],
                checksum,
                *("" if number is None else f"{number:.4g}" for number in numbers),
            )
        )
    headings = ("tensor", "shape", "type", "checksum", *_STATISTICS)
    print_table(headings, rows, right=_STATISTICS, styles=styles)
