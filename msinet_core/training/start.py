"""Begin or resume a training run: check, lock, prepare, open the device, train."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msinet_core.data.cache import FittedCache
from msinet_core.data.pipeline import BatchPipeline, default_workers
from msinet_core.device.processes import check_agreement, check_distribution
from msinet_core.errors import DataError, UsageError, command, counted
from msinet_core.network.loss import parse_loss
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.training.config import COSINE
from msinet_core.training.describe import announcement, plan, provenance, shared_facts
from msinet_core.training.loggers import check_loggers, open_loggers
from msinet_core.training.prepare import Prepared, prepare
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.trainer import Trainer

if TYPE_CHECKING:
    from msinet_core.device import Device, DeviceSpec, Model
    from msinet_core.training.config import TrainConfig


def start_training(
    config: TrainConfig,
    run: RunFolder,
    spec: DeviceSpec,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    interrupt: InterruptFlag | None = None,
) -> list[dict[str, Any]]:
    """Train MSI-Net and return the history, a row for each epoch.

    Whatever can be wrong with the data and the weights is found before the device's framework is
    imported, which takes seconds.

    Args:
        config: The run's settings.
        run: Its folder.
        spec: The device to train on.
        resume: Continue from the folder's latest checkpoint, if it has one.
        progress: Shows progress and messages.
        interrupt: Stops the run when it is set; handles signals while the run lasts.

    Raises:
        MsinetError: The data, the weights, the device or the disk cannot be used, or the run was
            interrupted (`InterruptedRunError`) or diverged (`DivergenceError`).
    """
    progress = progress or Progress()
    _check_support(config, spec)
    waits = _waits_for_processes(spec, config.distribute)
    with ExitStack() as stack:
        # With several processes, another one may be about to write the checkpoint.
        if resume and not waits:
            stack.enter_context(run.locked())
        checkpoint = run.checkpoint_identity()
        prepared, state = prepare(config, run, spec, resume=resume, progress=progress)
        finished = _finished(prepared)
        if finished:
            progress.message(finished)
            if not (waits or run.history.exists()):
                run.write_history(prepared.position.history)
                run.draw_curve(prepared.position.history, config)
            return prepared.position.history
        if waits:
            variable = spec.capabilities.cluster_variable
            progress.message(f"Waiting for all processes named in {variable} to start.")
        device = spec.open(
            prepared.precision, config.device_options, config.distribute, config.batch_size
        )
        if not device.processes.chief:
            run, progress = RunFolder(run.path, writes=False), Progress()
        if waits or not resume:
            stack.enter_context(run.locked())
        run.check_checkpoint_identity(checkpoint)
        prepared = replace(prepared, config=replace(prepared.config, device=device.spec.name))
        check_agreement(device.processes, shared_facts(prepared))
        model = device.compile(
            prepared.graph, state, loss=parse_loss(config.loss), optimizer=prepared.optimizer
        )
        del state  # the model has its own weights and moments
        try:
            return _fit(prepared, model, run, device, progress, interrupt or InterruptFlag())
        finally:
            del model  # before the device, whose other processes it may still speak to


def plan_training(
    config: TrainConfig,
    run: RunFolder,
    spec: DeviceSpec,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Check all that can be wrong before a device is opened, and describe the run.

    Args:
        config: The run's settings.
        run: Its folder, in which nothing is written.
        spec: The device to train on.
        resume: As for `start_training`.
        progress: Shows downloads.

    Raises:
        MsinetError: As for `start_training`.
    """
    _check_support(config, spec)
    prepared, _ = prepare(config, run, spec, resume=resume, progress=progress or Progress())
    finished = _finished(prepared)
    return (finished,) if finished else tuple(plan(prepared, spec))


def _finished(prepared: Prepared) -> str:
    """Return why there is nothing left to train; empty if there is."""
    config, position = prepared.config, prepared.position
    if position.epoch >= config.epochs:
        longer = "start a new run" if config.schedule == COSINE else "increase --epochs"
        return (
            f"The run is finished: {position.epoch} of {config.epochs} epochs. To train longer, "
            f"{longer}."
        )
    selection = config.selection
    if selection.stops(position.history, config.patience):
        waited = counted(selection.waited(position.history), "epoch")
        return (
            f"The run is finished: {waited} without a new best. To train longer, increase "
            f"--patience."
        )
    return ""


def _check_support(config: TrainConfig, spec: DeviceSpec) -> None:
    if not spec.capabilities.dilated_gradient:
        raise UsageError(
            f"Device '{spec.name}' cannot train MSI-Net: it has no gradient of dilated "
            f"convolutions. Train on another device (msinet-run devices lists them) and use the "
            f"checkpoint with {spec.name}."
        )
    spec.check_precision(config.precision)
    spec.check_options(config.device_options)
    check_distribution(spec.name, spec.capabilities.distribution, config.distribute)
    check_loggers(config.log)


def _waits_for_processes(spec: DeviceSpec, distribute: str) -> bool:
    """Return whether opening the device waits for other processes."""
    if "multiworker" not in spec.capabilities.distribution:
        return False
    in_cluster = bool(os.environ.get(spec.capabilities.cluster_variable))
    return distribute == "multiworker" or (distribute == "auto" and in_cluster)


def _fit(
    prepared: Prepared,
    model: Model,
    run: RunFolder,
    device: Device,
    progress: Progress,
    interrupt: InterruptFlag,
) -> list[dict[str, Any]]:
    config = prepared.config
    with interrupt as flag, ExitStack() as stack:
        facts = provenance(prepared, device)
        run.begin(config, prepared.step, prepared.position.history)
        for text in announcement(prepared, device, run):
            progress.message(text)
            run.log(text)
        if run.writes:
            loggers = open_loggers(
                config.log, run.path, {**config.to_dict(), **facts}, prepared.step, progress
            )
            run.loggers = stack.enter_context(loggers)
        cache = FittedCache() if config.cache else None
        trainer = Trainer(
            model,
            prepared.graph,
            config,
            train=_pipeline(prepared, device, cache, training=True),
            valid=_pipeline(prepared, device, cache, training=False),
            run=run,
            position=prepared.position,
            step=prepared.step,
            metadata=facts,
            interrupt=flag,
            progress=progress,
            processes=device.processes,
        )
        try:
            return trainer.fit()
        except DataError as error:
            raise DataError(
                f"{error} To find all problems of the dataset at once, run: "
                f"{command('data', 'check', config.data, data_root=config.root)}. Then continue "
                f"with: {run.resume_command}"
            ) from error


def _pipeline(
    prepared: Prepared, device: Device, cache: FittedCache | None, *, training: bool
) -> BatchPipeline:
    config, dataset, processes = prepared.config, prepared.dataset, device.processes
    return BatchPipeline(
        dataset.train if training else dataset.valid,
        prepared.image_size,
        config.batch_size,
        seed=config.seed,
        shuffle=training and config.shuffle,
        flip=training and config.flip,
        workers=config.workers or default_workers(),
        shard=(processes.index, processes.count),
        cache=cache,
    )
