"""MSI-Net's layers under the names that other software gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msinet_core.errors import CheckpointError, bullet_list, printable
from msinet_core.network.graph import Graph

_LAYER = re.compile(r"(?:^|[/.])(conv[1-5]|aspp|decoder)[/._](conv\d(?:_\d)?)$")
"""A layer of MSI-Net at the end of a name, after any scopes."""

_WEIGHT = re.compile(r"(.+)(?:/(kernel|bias)(?::0)?|\.(weight|bias))$")
"""A weight under a name of TensorFlow or PyTorch."""


def layer_name(name: str) -> str | None:
    """Recognize a layer of MSI-Net by the end of its name; return None for any other.

    Args:
        name: For example ``model/conv1/conv1_1`` or ``conv1_conv1_1``.
    """
    match = _LAYER.search(name)
    return f"{match[1]}/{match[2]}" if match else None


def weight_name(name: str) -> str | None:
    """Recognize a weight of MSI-Net in TensorFlow or PyTorch; return None for any other name.

    Args:
        name: For example ``model/conv1/conv1_1/kernel:0`` or ``conv1.conv1_1.weight``.
    """
    match = _WEIGHT.match(name)
    layer = layer_name(match[1]) if match else None
    if match is None or layer is None:
        return None
    role = match[2] or match[3].replace("weight", "kernel")
    return f"{layer}/{role}"


def flat_names(names: Iterable[str], separator: str) -> dict[str, str]:
    """Return names without slashes, by the names in the network.

    Args:
        names: Of nodes or parameters.
        separator: Replaces each slash.

    Raises:
        CheckpointError: Two of them would be equal.
    """
    flat = {name: name.replace("/", separator) for name in names}
    values = list(flat.values())
    clashes = sorted({name for name in values if values.count(name) > 1})
    if clashes:
        raise CheckpointError(
            f"This network cannot be written in this format, which has '{separator}' in place of "
            f"'/': several layers or weights would be named\n{bullet_list(clashes)}\n"
            f"Write *.msinet.h5 instead."
        )
    return flat


def torch_names(graph: Graph) -> dict[str, str]:
    """Return each parameter's key in a PyTorch state_dict, by its canonical name.

    Args:
        graph: The network.

    Raises:
        CheckpointError: Two of them would be equal.
    """
    flat = flat_names((parameter.name for parameter in graph.parameters), ".")
    return {name: re.sub("kernel$", "weight", key) for name, key in flat.items()}


def from_torch_names(keys: Iterable[str], graph: Graph | None, path: Path) -> Mapping[str, str]:
    """Return the keys of a state_dict by canonical name; an unknown key is its own name.

    Args:
        keys: For example ``conv1.conv1_1.weight``.
        graph: The network that the file was written for, if the file holds it.
        path: The file, for messages.

    Raises:
        CheckpointError: Lists every name that several keys have.
    """
    known = {} if graph is None else {key: name for name, key in torch_names(graph).items()}
    recognize = weight_name if graph is None else known.get
    return unique(((recognize(key) or key, key) for key in keys), path)


def unique(found: Iterable[tuple[str, str]], path: Path) -> Mapping[str, str]:
    """Pair canonical names with names in a file, each once.

    Args:
        found: Canonical name and name in the file.
        path: The file, for messages.

    Raises:
        CheckpointError: Lists every canonical name that several tensors have.
    """
    by_name: dict[str, list[str]] = {}
    for name, stored in found:
        by_name.setdefault(name, []).append(stored)
    clashes = [
        printable(f"{name}: {', '.join(stored)}") for name, stored in by_name.items() if stored[1:]
    ]
    if clashes:
        raise CheckpointError(
            f"{path} holds several tensors for one weight:\n{bullet_list(clashes)}\n"
            f"Save a single model in a file of its own."
        )
    return {name: stored[0] for name, stored in by_name.items()}
