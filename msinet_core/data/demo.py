"""The demo set: pictures made on the spot, so that everything can be tried without a download."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.data.fixations import fixation_table
from msinet_core.data.folder import FIXATIONS, SALIENCY, SPLITS, STIMULI
from msinet_core.data.images import to_gray
from msinet_core.errors import DataError, os_reason
from msinet_core.network.ops import Size
from msinet_core.system.files import atomic_folder, write_bytes, write_text
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

DEMO_VERSION = 1
"""To be raised when the pictures come to look different."""

DEMO_TRAIN, DEMO_VALID = 60, 15

MARKER = "demo.json"


def demo_folder(cache: Path) -> Path:
    """Return where the demo set is made when nobody says where.

    Args:
        cache: The folder for what can be made again.
    """
    return cache / f"demo-v{DEMO_VERSION}"


def make_demo(
    folder: Path,
    train: int = DEMO_TRAIN,
    valid: int = DEMO_VALID,
    *,
    size: Size = (240, 320),
    seed: int = 7,
    progress: Progress | None = None,
) -> Path:
    """Make a data set of bright odd ones out among muted shapes, with maps and fixations.

    The same arguments give the same pictures. The folder appears when it is complete; where the
    same set is already, nothing is done.

    Args:
        folder: Where to; it must not exist, be empty, or hold this very set.
        train: The number of training images.
        valid: The number of validation images.
        size: Height and width of the images in pixels.
        seed: Decides the pictures.
        progress: Shows what happens.

    Returns:
        `folder`.

    Raises:
        DataError: The folder holds something else, or cannot be made.
    """
    import numpy as np

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
    with _replaced(folder) as new, (progress or Progress()).task("demo", train + valid) as task:
        for number in range(train + valid):
            split = SPLITS[number >= train]
            scene = draw_scene(np.random.Generator(np.random.PCG64([seed, number])), size)
            name = f"{split}/scene-{number:04d}"
            write_bytes(new / STIMULI / f"{name}.jpg", _jpeg(scene.image))
            write_bytes(new / SALIENCY / f"{name}.png", _png(to_gray(scene.map)))
            write_text(new / FIXATIONS / f"{name}.csv", fixation_table(scene.fixations))
            task.advance()
        write_text(new / MARKER, json.dumps(settings) + "\n")
    return folder


def _is_made(folder: Path, settings: dict[str, object]) -> bool:
    """Tell whether this very set is there; refuse a folder that holds anything else."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DataError(f"{folder} is a file. Name a folder that does not exist yet.")
    if not any(folder.iterdir()):
        return False
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{folder} holds other files; they are left as they are. Name a folder that does not "
            f"exist yet, or an empty one."
        ) from None
    if found != settings:
        raise DataError(
            f"{folder} holds a demo set made with other settings ({json.dumps(found)}). Remove the "
            f"folder, or name another."
        )
    return True


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Lend a new folder beside `folder` that takes its place at the end, or goes away."""
    try:
        with atomic_folder(folder) as new:
            yield new
    except OSError as error:
        raise DataError(
            f"The demo set cannot be made at {folder}: {os_reason(error)}. Make it "
            f"elsewhere with: msinet-run data demo DIR"
        ) from error


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    return _encoded(Image.fromarray(image), "JPEG")


def _png(map: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    return _encoded(Image.fromarray(map), "PNG")


def _encoded(picture: Image, format: str) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format=format, quality=93)
    return stream.getvalue()
