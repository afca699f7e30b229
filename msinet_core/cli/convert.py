"""``msinet-run convert``: a checkpoint in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msinet_core.cli.options import PathType
from msinet_core.cli.setting_options import kind_option, resize_option, setting_options
from msinet_core.network.export import OnnxSettings
from msinet_core.system.kinds import choice

if TYPE_CHECKING:
    from msinet_core.network.ops import Coordinates


@click.command()
@click.argument("source", metavar="SRC", type=PathType())
@click.argument("target", metavar="DST", type=PathType())
@click.option(
    "--to",
    metavar="FORMAT|DEVICE",
    help="Format to write: msinet, keras, keras2, tf1, frozen, savedmodel, torch, mlx or onnx; or "
    "a device, for the format that users of its framework expect. [default: by DST's name]",
)
@click.option(
    "--verify",
    "is_verified",
    is_flag=True,
    help="Read DST again and compare it with SRC: every tensor, and the map of an image.",
)
@click.option(
    "--force", is_flag=True, help="Replace an existing DST, unless it is a TensorFlow checkpoint."
)
@click.option(
    "--network",
    metavar="FILE",
    type=PathType(),
    help="Checkpoint of the network that SRC is for, if SRC does not hold it. "
    "[default: the published network]",
)
@resize_option
@kind_option(
    "from_layout",
    choice(("torch", "mlx")),
    "Order of the kernels' axes in a safetensors file that does not declare it: torch (OIHW) or "
    "mlx (OHWI).",
)
@setting_options(OnnxSettings)
def convert(
    source: Path,
    target: Path,
    to: str | None,
    is_verified: bool,
    force: bool,
    network: Path | None,
    resize: Coordinates | None,
    from_layout: str | None,
    **settings: Any,
) -> None:
    """Convert the checkpoint SRC, in any format, to DST in another format.

    Weights are equal bit for bit, unless --precision float16 rounds them. What DST's format cannot
    hold is listed on stderr.

    \b
    msinet-run convert model_salicon_cpu.ckpt salicon.msinet.h5 --verify
    msinet-run convert published:salicon salicon.msinet.h5
    msinet-run convert best.msinet.h5 best.weights.h5
    msinet-run convert best.msinet.h5 best.safetensors --to torch
    msinet-run convert best.msinet.h5 best.onnx --image-size 240x320
    """  # noqa: D301  -- click's mark for lines to keep
    import msinet_core as msinet
    from msinet_core.errors import counted

    done = msinet.convert(
        source,
        target,
        to,
        network=network,
        resize=resize,
        from_layout=from_layout,
        settings=OnnxSettings(**settings),
        force=force,
        progress=True,
    )
    for item in done.left_behind:
        click.echo(f"Not in {target}: {item}.", err=True)
    count, parameters = len(done.checkpoint.state.weights), done.checkpoint.graph.parameter_count
    click.echo(f"{source}: {done.source.title}")
    held = f"{counted(count, 'tensor')}, {counted(parameters, 'parameter')}"
    click.echo(f"{target}: {done.target.title}, {held}")
    if not is_verified:
        return
    found = msinet.verify_conversion(done, target)
    size = "x".join(str(axis) for axis in found.size)
    equal = found.tensors - len(found.different)
    click.echo(f"verified: {equal} of {found.tensors} tensors are equal bit for bit")
    click.echo(
        f"verified: the maps differ by at most {found.largest_difference:g} "
        f"(reference device, {size} pixels)"
    )
    if found.different:
        from msinet_core.errors import bullet_list

        raise msinet.CheckpointError(
            f"{target} differs from what was written:\n{bullet_list(list(found.different))}\n"
            f"Convert again, and check the disk."
        )
