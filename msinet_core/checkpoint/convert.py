"""Convert between formats, always through the canonical form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from msinet_core.checkpoint.archive import Archive, Checkpoint
from msinet_core.checkpoint.catalog import (
    FORMATS,
    Format,
    contributed_formats,
    find_format,
    open_checkpoint,
    problem_list,
)
from msinet_core.checkpoint.compare import require_equal
from msinet_core.checkpoint.formats import frozen, onnx, safetensors, tf1
from msinet_core.checkpoint.guard import reading
from msinet_core.checkpoint.published import PREFIX, resolve_weights
from msinet_core.checkpoint.read import check_resize, choose_network, require_whole_network
from msinet_core.errors import CheckpointError, UsageError, did_you_mean, printable
from msinet_core.network.export import OnnxSettings
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Coordinates
from msinet_core.registry.registry import load_registry
from msinet_core.system.files import check_writable_folder
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress

_ANY_NAME = ("tf1", "savedmodel")
"""Formats whose prefix or folder may have any name, if they are requested."""


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Args:
        source: The format that was read.
        target: The format that was written.
        checkpoint: What was written.
        left_behind: What the source holds and the target's format cannot.
    """

    source: Format
    target: Format
    checkpoint: Checkpoint = field(repr=False)
    left_behind: tuple[str, ...]


def convert(
    source: str | Path,
    target: str | Path,
    to: str | None = None,
    *,
    network: str | Path | None = None,
    resize: Coordinates | None = None,
    from_layout: str | None = None,
    settings: OnnxSettings = onnx.DEFAULTS,
    force: bool = False,
    progress: bool | Progress = False,
) -> Conversion:
    """Read a checkpoint in any format and write it in another.

    Weights are equal bit for bit, unless the settings round them.

    Args:
        source: A file, the prefix of a TensorFlow checkpoint, or ``"published:DATASET"``.
        target: The file, prefix or folder to write.
        to: The name of a format, or of a device, for the format that users of its framework
            expect; None: by the target's name.
        network: A checkpoint of the network that the source is for, if the source does not hold
            it, or ``"published:DATASET"``; None: the published network.
        resize: ``"asymmetric"`` or ``"half_pixel"`` resize coordinates, stored in the target;
            None: those in the source, else asymmetric.
        from_layout: ``"torch"`` (OIHW) or ``"mlx"`` (OHWI): the order of the kernels' axes in a
            safetensors file that does not declare it.
        settings: How to write an ONNX model.
        force: Replace an existing target.
        progress: Show notes and the download of published weights.

    Raises:
        CheckpointError: The source cannot be read or does not fit, every mismatch is listed; or it
            stores other resize coordinates.
        UsageError: The target's name fits no format, the target exists, or the settings are for
            another format.
        MsinetError: The disk is full or read-only.
    """
    target = Path(target)
    written = _apply_settings(choose_target(target, to), settings)
    _check_paths(Path(source), target, written, force)
    check_writable_folder(target.parent, target)
    progress = as_progress(progress)
    options = {"from_layout": from_layout, "resize": resize}
    resize = check_resize(source, resize)
    source = resolve_weights(source, progress)
    found = _source_format(source, from_layout)
    with reading(source):
        archive = found.open(source)
        require_whole_network(found, source)
        if network is None:
            graph = choose_network(archive, resize, progress=progress)
        else:
            graph = _graph_of(network, resize, progress)
        require_equal(archive, graph)
        if from_layout is not None and archive.mismatches(graph):
            _suggest_layout(source, from_layout, graph)
        readable = archive if "optimizer" in written.holds else archive.weights_only()
        state, training = readable.read_state(graph, options), archive.read_training()
        kept = training if "training" in written.holds else None
        checkpoint = onnx.round_weights(Checkpoint(graph, state, kept, archive.metadata), settings)
        left_behind = tuple(
            printable(item) for item in _left_behind(archive, graph, written, training is not None)
        )
    assert written.write is not None
    written.write(target, checkpoint)
    return Conversion(found, written, checkpoint, left_behind)


def choose_target(target: Path, to: str | None) -> Format:
    """Choose the format to write.

    Args:
        target: Its name decides if `to` does not.
        to: The name of a format or a device; None: by the target's name.

    Raises:
        UsageError: There is no such format, or the target's name does not fit it.
    """
    writers = [one for one in FORMATS if one.write is not None]
    fitting = _fitting(target, writers, to)
    problems: list[str] = []
    if not fitting:
        contributed, problems = contributed_formats()
        writers += [one for one in contributed if one.write is not None]
        to = _format_name(to, writers, problems)
        fitting = _fitting(target, writers, to)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " or ".join(f"--to {one.name}" for one in fitting)
        raise UsageError(f"The format of '{target.name}' is ambiguous; add {names}")
    suffixes = list(
        dict.fromkeys(
            suffix for one in writers if to in (None, one.name) for suffix in one.suffixes
        )
    )
    raise UsageError(
        f"Unsupported file name for {'a checkpoint' if to is None else f'format {to}'}: "
        f"'{target.name}'; use one of {', '.join(f'*{suffix}' for suffix in suffixes)}."
        f"{did_you_mean(target.suffix, suffixes)}{problem_list(problems)}"
    )


def _apply_settings(written: Format, settings: OnnxSettings) -> Format:
    """Return the format that writes with these settings."""
    if not isinstance(settings, OnnxSettings):
        raise UsageError(f"Invalid settings: {settings!r}; must be OnnxSettings(...).")
    if written.name == onnx.NAME:
        return replace(written, write=partial(onnx.write, settings=settings))
    changed = [
        f"--{name.replace('_', '-')}"
        for name, value in asdict(settings).items()
        if value != getattr(onnx.DEFAULTS, name)
    ]
    if changed:
        raise UsageError(
            f"Only ONNX models (*{onnx.SUFFIX}) take {' and '.join(changed)}; omit "
            f"{'it' if len(changed) == 1 else 'them'} to write the format '{written.name}'."
        )
    return written


def _fitting(target: Path, writers: list[Format], to: str | None) -> list[Format]:
    """List the formats that a target's name fits, by the longest suffix."""
    named = [one for one in writers if to in (None, one.name)]
    lengths = {
        one: len(suffix) for one in named for suffix in one.suffixes if target.name.endswith(suffix)
    }
    if not lengths and to in _ANY_NAME:
        return named
    return [one for one, length in lengths.items() if length == max(lengths.values())]


def _format_name(to: str | None, writers: list[Format], problems: list[str]) -> str | None:
    """Return the name of a format for the name of a format or a device."""
    names = list(dict.fromkeys(one.name for one in writers))
    if to is None or to in names:
        return to
    registry = load_registry()
    try:
        return registry.spec(to).checkpoint_format
    except UsageError as error:
        raise UsageError(
            f"Unknown format '{to}'.{did_you_mean(to, names)} Formats: {', '.join(names)}. "
            f"{error}{problem_list(problems)}"
        ) from None


def _graph_of(network: str | Path, resize: Coordinates | None, progress: Progress) -> Graph:
    resize = check_resize(network, resize)
    with open_checkpoint(resolve_weights(network, progress)) as (_, archive):
        if archive.graph is None and not str(network).startswith(PREFIX):
            raise CheckpointError(
                f"{network} holds no network. --network takes a checkpoint that msinet wrote, such "
                f"as *.msinet.h5."
            )
        return choose_network(archive, resize)


def _source_format(source: Path, from_layout: str | None) -> Format:
    found = find_format(source)
    if from_layout is None:
        return found
    if from_layout not in safetensors.LAYOUTS:
        raise UsageError(
            f"Invalid from_layout: '{from_layout}'; use {' or '.join(safetensors.LAYOUTS)}."
        )
    if not safetensors.matches(source):
        raise UsageError(
            f"--from-layout is for safetensors files, which {source} is not; leave it out."
        )
    return replace(
        found,
        title=f"safetensors file read with --from-layout {from_layout}",
        open=partial(safetensors.open_archive, kernel_layout=safetensors.LAYOUTS[from_layout]),
    )


def _suggest_layout(source: Path, from_layout: str, graph: Graph) -> None:
    """Refuse a layout that does not fit if another one does."""
    for other in safetensors.fitting_layouts(source, graph):
        raise CheckpointError(
            f"The kernels in {source} do not fit the network in the layout '{from_layout}' "
            f"({safetensors.LAYOUTS[from_layout]}); in '{other}' "
            f"({safetensors.LAYOUTS[other]}) all of them do. Use --from-layout {other}"
        )


def _check_paths(source: Path, target: Path, written: Format, force: bool) -> None:
    if written.name == "tf1" and target.name in ("", ".."):
        raise UsageError(
            f"'{target}' is a directory; name a prefix in it, such as {target / 'model.ckpt'}."
        )
    if written.name == "tf1" and tf1.matches(target):
        raise UsageError(
            f"{tf1.prefix_of(target)} already exists, and the files of a TensorFlow checkpoint "
            f"cannot be replaced in one step. Delete them, or name another destination."
        )
    file = target
    if written.name == "savedmodel":
        file = frozen.saved_model_file(target)
        if target.is_file() and file != target:
            raise UsageError(f"{target} is a file, and a SavedModel is a folder; name another.")
    original = frozen.saved_model_file(source) if frozen.matches_saved_model(source) else source
    if original.exists() and file.exists() and original.samefile(file):
        raise UsageError(f"{source} is both source and destination; name another destination.")
    if target.exists() and written.name != "tf1" and not force:
        raise UsageError(f"{target} already exists; add --force to replace it.")


def _left_behind(
    archive: Archive, graph: Graph, written: Format, has_training: bool
) -> Iterator[str]:
    if archive.optimizer is not None and "optimizer" not in written.holds:
        yield f"Adam's moments after {archive.optimizer.step:,} steps"
    if has_training and "training" not in written.holds:
        yield "the training run's position, history and configuration"
    if "network" not in written.holds:
        if archive.metadata:
            yield f"the metadata ({', '.join(sorted(archive.metadata))})"
        if graph == msinet_graph(resize="half_pixel"):
            yield "the resize coordinates; to read the file again, add --resize half_pixel"
        elif graph != msinet_graph():
            yield (
                "the network, which is not the published one; to read the file again, name a "
                "checkpoint of this network with --network"
            )
    if archive.unused:
        yield f"{len(archive.unused)} entries that msinet does not use, such as {archive.unused[0]}"
