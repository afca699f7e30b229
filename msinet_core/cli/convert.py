"""``msinet-run convert``: a checkpoint in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from msinet_core.cli.options import ChoiceType

if TYPE_CHECKING:
    from msinet_core.checkpoint.convert import Verification

_FRAMEWORK_FORMATS = {
    "TensorFlow": "keras",
    "PyTorch": "torch",
    "MLX": "mlx",
}
"""What people who use a framework have; msinet's own where it is not listed."""


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="FORMAT|DEVICE",
    help="What to write: msinet, keras, keras2, tf1, frozen, savedmodel, torch or mlx; or a "
    "device's name, for what users of its framework have. [default: by DST's name]",
)
@click.option(
    "--verify",
    "is_verified",
    is_flag=True,
    help="Read DST again and compare it with SRC: every tensor, and the map of an image.",
)
@click.option("--force", is_flag=True, help="Replace DST where it is there.")
@click.option(
    "--network",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Checkpoint of the network that SRC is for, where SRC does not tell. "
    "[default: the published network]",
)
@click.option(
    "--from-layout",
    type=ChoiceType(["torch", "mlx"]),
    help="Order of the kernels' axes in a safetensors file that does not tell: OIHW or OHWI.",
)
def convert(
    source: Path,
    target: Path,
    to: str | None,
    is_verified: bool,
    force: bool,
    network: Path | None,
    from_layout: str | None,
) -> None:
    """Write the checkpoint SRC, in any format, as DST in another.

    Weights arrive bit for bit. What DST's format cannot hold is said on stderr.

    \b
    msinet-run convert model_salicon_cpu.ckpt salicon.msinet.h5 --verify
    msinet-run convert published:salicon salicon.msinet.h5
    msinet-run convert best.msinet.h5 best.weights.h5
    msinet-run convert best.msinet.h5 best.safetensors --to torch
    """  # noqa: D301  -- click's mark for lines to keep
    from msinet_core.checkpoint.convert import convert as convert_file
    from msinet_core.checkpoint.convert import verify
    from msinet_core.checkpoint.published import resolve_weights
    from msinet_core.system.progress_bars import progress_bars

    done = convert_file(
        resolve_weights(source, progress_bars()),
        target,
        _format_name(to),
        network=network,
        from_layout=from_layout,
        force=force,
    )
    for sentence in done.left_behind:
        click.echo(f"Not in {target}: {sentence}.", err=True)
    weights = done.checkpoint.state.weights
    count = done.checkpoint.graph.parameter_count
    click.echo(f"{source}: {done.source.title}")
    click.echo(f"{target}: {done.target.title}, {len(weights)} tensors, {count:,} parameters")
    if is_verified:
        _report(verify(done, target), target)


def _format_name(to: str | None) -> str | None:
    """Give the format for what ``--to`` says: a format's name, or a device's."""
    from msinet_core.checkpoint.convert import WRITERS
    from msinet_core.errors import UsageError, did_you_mean
    from msinet_core.registry.registry import load_registry

    names = list(dict.fromkeys(entry.name for entry in WRITERS))
    if to is None or to in names:
        return to
    try:
        framework = load_registry().spec(to).framework
    except UsageError as error:
        raise UsageError(
            f"There is no format '{to}'.{did_you_mean(to, names)} Formats: {', '.join(names)}. "
            f"{error}"
        ) from None
    return _FRAMEWORK_FORMATS.get(framework, "msinet")


def _report(found: Verification, target: Path) -> None:
    from msinet_core.errors import CheckpointError, bullet_list

    size = "x".join(str(axis) for axis in found.size)
    equal = found.tensors - len(found.different)
    click.echo(f"verified: {equal} of {found.tensors} tensors are equal bit for bit")
    click.echo(
        f"verified: largest difference of the maps {found.largest_difference:g} "
        f"(reference device, {size} pixels)"
    )
    if found.different:
        raise CheckpointError(
            f"{target} does not hold what was written:\n{bullet_list(list(found.different))}\n"
            f"Convert again, and check the disk."
        )
