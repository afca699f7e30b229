"""Shorten the published model's graph to what decides its numbers.

    python tests/unit/data/extract_published_topology.py FOLDER > published_topology.json

FOLDER holds ``model.json`` (the TensorFlow.js graph model) and ``tensors_f16.npz`` (the part of its
constants that is at hand). Nodes that carry images or maps are kept with their attributes. Of the
constants they read, the shape is kept, and the value where it is at hand and has up to four
integers. What only computes with shapes is summed up: a resize says whose size it takes and times
what; a SpaceToBatchND says how many rows and columns of zeros it pads for the kernel.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np

SCOPE = "PartitionedCall/model/layer_from_saved_model/PartitionedCall/"
KEPT_ATTRIBUTES = (
    "padding",
    "data_format",
    "strides",
    "ksize",
    "dilations",
    "fused_ops",
    "align_corners",
    "half_pixel_centers",
    "keep_dims",
    "shape",
)


def extract(folder: Path) -> list[dict]:
    model = json.loads((folder / "model.json").read_text())
    with np.load(folder / "tensors_f16.npz") as tensors:
        values = {name.replace("__", "/"): tensors[name] for name in tensors.files}
    nodes = {_short(node["name"]): node for node in model["modelTopology"]["node"]}
    kept: dict[str, dict] = {}
    waiting = ["Identity"]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = _entry(name, nodes, values)
            waiting.extend(kept[name]["inputs"])
    return [kept[name] for name in nodes if name in kept]  # in the order of the published file


def _entry(name: str, nodes: dict, values: dict) -> dict:
    node = nodes[name]
    entry = {"name": name, "op": node["op"], "inputs": []}
    inputs = [_short(source) for source in node.get("input", [])]
    if node["op"] == "ResizeBilinear":
        entry["size"] = _size_rule(inputs.pop(), nodes, values)
    if node["op"] == "SpaceToBatchND":
        (total,) = (
            source for source in _constants_of(inputs.pop(), nodes) if source.endswith("/add")
        )
        entry["total_padding"] = _known(values, total)
    if node["op"] == "BatchToSpaceND":
        inputs.pop()  # the crops, which take away what was padded up to a multiple of the rate
    constants = {}
    for source in inputs:
        if nodes[source]["op"] == "Const":
            constants[source] = {"shape": _shape(nodes[source]["attr"]["value"]["tensor"])}
            if _known(values, source) is not None:
                constants[source]["value"] = _known(values, source)
        else:
            entry["inputs"].append(source)
    if constants:
        entry["constants"] = constants
    attributes = {
        key: _decode(node["attr"][key]) for key in KEPT_ATTRIBUTES if key in node.get("attr", {})
    }
    return entry | attributes


def _size_rule(name: str, nodes: dict, values: dict) -> dict:
    """Say of which node's axes, and times what, a resize takes its height and width."""
    sources, axes, factors = [], [], []
    for part in nodes[name]["input"]:
        node = nodes[_short(part)]
        factor = 1
        if node["op"] == "Mul":
            factor = _known(values, _short(node["input"][1]))
            node = nodes[_short(node["input"][0])]
        begin = _known(values, _short(node["input"][1]))
        sources.append(_short(nodes[_short(node["input"][0])]["input"][0]))
        axes.append(None if begin is None else begin[0])
        factors.append(factor)
    return {"of": sources, "axes": axes, "times": factors}


def _constants_of(name: str, nodes: dict) -> set[str]:
    """Find the constants that shape arithmetic reads; a Shape ends the search."""
    if nodes[name]["op"] == "Const":
        return {name}
    if nodes[name]["op"] == "Shape":
        return set()
    return set().union(*(_constants_of(_short(source), nodes) for source in nodes[name]["input"]))


def _known(values: dict, name: str):
    value = values.get(name)
    if value is None or value.size > 4 or value.dtype.kind != "i":
        return None
    return value.tolist()


def _decode(attribute: dict):
    if "list" in attribute:
        kind, items = next(iter(attribute["list"].items()), ("i", []))
        return [_decode({kind: item}) for item in items]
    if "s" in attribute:
        return base64.b64decode(attribute["s"]).decode()
    if "i" in attribute:
        return int(attribute["i"])
    if "shape" in attribute:
        return _shape({"tensorShape": attribute["shape"]})
    return attribute["b"]


def _shape(tensor: dict) -> list[int]:
    return [int(axis["size"]) for axis in tensor["tensorShape"].get("dim", [])]


def _short(name: str) -> str:
    return name.split(":")[0].removeprefix(SCOPE)


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(entry) for entry in extract(Path(sys.argv[1])))
    print(f"[\n{lines}\n]")
