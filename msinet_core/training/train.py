"""Train MSI-Net: choose the settings, the device and the folder of a run, and start it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from msinet_core.data.dataset import check_apart
from msinet_core.errors import UsageError
from msinet_core.network.ops import Coordinates, Size
from msinet_core.registry.registry import AUTO, DEVICE_VARIABLE, load_registry
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config, read_config_to_repeat
from msinet_core.training.resume import resumed_with
from msinet_core.training.run_folder import RunFolder, new_run_path, newest_run_path
from msinet_core.training.start import plan_training, start_training


@dataclass(frozen=True)
class Run:
    """Describe a finished training run.

    Args:
        path: Its folder.
        device: The name of the device it ran on.
        history: One row per epoch, with the columns of ``history.csv``.
        best: The checkpoint of the best epoch.
        latest: The checkpoint to resume from.
        curve: The picture of the learning curve.
        plan: What ``dry_run`` found; nothing of the above exists then.
    """

    path: Path
    device: str
    history: list[dict[str, Any]]
    best: Path
    latest: Path
    curve: Path
    plan: tuple[str, ...] = ()


def train(
    data: str | Path | None = None,
    *,
    device: str | None = None,
    run: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: bool | Progress = False,
    data_root: str | Path | None = None,
    init: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    learning_rate: float | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    plateau_epochs: int | None = None,
    plateau_factor: float | None = None,
    loss: str | None = None,
    freeze: str | Sequence[str] | None = None,
    part_rates: Mapping[str, float] | None = None,
    metrics: str | Sequence[str] | None = None,
    best_by: str | None = None,
    patience: int | None = None,
    flip: bool | None = None,
    precision: str | None = None,
    device_options: Mapping[str, str] | None = None,
    image_size: Size | str | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    sigma: float | None = None,
    cache: bool | None = None,
    shuffle: bool | None = None,
    limit_train: int | None = None,
    limit_valid: int | None = None,
    width: float | None = None,
    resize: Coordinates | None = None,
    workers: int | None = None,
    distribute: str | None = None,
    log: str | Sequence[str] | None = None,
) -> Run:
    """Train MSI-Net on a dataset, or resume a training run.

    Ctrl-C saves the state and raises `InterruptedRunError`; a run that is resumed continues with
    the same losses as an uninterrupted one. A setting that is None has the default given below,
    or in a resumed run the run's own value.

    Args:
        data: A dataset's name or folder; required for a new run without `config`.
        device: A device's name, or "auto" for the best one that is available; None for the
            variable ``MSINET_DEVICE``, else the device of the resumed run, else "auto".
        run: The run folder; None for a new one in ``runs``, or the newest one to resume.
        config: A file of settings, such as the ``config.toml`` of a run to repeat; the other
            arguments override it.
        resume: Continue an earlier run exactly where it stopped.
        dry_run: Check the settings, the data and the weights, and train nothing; the result's
            ``plan`` describes the run and the memory that it needs by batch size. No device is
            opened.
        progress: True shows progress on stderr.
        data_root: The folder of named datasets; default "data".
        init: "auto", "vgg16", "random", "published:salicon" (or another dataset), or the path of
            a weights file; default "auto", which is VGG16 if its file is on this machine.
        epochs: Passes over the training images, including those of a resumed run; default 10.
        batch_size: Images in a batch, over all devices and processes; default 1.
        accumulate: Batches in one optimizer step; default 1.
        learning_rate: Adam's learning rate; default 1e-5.
        schedule: How the learning rate changes: "constant", "cosine" (to 0 over all epochs) or
            "plateau" (times `plateau_factor` after `plateau_epochs` epochs without a new best);
            default "constant".
        warmup: Steps at the beginning over which the learning rate rises linearly; default 0.
        plateau_epochs: Epochs to wait with the schedule "plateau"; default 2.
        plateau_factor: Factor on the learning rate with the schedule "plateau"; default 0.1.
        loss: "kld", "cc" (1 - CC), "sim" (1 - SIM), "nss" (-NSS on the true map), or a weighted
            sum such as "kld+0.5*cc"; default "kld".
        freeze: Parts of the network that are not trained: "encoder", "aspp", "decoder".
        part_rates: Factor on the learning rate by part of the network.
        metrics: Metrics to compute on the validation images after each epoch: "nss", "cc", "sim",
            "kld", "auc_judd" or several of them.
        best_by: What decides which epoch is the best: "loss" or a metric; default "loss".
        patience: Stop after so many epochs without a new best.
        flip: Mirror a random half of the training images in each epoch; default False.
        precision: "auto", "float32", "bfloat16" or "float16"; default "auto".
        device_options: Options of the device, by name.
        image_size: Height and width in pixels; default the dataset's own, else that of the file
            `init`, else 240x320.
        seed: Seed of random weights and image order, 0 or above; default 42.
        split_seed: Seed of the split of a folder without ``train/`` and ``val/``; default 42.
        sigma: Draw the maps from the fixations, with a Gaussian of this many pixels; default the
            dataset's maps.
        cache: Keep fitted images and maps on disk for later epochs and runs; default False.
        shuffle: Use a new image order in each epoch; default True.
        limit_train: Use the first so many training images only.
        limit_valid: Use the first so many validation images only.
        width: Scale of the number of channels; default that of the file `init`, else 1.
        resize: "asymmetric" or "half_pixel" resize coordinates; default those of the file `init`,
            else "asymmetric".
        workers: Threads that read images; default by the number of cores.
        distribute: "auto", "none", "mirrored" or "multiworker"; default "auto".
        log: "csv", "tensorboard", "wandb", "system" or several of them; default "csv".

    Raises:
        UsageError: A setting is invalid, or the run folder cannot be used.
        DeviceUnavailableError: The device is not available.
        DataError: The dataset cannot be used.
        CheckpointError: The weights cannot be used.
        InterruptedRunError: The run was interrupted; its state is saved.
        DivergenceError: The loss or the weights are no longer finite.
    """
    arguments = {**locals(), "device": None}
    if run is not None and not os.fspath(run):
        raise UsageError(
            "The name of the run folder is empty. Name a folder with --run, or leave --run out."
        )
    given = {
        item.name: arguments[item.name]
        for item in fields(TrainConfig)
        if arguments[item.name] is not None
    }
    display = as_progress(progress)
    folder = None
    history: list[dict[str, Any]] = []
    lines: tuple[str, ...] = ()
    if resume:
        if config is not None:
            raise UsageError(
                "A resumed run keeps its own settings. Use --resume without --config, or --config "
                "without --resume for a new run."
            )
        folder = RunFolder(Path(run) if run else newest_run_path())
        latest = folder.latest if folder.latest.exists() else None
        settings = resumed_with(read_config(folder.config), given, latest)
    elif config is not None:
        settings = read_config_to_repeat(Path(config), given)
    elif data is not None:
        settings = TrainConfig(**given, device=device or AUTO)
    else:
        raise UsageError(
            "No dataset given; use --data with the name of a dataset (msinet-run data list shows "
            "them) or a folder with stimuli/ and saliency/. --data demo draws its own images."
        )
    if device is None and not os.environ.get(DEVICE_VARIABLE):
        device = settings.device
    spec = load_registry().select(
        device, training=True, precision=settings.precision, message=display.message
    )
    if folder is None:
        settings = replace(settings, device=spec.name)
        path = Path(run) if run else new_run_path(settings.data, spec.name, create=not dry_run)
        folder = RunFolder(path)
    try:
        if not resume:
            folder.check_new()
            check_apart(folder.path, settings.data, settings.root)
        if dry_run:
            lines = plan_training(settings, folder, spec, resume=resume, progress=display)
        else:
            history = start_training(settings, folder, spec, resume=resume, progress=display)
    finally:
        if run is None and not resume:
            with suppress(OSError):  # not empty, if the run began
                folder.path.rmdir()
                folder.path.parent.rmdir()
    for line in lines:
        display.message(line)
    return Run(folder.path, spec.name, history, folder.best, folder.latest, folder.curve, lines)
