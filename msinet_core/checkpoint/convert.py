"""Conversion between formats, always through the canonical form, and its proof."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.checkpoint import safetensors, tf1
from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.compare import require_equal
from msinet_core.checkpoint.formats import FORMATS, Format, find_format, own_graph, read_weights
from msinet_core.errors import CheckpointError, UsageError, did_you_mean
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import State

if TYPE_CHECKING:
    from msinet_core.network.graph import Graph
    from msinet_core.network.ops import Size

WRITERS: tuple[Format, ...] = tuple(entry for entry in FORMATS if entry.write is not None)

_ANY_NAME = ("tf1", "savedmodel")
"""Formats whose prefix or folder may have any name, once they are asked for."""

_VERIFY_SIZE = 64
"""Pixels of the image that both files are tried on: every dilation still reaches its neighbors."""


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Args:
        source: The format that was read.
        target: The format that was written.
        checkpoint: What was written.
        left_behind: Sentences about what the source holds and the target cannot.
    """

    source: Format
    target: Format
    checkpoint: Checkpoint
    left_behind: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """How the destination, read again, compares with the source.

    Args:
        tensors: The number of tensors.
        different: Names of those that are not equal bit for bit.
        largest_difference: Between the maps of the two.
        size: Height and width of the image in pixels.
    """

    tensors: int
    different: tuple[str, ...]
    largest_difference: float
    size: Size


def convert(
    source: Path,
    target: Path,
    to: str | None = None,
    *,
    network: Path | None = None,
    from_layout: str | None = None,
    force: bool = False,
) -> Conversion:
    """Read a checkpoint in any format and write it in another.

    Args:
        source: What to read; for a TensorFlow checkpoint its prefix or one of its files.
        target: What to write.
        to: The format's name; None: by the target's name.
        network: A checkpoint of the network that the source is for, where the source does not
            tell; None: the published network.
        from_layout: ``"torch"`` or ``"mlx"``: the kernels of a safetensors file that does not tell.
        force: Whether to replace what is there.

    Raises:
        CheckpointError: The source cannot be read or does not fit; every mismatch is listed.
        UsageError: The target's name fits no format, or something is there already.
        MsinetError: The disk refuses.
    """
    wanted = choose_target(target, to)
    _check_paths(source, target, wanted, force)
    with _open(source, from_layout) as (found, archive):
        graph = None if network is None else own_graph_of(network)
        if graph is not None and archive.graph is not None:
            require_equal(archive, graph)
        graph = graph or own_graph(archive)
        if found.encoder_only:
            raise CheckpointError(
                f"{source} is a {found.title}: it holds an encoder and not the whole network. "
                f"Train from it with --init {source}"
            )
        if from_layout is not None and archive.mismatches(graph):
            _suggest_layout(source, from_layout, graph)
        if "optimizer" not in wanted.holds:
            state = archive.weights_only().read_state(graph)
        else:
            state = archive.read_state(graph)
        training = archive.read_training()
        kept = training if "training" in wanted.holds else None
        checkpoint = Checkpoint(graph, state, kept, archive.metadata)
        left_behind = tuple(_left_behind(archive, graph, wanted, training is not None))
    assert wanted.write is not None
    wanted.write(target, checkpoint)
    return Conversion(found, wanted, checkpoint, left_behind)


def verify(conversion: Conversion, target: Path) -> Verification:
    """Read the target again and compare its tensors and its map of an image with the source's.

    Args:
        conversion: What was written.
        target: Where.

    Raises:
        CheckpointError: The target cannot be read.
    """
    from msinet_core.reference import SPEC

    written = conversion.checkpoint
    again = read_weights(target, written.graph)
    different = tuple(
        name
        for name, tensor in written.state.weights.items()
        if tensor.tobytes() != again.state.weights[name].tobytes()
    )
    multiple = written.graph.size_multiple
    side = -(-_VERIFY_SIZE // multiple) * multiple
    channels = written.graph.channels[written.graph.input.name]
    image = np.random.default_rng(0).uniform(0, 255, (1, side, side, channels))
    device = SPEC.open()
    maps = [
        np.asarray(
            device.compile(written.graph, State(checkpoint.state.weights)).predict(
                image.astype(np.float32)
            )
        )
        for checkpoint in (written, again)
    ]
    difference = float(np.max(np.abs(maps[0] - maps[1])))
    return Verification(len(written.state.weights), different, difference, (side, side))


def choose_target(target: Path, to: str | None) -> Format:
    """Choose the format to write.

    Args:
        target: The file's name decides where `to` does not.
        to: A format's name; None: by the target's name.

    Raises:
        UsageError: No format has that name, or the target's name does not fit it.
    """
    named = [entry for entry in WRITERS if to in (None, entry.name)]
    if not named:
        known = list(dict.fromkeys(entry.name for entry in WRITERS))
        raise UsageError(
            f"There is no format '{to}' to write.{did_you_mean(str(to), known)} "
            f"Formats: {', '.join(known)}."
        )
    fitting = {
        entry: len(suffix)
        for entry in named
        for suffix in entry.suffixes
        if target.name.endswith(suffix)
    }
    longest = [entry for entry, length in fitting.items() if length == max(fitting.values())]
    if to in _ANY_NAME and not longest:
        return named[0]
    if not longest:
        suffixes = list(dict.fromkeys(suffix for entry in named for suffix in entry.suffixes))
        endings = ", ".join(f"*{suffix}" for suffix in suffixes)
        raise UsageError(
            f"'{target.name}' does not end as a file of "
            f"{'any known format' if to is None else f'format {to}'} does."
            f"{did_you_mean(target.suffix, suffixes)} Use one of: {endings}"
        )
    if len(longest) > 1:
        names = " or ".join(f"--to {entry.name}" for entry in longest)
        raise UsageError(f"'{target.name}' does not tell its format. Add {names}.")
    return longest[0]


def own_graph_of(path: Path) -> Graph:
    """Read the network of a checkpoint that holds one.

    Args:
        path: The checkpoint.

    Raises:
        CheckpointError: It holds none.
    """
    with find_format(path).open(path) as archive:
        if archive.graph is None:
            raise CheckpointError(
                f"{path} holds no network. --network takes a checkpoint that msinet wrote, "
                f"such as *.msinet.h5."
            )
        return archive.graph


@contextmanager
def _open(source: Path, from_layout: str | None) -> Iterator[tuple[Format, Archive]]:
    found = find_format(source)
    if from_layout is None:
        with found.open(source) as archive:
            yield found, archive
        return
    if not safetensors.matches(source):
        raise UsageError(
            f"--from-layout is for safetensors files that do not tell their layout; {source} is a "
            f"{found.title}. Leave it out."
        )
    with safetensors.open_archive(source, safetensors.LAYOUTS[from_layout]) as archive:
        titled = replace(found, title=f"safetensors file, {from_layout} layout as said")
        yield titled, archive


def _suggest_layout(source: Path, from_layout: str, graph: Graph) -> None:
    """Refuse a layout in which a file does not fit where it fits in another."""
    for other in safetensors.fitting_layouts(source, graph):
        raise CheckpointError(
            f"The kernels in {source} do not fit the network in the layout '{from_layout}' "
            f"({safetensors.LAYOUTS[from_layout]}); in '{other}' "
            f"({safetensors.LAYOUTS[other]}) all of them do. Use --from-layout {other}"
        )


def _check_paths(source: Path, target: Path, wanted: Format, force: bool) -> None:
    there = tf1.index_of(target) if wanted.name == "tf1" else target
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{source} is both source and destination. Name another destination.")
    if there.exists() and not force:
        raise UsageError(f"{there} is there already. Add --force to replace it.")


def _left_behind(
    archive: Archive, graph: Graph, wanted: Format, has_training: bool
) -> Iterator[str]:
    if archive.optimizer is not None and "optimizer" not in wanted.holds:
        yield f"Adam's memory after {archive.optimizer.step:,} steps"
    if has_training and "training" not in wanted.holds:
        yield "the training run's position, history and configuration"
    if "network" not in wanted.holds:
        if archive.metadata:
            yield f"where the weights come from ({', '.join(sorted(archive.metadata))})"
        if graph != msinet_graph():
            yield (
                "the network, which is not the published one; to read the file again, name a "
                "checkpoint that holds it with --network"
            )
    if archive.unused:
        yield f"{len(archive.unused)} entries that msinet does not use, such as {archive.unused[0]}"
