"""MSI-Net's layers under the names that other software gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.errors import CheckpointError, bullet_list

if TYPE_CHECKING:
    from msinet_core.network.graph import Graph

_LAYER = re.compile(r"(?:^|[/.])(conv[1-5]|aspp|decoder)[/._](conv\d(?:_\d)?)$")
"""A layer of MSI-Net at the end of a name, whatever scopes are before it."""

_TORCH_ROLES = {"weight": "kernel", "bias": "bias"}


def layer_name(name: str) -> str | None:
    """Recognize a layer of MSI-Net by the end of its name; None where it is none.

    Args:
        name: For example ``model/conv1/conv1_1`` or ``conv1_conv1_1``.
    """
    match = _LAYER.search(name)
    return f"{match[1]}/{match[2]}" if match else None


def flat_names(names: Iterable[str], separator: str) -> dict[str, str]:
    """Give nodes or parameters names without slashes.

    Args:
        names: Names in the network.
        separator: What stands for a slash.

    Returns:
        Each name in the file by its name in the network.

    Raises:
        CheckpointError: Two of them would have one name.
    """
    flat = {name: name.replace("/", separator) for name in names}
    clashes = sorted({name for name in flat.values() if list(flat.values()).count(name) > 1})
    if clashes:
        raise CheckpointError(
            f"This network cannot be written in the format, where '{separator}' stands for '/': "
            f"several layers would be named\n{bullet_list(clashes)}\nWrite *.msinet.h5 instead."
        )
    return flat


def torch_names(graph: Graph) -> dict[str, str]:
    """Give each parameter's key in a PyTorch state_dict, by its canonical name.

    Args:
        graph: The network.

    Raises:
        CheckpointError: Two of them would have one name.
    """
    roles = {role: torch for torch, role in _TORCH_ROLES.items()}
    dotted = flat_names((parameter.name for parameter in graph.parameters), ".")
    return {
        parameter.name: f"{dotted[parameter.name].rsplit('.', 1)[0]}.{roles[parameter.role]}"
        for parameter in graph.parameters
    }


def from_torch_name(key: str, graph: Graph | None) -> str:
    """Give the canonical name of a state_dict's key, the key itself where it is unknown.

    Args:
        key: For example ``conv1.conv1_1.weight``.
        graph: The network that the file was written for, where it tells.
    """
    if graph is not None:
        return {torch: name for name, torch in torch_names(graph).items()}.get(key, key)
    layer, _, role = key.rpartition(".")
    name = layer_name(layer)
    return f"{name}/{_TORCH_ROLES[role]}" if name and role in _TORCH_ROLES else key


def unique(found: Iterable[tuple[str, str]], path: Path) -> Mapping[str, str]:
    """Pair canonical names with places in a file, each once.

    Args:
        found: Canonical name and place.
        path: The file, for messages.

    Raises:
        CheckpointError: Lists every name that several places have.
    """
    places: dict[str, list[str]] = {}
    for name, place in found:
        places.setdefault(name, []).append(place)
    twice = [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]
    if twice:
        raise CheckpointError(
            f"{path} holds several tensors under one name:\n{bullet_list(twice)}\n"
            f"Save the one model that is meant in a file of its own."
        )
    return {name: found[0] for name, found in places.items()}
