"""How two networks differ, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from shlex import quote
from typing import Any

from msinet_core.checkpoint.archive import MAX_LISTED, Archive, list_mismatches
from msinet_core.errors import CheckpointError, bullet_list, command
from msinet_core.network.graph import Graph, Node

_MAX_NODES = 3


def graph_differences(found: Graph, wanted: Graph) -> list[str]:
    """List how a file's network differs from the one it is read for; empty if they are equal.

    Nodes whose attributes differ in the same way share a line.

    Args:
        found: The network that the file was written for.
        wanted: The network that is to get the weights.
    """
    theirs = {node.name: node for node in found.nodes}
    ours = {node.name: node for node in wanted.nodes}
    lines = []
    if missing := [name for name in ours if name not in theirs]:
        lines.append(f"the file's network lacks {_some(missing)}")
    if extra := [name for name in theirs if name not in ours]:
        lines.append(f"the file's network also has {_some(extra)}")
    common = [(theirs[name], ours[name]) for name in ours if name in theirs]
    lines += _width(common)
    changes: dict[str, list[str]] = {}
    for their, our in common:
        for change in _node_differences(their, our):
            changes.setdefault(change, []).append(our.name)
    lines += [f"{change} in {_some(names)}" for change, names in changes.items()]
    if not lines and found != wanted:
        lines.append("the nodes are in another order")
    return lines


def require_equal(archive: Archive, graph: Graph) -> None:
    """Refuse a file that was written for another network; one without a network passes.

    Args:
        archive: What the file holds.
        graph: The network that is to get the weights.

    Raises:
        CheckpointError: Lists every difference.
    """
    if archive.graph is None:
        return
    differences = graph_differences(archive.graph, graph)
    if differences:
        mismatches = archive.mismatches(graph)
        tensors = f"\n{list_mismatches(mismatches)}" if mismatches else ""
        raise CheckpointError(
            f"{archive.path} was written for another network (fingerprint "
            f"{archive.graph.fingerprint}, expected {graph.fingerprint}):\n"
            f"{bullet_list(differences, MAX_LISTED)}{tensors}\n"
            f"Use a checkpoint of this network, or train the network of this checkpoint: --init "
            f"{quote(str(archive.path))} without --width and --resize. "
            f"{command('inspect', archive.path)} shows every tensor in the file."
        )


def _width(common: list[tuple[Node, Node]]) -> list[str]:
    channels = [
        (their.op.filters, our.op.filters)
        for their, our in common
        if hasattr(their.op, "filters") and hasattr(our.op, "filters")
    ]
    changed = sum(their != our for their, our in channels)
    if not changed:
        return []
    theirs, ours = (sum(column) for column in zip(*channels, strict=True))
    return [
        f"width: {changed} of {len(channels)} convolutions have other numbers of channels, "
        f"{theirs / ours:.3g} times as many in total"
    ]


def _node_differences(their: Node, our: Node) -> list[str]:
    if type(their.op) is not type(our.op):
        return [f"op: {type(their.op).__name__} instead of {type(our.op).__name__}"]
    before, after = _attributes(their), _attributes(our)
    return [
        f"{name}: {before[name]!r} instead of {after[name]!r}"
        for name in after
        if before[name] != after[name]
    ]


def _attributes(node: Node) -> Mapping[str, Any]:
    """Return what defines a node, except its width, which has a line of its own."""
    attributes = {"inputs": list(node.inputs), **asdict(node.op)}
    attributes.pop("filters", None)
    return attributes


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_NODES])
    return shown + (f" and {len(names) - _MAX_NODES} more" if len(names) > _MAX_NODES else "")
