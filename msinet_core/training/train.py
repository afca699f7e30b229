"""Train MSI-Net: choose the settings, the device and the folder of a run, and start it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from msinet_core.errors import UsageError
from msinet_core.network.ops import Coordinates, Size
from msinet_core.registry.registry import DEVICE_VARIABLE, load_registry
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder, new_run_path, newest_run_path
from msinet_core.training.start import start_training


@dataclass(frozen=True)
class Run:
    """Describe a finished training run.

    Args:
        path: Its folder.
        device: The name of the device it ran on.
        history: One row per epoch, with the columns of ``history.csv``.
    """

    path: Path
    device: str
    history: list[dict[str, Any]]

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return RunFolder(self.path).best

    @property
    def latest(self) -> Path:
        """The checkpoint to resume from."""
        return RunFolder(self.path).latest

    @property
    def curve(self) -> Path:
        """The picture of the learning curve."""
        return RunFolder(self.path).curve


def train(
    data: str | Path | None = None,
    *,
    device: str | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    progress: bool | Progress = False,
    data_root: str | Path | None = None,
    init: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    learning_rate: float | None = None,
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
        data: A dataset's name or folder; required for a new run.
        device: A device's name, or "auto" for the best one that is available; None for the
            variable ``MSINET_DEVICE``, else the device of the resumed run, else "auto".
        run: The run folder; None for a new one in ``runs``, or the newest one to resume.
        resume: Continue an earlier run exactly where it stopped.
        progress: True shows progress on stderr.
        data_root: The folder of named datasets; default "data".
        init: "auto", "vgg16", "random", "published:salicon" (or another dataset), or the path of
            a weights file; default "auto", which is VGG16 if its file is on this machine.
        epochs: Passes over the training images, including those of a resumed run; default 10.
        batch_size: Images in a batch, over all devices and processes; default 1.
        accumulate: Batches in one optimizer step; default 1.
        learning_rate: Adam's learning rate; default 1e-5.
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
        log: "csv", "tensorboard", "wandb" or several of them; default "csv".

    Raises:
        UsageError: A setting is invalid, or the run folder cannot be used.
        DeviceUnavailableError: The device is not available.
        DataError: The dataset cannot be used.
        CheckpointError: The weights cannot be used.
        InterruptedRunError: The run was interrupted; its state is saved.
        DivergenceError: The loss or the weights are no longer finite.
    """
    arguments = {**locals(), "device": None}
    given = {
        item.name: arguments[item.name]
        for item in fields(TrainConfig)
        if arguments[item.name] is not None
    }
    display = as_progress(progress)
    registry = load_registry()
    if resume:
        folder = RunFolder(Path(run) if run else newest_run_path())
        config = TrainConfig.read(folder.config).resumed_with(given)
        if device is None and not os.environ.get(DEVICE_VARIABLE):
            device = config.device
        spec = registry.select(device, training=True, message=display.message)
    else:
        spec = registry.select(device, training=True, message=display.message)
        if data is None:
            raise UsageError(
                "No dataset given; use --data with the name of a dataset (msinet-run data list "
                "shows them) or a folder with stimuli/ and saliency/. --data demo draws its own "
                "images."
            )
        config = TrainConfig(**given, device=spec.name)
        folder = RunFolder(Path(run) if run else new_run_path(config.data, spec.name))
        folder.check_new()
    history = start_training(config, folder, spec, resume=resume, progress=display)
    return Run(folder.path, spec.name, history)
