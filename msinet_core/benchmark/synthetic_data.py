"""Draw a dataset whose images take about as long to read as photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from msinet_core.system.files import atomic_path

HEIGHT, WIDTH = 600, 800
"""The size of the pictures to decode, as in OSIE."""


def make_pictures(folder: Path, count: int) -> None:
    """Write a dataset of pictures that take about as long to decode as photographs.

    Args:
        folder: The folder for ``stimuli/`` and ``saliency/``, each with ``train/`` and ``val/``.
        count: The number of training images, in addition to one for validation.
    """
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count + 1):
        split = "train" if number < count else "val"
        coarse = Image.fromarray(random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8))
        grain = random.normal(0, 6, (HEIGHT, WIDTH, 3))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        stimulus = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        spot = Image.fromarray(random.integers(0, 256, (6, 8), np.uint8))
        saliency = spot.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        name = f"{number:04d}"
        with atomic_path(folder / "stimuli" / split / f"{name}.jpg") as path:
            stimulus.save(path, format="JPEG", quality=90)
        with atomic_path(folder / "saliency" / split / f"{name}.png") as path:
            saliency.save(path, format="PNG")
