"""Create the demo dataset, so that everything can be tried without a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msinet_core.data.fixations import fixation_table
from msinet_core.data.folder import FIXATIONS, SALIENCY, SPLITS, STIMULI
from msinet_core.data.images import to_gray
from msinet_core.errors import DataError, MsinetError
from msinet_core.network.ops import Size
from msinet_core.system.files import atomic_folder, cache_folder, write_text
from msinet_core.system.progress import Progress

DEMO_VERSION = 1
"""Increase it when the pictures change."""

DEMO_TRAIN, DEMO_VALID = 60, 15

MARKER = "demo.json"


def demo_folder() -> Path:
    """Return the default folder of the demo dataset, in the user's cache folder."""
    return cache_folder() / f"demo-v{DEMO_VERSION}"


def make_demo(
    folder: Path,
    train: int = DEMO_TRAIN,
    valid: int = DEMO_VALID,
    *,
    size: Size = (240, 320),
    seed: int = 7,
    progress: Progress | None = None,
) -> Path:
    """Create a dataset of muted shapes with a bright odd one out, with maps and fixations.

    The same arguments give the same pictures. The folder appears when it is complete; if it has
    the same dataset already, nothing is done.

    Args:
        folder: The folder to create; it must not exist, be empty, or have the same dataset.
        train: The number of training images.
        valid: The number of validation images.
        size: Height and width of the images in pixels.
        seed: Determines the pictures.
        progress: Shows progress.

    Returns:
        `folder`.

    Raises:
        DataError: The folder has other files, or cannot be created.
    """
    import numpy as np
    from PIL import Image

    from msinet_core.data.demo_scene import draw_scene

    settings = {
        "version": DEMO_VERSION,
        "train": train,
        "valid": valid,
        "image_size": list(size),
        "seed": seed,
    }
    if _is_made(folder, settings):
        return folder
    try:
        with (
            atomic_folder(folder) as new,
            (progress or Progress()).task("demo", train + valid) as task,
        ):
            for number in range(train + valid):
                split = SPLITS[number >= train]
                scene = draw_scene(np.random.Generator(np.random.PCG64([seed, number])), size)
                name = f"{split}/scene-{number:04d}"
                for path, pixels in (
                    (new / STIMULI / f"{name}.jpg", scene.image),
                    (new / SALIENCY / f"{name}.png", to_gray(scene.map)),
                ):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path, quality=93)
                write_text(new / FIXATIONS / f"{name}.csv", fixation_table(scene.fixations))
                task.advance()
            write_text(new / MARKER, json.dumps(settings) + "\n")
    except MsinetError as error:
        if _is_made(folder, settings):  # meanwhile, by another process
            return folder
        raise DataError(
            f"{error} To create the demo dataset elsewhere, run: msinet-run data demo DIR"
        ) from error
    return folder


def _is_made(folder: Path, settings: dict[str, object]) -> bool:
    """Return whether the folder has the same dataset; refuse one with anything else."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file. Choose a folder that does not exist yet.")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{folder} contains other files. Choose a folder that does not exist yet, or an empty "
            f"one."
        ) from None
    if found != settings:
        raise DataError(
            f"{folder} contains another demo dataset{_differences(found, settings)}. Remove it, or "
            f"choose another folder."
        )
    return True


def _differences(found: Any, settings: dict[str, object]) -> str:
    known = found if isinstance(found, dict) else {}
    texts = [
        f"{name} {known[name]} instead of {value}"
        for name, value in settings.items()
        if name in known and known[name] != value
    ]
    return f": {', '.join(texts)}" if texts else ""
