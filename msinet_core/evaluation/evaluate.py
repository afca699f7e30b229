"""Evaluate weights or maps on a dataset."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from msinet_core.checkpoint.published import resolve_weights
from msinet_core.checkpoint.read import read_metadata
from msinet_core.data.check import LOWEST_FIT
from msinet_core.data.dataset import (
    SPLIT_NAMES,
    Dataset,
    SplitName,
    check_output,
    namesake,
    open_dataset,
)
from msinet_core.data.fixations import Coverage
from msinet_core.data.sample import Sample
from msinet_core.data.split import (
    ScoredPart,
    StoredSplit,
    digest_samples,
    select,
)
from msinet_core.errors import (
    DataError,
    EvaluationError,
    MsinetError,
    UsageError,
    command,
    counted,
)
from msinet_core.evaluation.fixation_bank import FEWEST_OTHER_IMAGES, FixationBank
from msinet_core.evaluation.map_files import MapFolder
from msinet_core.evaluation.report_page import write_report
from msinet_core.evaluation.result import Evaluation, ImageScores
from msinet_core.evaluation.scoring import Scorer, predicted, read_maps, score_samples
from msinet_core.network.ops import Coordinates, Size
from msinet_core.prediction.predictor import load
from msinet_core.system.kinds import FLAG, SIGMA, SPLIT, integer
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress
from msinet_core.system.settings import SPLIT_SEED, check_argument, check_optional

WEIGHTS_ONLY = ("device", "image_size", "resize", "batch_size", "precision", "device_options")
"""The arguments of `evaluate` that maps do not need."""


def evaluate(
    weights: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] = "",
    *,
    maps: str | os.PathLike[str] | None = None,
    split: SplitName = "valid",
    split_seed: int | None = None,
    sigma: float | None = None,
    baselines: bool = True,
    report: str | os.PathLike[str] | None = None,
    device: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    image_size: Size | Literal["original"] | None = None,
    resize: Coordinates | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    device_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    progress: bool | Progress = False,
) -> Evaluation:
    """Score weights, or anyone's maps, on a dataset with the metrics of the field.

    Baselines are scored too: a uniform map, a centered Gaussian, the center bias of the dataset's
    other images and, where observers are known, the observers themselves as predictions of each
    other. Fixations of all images of the dataset are used as negatives and for the center bias,
    whichever images are scored.

    A checkpoint of a training run records its images by their content: its own split is used, and
    no image that it was trained on is scored, unless the split is ``"train"``.

    Args:
        weights: A checkpoint in any format that `convert` reads, or ``"published:salicon"`` (or
            another dataset), which is downloaded once.
        data: A dataset's name, or a folder with ``stimuli/`` and ``saliency/``, ``fixations/`` or
            both.
        maps: Instead of weights, a folder of maps that are named like the images: image files, or
            ``.npy`` with any scale. They are scored without a network, so ``device``,
            ``image_size``, ``resize``, ``batch_size``, ``precision`` and ``device_options`` cannot
            be given with them.
        split: The part of the dataset: ``"train"``, ``"valid"`` or ``"test"``.
        split_seed: The seed of the split of a folder without ``train/`` and ``val/``; None: that
            of the checkpoint, else 42.
        sigma: Compare with maps drawn from the fixations, with a Gaussian of this many pixels;
            None: with the dataset's maps.
        baselines: Score the baselines and the observers, too.
        report: An HTML file to write, which needs no other file.
        device: A device's name, or ``"auto"`` for the best one that is available; None for the
            variable ``MSINET_DEVICE``, else ``"auto"``.
        data_root: The folder that contains named datasets; None: ``data``.
        limit: Use only the first images.
        image_size: Height and width in pixels that images are fitted to; ``"original"``: each image
            at its own size; None: as in training, else the dataset's.
        resize: ``"asymmetric"`` or ``"half_pixel"`` resize coordinates; None: those in the file,
            else asymmetric, with a note.
        batch_size: The maximum number of images in a batch; None: 8.
        precision: ``"float32"``, so that scores are the same on all devices, ``"bfloat16"``,
            ``"float16"``, or ``"auto"`` for the fastest one.
        device_options: Values for the device's own options, by name.
        workers: Threads that read images; None: by the number of cores.
        progress: Whether to show progress on stderr.

    Raises:
        CheckpointError: The weights cannot be read, do not fit the network, or were trained with
            other resize coordinates.
        DataError: The dataset is incomplete, or has no images in the split.
        EvaluationError: No image could be scored, or the report could not be written, which is
            checked first; the error's attribute ``evaluation`` has the scores.
        DeviceUnavailableError: The device is not available on this machine.
        InterruptedRunError: Interrupted.
        UsageError: An argument cannot be used as given.

    Example:
        >>> evaluation = evaluate("best.msinet.h5", "osie", device="cpu")
        >>> evaluation.summary()["nss"]["model"].mean
    """
    if (weights is None) == (maps is None):
        raise UsageError("Give either weights (--weights) or maps (--maps) to evaluate.")
    if not os.fspath(data):
        raise UsageError("No dataset given; pass its name or its folder.")
    split = check_argument("split", SPLIT, split)
    split_seed = check_optional("split_seed", integer(0), split_seed)
    sigma = check_optional("sigma", SIGMA, sigma)
    limit = check_optional("limit", integer(), limit)
    check_argument("baselines", FLAG, baselines)
    if maps is not None:
        values = device, image_size, resize, batch_size, precision != "float32", device_options
        ignored = [name for name, value in zip(WEIGHTS_ONLY, values, strict=True) if value]
        if ignored:
            raise UsageError(f"Maps are scored without a network: leave out {', '.join(ignored)}.")
    root = None if data_root is None else Path(data_root)
    if report is not None:
        check_output(Path(report), (".html", ".htm"), os.fspath(data), root)
    shows = bool(progress)
    progress = as_progress(progress)
    metadata: Mapping[str, Any] = {}
    if weights is not None:
        metadata = read_metadata(resolve_weights(os.fspath(weights), progress))
    stored = StoredSplit.from_metadata(metadata)
    seed = split_seed if split_seed is not None else stored.seed if stored else SPLIT_SEED
    dataset = open_dataset(os.fspath(data), root, split_seed=seed, sigma=sigma, need_maps=False)
    selection = ScoredPart(dataset.part(split))
    if stored is not None:
        selection = select(dataset, split, stored, digest_samples(dataset.samples, progress))
    samples = selection.samples[:limit]
    if not samples:
        raise DataError(_nothing_left(dataset, split, selection))
    folder = None if maps is None else MapFolder(Path(maps), samples)
    bank = FixationBank(dataset.samples, progress)
    scorer = Scorer(bank, dataset.sigma, baselines, report is not None)
    facts: dict[str, Any] = {}
    if folder is not None:
        outcomes = read_maps(folder.read, samples, scorer, workers)
    else:
        predictor = load(
            weights or "",
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
        outcomes = predicted(predictor, samples, scorer)
        facts = {name: getattr(predictor, name) for name in ("device", "precision", "image_size")}
    with closing(outcomes):  # after Ctrl-C, nothing else is scored
        evaluation = score_samples(samples, outcomes, scorer, progress)
    check_data = command("data", "check", os.fspath(data), data_root=root)
    evaluation = replace(
        evaluation,
        data=dataset.name,
        split=split,
        weights=os.fspath(weights or maps or ""),
        sigma=dataset.sigma,
        notes=(
            *_changes(split, selection),
            *_knowledge(dataset, stored, selection, split_seed),
            *_unknown(stored, maps is None),
            *_missing(evaluation, dataset.samples),
            *_unread(bank.unread - set(samples), check_data),
            *_misplaced(bank.coverage),
            *_mismatched(evaluation.images, check_data),
            *namesake(os.fspath(data), root),
        ),
        **facts,
    )
    if report is not None and evaluation.images:
        try:
            write_report(evaluation, Path(report))
        except MsinetError as error:
            raise EvaluationError(str(error), evaluation) from error
    if evaluation.failures:
        total = counted(len(evaluation.images) + len(evaluation.failures), "image")
        name, reason = evaluation.failures[0]
        failed = len(evaluation.failures)
        text = f"{failed} of {total} could not be used; the first is {name}: {reason}"
        if not evaluation.images:
            raise EvaluationError(text, evaluation)
        if not shows:
            warnings.warn(f"{text} The scores are of the others.", stacklevel=2)
    return evaluation


def _nothing_left(dataset: Dataset, split: SplitName, selection: ScoredPart) -> str:
    if selection.left_out or selection.moved:
        return (
            f"Nothing is left to score on {dataset.name}. {' '.join(_changes(split, selection))} "
            f"Evaluate on images that were not used for training, or on another split (--split)."
        )
    others = " or ".join(f"--split {name}" for name in SPLIT_NAMES if dataset.part(name))
    where = "put them into stimuli/test/" if split == "test" else f"use {others}"
    return f"Dataset {dataset.name} has no images in the split '{split}'; {where}."


def _changes(split: SplitName, selection: ScoredPart) -> Iterator[str]:
    """Say how the scored images differ from the dataset's split."""
    for verb, number, why in (
        ("Left out of", selection.left_out, "the weights were trained on"),
        ("Left out of", selection.moved, "the training run had in another"),
        ("Added to", selection.added, "the training run had in it"),
    ):
        if number:
            yield f"{verb} the split '{split}': {counted(number, 'image')} that {why}."


def _knowledge(
    dataset: Dataset, stored: StoredSplit | None, selection: ScoredPart, split_seed: int | None
) -> Iterator[str]:
    """Say whose split the images have."""
    known, total = selection.known, len(dataset.samples)
    if stored is not None and known:
        ignored = "" if split_seed in (None, stored.seed) else f", not of --split-seed {split_seed}"
        others = "" if known == total else "; the others have that of the dataset"
        yield (
            f"The checkpoint knows {known:,} of {counted(total, 'image')} by content, which have "
            f"the split of the training run{ignored}{others}."
        )
    elif stored is not None and stored.complete and not selection.earlier:
        yield "None of these images was used to train the weights."


def _unknown(stored: StoredSplit | None, with_weights: bool) -> Iterator[str]:
    if with_weights and (stored is None or not stored.complete):
        unknown = "checkpoint does not record its"
        if stored is not None:
            unknown = "run's initial weights do not record their"
        yield f"The {unknown} training images; some of the images scored here may be among them."


def _unread(others: Set[Sample], check_data: str) -> Iterator[str]:
    if others:
        yield (
            f"The fixations of {counted(len(others), 'other image')} could not be read; shuffled "
            f"AUC and the center bias leave them out. List them with: {check_data}"
        )


def _misplaced(coverage: Coverage) -> Iterator[str]:
    """Say what is wrong with coordinates of fixations; a few outside their images are usual."""
    problems = coverage.problems()
    yield from problems
    if coverage.outside and not problems:
        total = coverage.outside + (coverage.count or 0)
        yield f"Fixations outside their images are ignored: {coverage.outside:,} of {total:,}."


def _mismatched(images: Sequence[ImageScores], check_data: str) -> Iterator[str]:
    """Say if the true maps are not those of the fixations."""
    fits = [image.fit for image in images if not math.isnan(image.fit)]
    if fits and (mean := sum(fits) / len(fits)) < LOWEST_FIT:
        yield (
            f"The true maps do not fit the fixations: their mean NSS is {mean:.2f}, where maps "
            f"that were made from them have more than {LOWEST_FIT:g}. Look for the reason with: "
            f"{check_data}"
        )


def _missing(evaluation: Evaluation, samples: Sequence[Sample]) -> Iterator[str]:
    images = len(evaluation.images)
    if evaluation.with_fixations < images:
        yield (
            f"Fixations, which NSS, AUC, IG and log-likelihood need, are known for "
            f"{evaluation.with_fixations} of {counted(images, 'image')}."
        )
    if not any(sample.has_map for sample in samples):
        yield (
            "The dataset has no maps, which KLD, CC and SIM compare with; give a sigma (--sigma) "
            "to draw them from the fixations."
        )
    auc, shuffled = (evaluation.values(key) for key in ("auc_judd", "shuffled_auc"))
    if np.isnan(shuffled).all() and not np.isnan(auc).all():
        yield (
            f"Shuffled AUC and IG over the center bias are omitted: they need at least "
            f"{FEWEST_OTHER_IMAGES} other images with fixations."
        )
