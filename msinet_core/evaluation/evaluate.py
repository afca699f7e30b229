"""Evaluate weights on a dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from msinet_core.data.dataset import open_dataset
from msinet_core.errors import DataError, UsageError
from msinet_core.evaluation.report import Evaluation
from msinet_core.evaluation.scoring import score_samples
from msinet_core.network.ops import Coordinates, Size
from msinet_core.prediction.predictor import load
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress


def evaluate(
    weights: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: Literal["valid", "train"] = "valid",
    device: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 42,
    image_size: Size | None = None,
    resize: Coordinates | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    device_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    progress: bool | Progress = False,
) -> Evaluation:
    """Score weights on a dataset with the metrics of the field.

    A Gaussian in the middle of each image is scored too, as what can be predicted without looking
    at the image. NSS, AUC and IG need fixations.

    Args:
        weights: A checkpoint in any format that `convert` reads, or ``"published:salicon"`` (or
            another dataset), which is downloaded once.
        data: A dataset's name, or a folder with ``stimuli/`` and ``saliency/``.
        split: The part of the dataset.
        device: A device's name, or ``"auto"`` for the best one that is available; None for the
            variable ``MSINET_DEVICE``, else ``"auto"``.
        data_root: The folder that contains named datasets; None: ``data``.
        limit: Use only the first images.
        seed: The seed of the training run, which splits a folder without ``train/`` and ``val/``.
        image_size: Height and width in pixels that images are fitted to; None: as in training, else
            the dataset's.
        resize: ``"asymmetric"`` or ``"half_pixel"`` resize coordinates; None: those in the file,
            else asymmetric, with a note.
        batch_size: The maximum number of images in a batch; None: 8.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        device_options: Values for the device's own options, by name.
        workers: Threads that read images; None: by the number of cores.
        progress: Whether to show progress on stderr.

    Raises:
        CheckpointError: The weights cannot be read, do not fit the network, or were trained with
            other resize coordinates.
        DataError: The dataset is incomplete, or has no images in the split.
        DeviceUnavailableError: The device is not available on this machine.
        InterruptedRunError: Interrupted.
        UsageError: An argument cannot be used as given.

    Example:
        >>> evaluation = evaluate("best.msinet.h5", "osie", device="cpu")
        >>> evaluation.summary()["nss"]["network"].mean
    """
    if split not in ("valid", "train"):
        raise UsageError(f"Invalid split: {split!r}; use 'valid' or 'train'")
    root = None if data_root is None else Path(data_root)
    dataset = open_dataset(os.fspath(data), root, seed=seed)
    samples = (dataset.valid if split == "valid" else dataset.train)[:limit]
    if not samples:
        raise DataError(f"Dataset {dataset.name} has no images in the split '{split}'.")
    progress = as_progress(progress)
    predictor = load(
        weights,
        device,
        precision=precision,
        image_size=image_size,
        resize=resize,
        batch_size=batch_size,
        device_options=device_options,
        workers=workers,
        progress=progress,
    )
    if image_size is None and predictor.trained_image_size is None:
        predictor.image_size = dataset.image_size
    return replace(
        score_samples(predictor, samples, progress),
        data=dataset.name,
        split=split,
        weights=os.fspath(weights),
        device=predictor.device,
        precision=predictor.precision,
        image_size=predictor.image_size,
    )
