"""Begin or resume a training run: open the data, the weights and the device, then train."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint import Checkpoint
from msinet_core.checkpoint.formats import read_header
from msinet_core.checkpoint.published import PREFIX, resolve_weights
from msinet_core.data import BatchPipeline, Dataset, Sample, open_dataset
from msinet_core.device.processes import Processes, check_agreement, check_distribution
from msinet_core.errors import DataError, UsageError
from msinet_core.hardware.host import cpu_hardware
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Size
from msinet_core.prediction.predictor import image_size_of
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.system.version import __version__
from msinet_core.training.config import TrainConfig
from msinet_core.training.initial_weights import check_init, initial_state
from msinet_core.training.loggers import check_loggers, logging_to
from msinet_core.training.resume import find_checkpoint
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.trainer import Position, Trainer

if TYPE_CHECKING:
    from msinet_core.device import Device, DeviceSpec
    from msinet_core.network.graph import Graph
    from msinet_core.network.state import State


def train(
    config: TrainConfig,
    run: RunFolder,
    spec: DeviceSpec,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    interrupt: InterruptFlag | None = None,
) -> list[dict[str, Any]]:
    """Train MSI-Net and return the history, a row for each epoch.

    Everything that can be wrong with the data and the weights is found before the device's
    framework is imported, which takes seconds.

    Args:
        config: The run's settings.
        run: Its folder.
        spec: The device to train on.
        resume: Continue from the folder's latest checkpoint, if it has one.
        progress: Shows what happens.
        interrupt: Lets the caller stop the run; its signals are handled while this runs.

    Raises:
        MsinetError: Something about the data, the weights, the device or the disk, or the run was
            interrupted (`InterruptedRunError`) or diverged (`DivergenceError`).
    """
    progress = progress or Progress()
    if not spec.capabilities.training:
        raise UsageError(
            f"Device '{spec.name}' predicts only, it does not train. Train on another device "
            f"(msinet-run devices lists them) and predict with the checkpoint here."
        )
    spec.check_precision(config.precision)
    spec.check_options(config.device_options)
    check_distribution(spec.name, spec.capabilities.distribution, config.distribute)
    check_loggers(config.log)
    several = _waits(spec, config.distribute)
    with ExitStack() as held:
        # Before the checkpoint is read: a process that is about to end may write another one.
        if resume and not several:
            held.enter_context(run.locked())
        version = run.version()
        prepared = _prepare(config, run, resume=resume, progress=progress)
        if prepared.position.epoch == config.epochs:
            progress.message(
                f"The run is finished: {config.epochs} of {config.epochs} epochs. A larger "
                f"--epochs goes on with it."
            )
            return prepared.position.history
        if several:
            variable = spec.capabilities.cluster_variable
            progress.message(f"Waiting until every worker that {variable} names has started.")
        device = spec.open(config.precision, config.device_options, config.distribute)
        if not device.processes.chief:
            run, progress = replace(run, writes=False), Progress()
        if several or not resume:
            held.enter_context(run.locked())
        run.check_version(version)
        return _fit(prepared, run, device, progress, interrupt or InterruptFlag())


@dataclass(frozen=True)
class _Prepared:
    """A run with everything that can be known before its device is opened."""

    settings: TrainConfig
    dataset: Dataset
    graph: Graph
    state: State
    position: Position
    step: int
    digest: Mapping[str, Any]
    notes: tuple[str, ...]


def _prepare(config: TrainConfig, run: RunFolder, *, resume: bool, progress: Progress) -> _Prepared:
    dataset = _limited(open_dataset(config.data, _root(config), seed=config.seed), config)
    found = find_checkpoint(run, config) if resume else None
    graph, state, origin, trained_at = _begin(config, found, progress)
    image_size, note = _image_size(config, dataset, trained_at)
    graph.check_image_size(image_size)
    digest = _digest(dataset)
    return _Prepared(
        replace(config, image_size=image_size),
        dataset,
        graph,
        state,
        _position(found, digest, dataset),
        _step(found),
        digest,
        tuple(filter(None, (origin, note))),
    )


def _fit(
    prepared: _Prepared,
    run: RunFolder,
    device: Device,
    progress: Progress,
    interrupt: InterruptFlag,
) -> list[dict[str, Any]]:
    settings, dataset = replace(prepared.settings, device=device.spec.name), prepared.dataset
    graph, position, processes = prepared.graph, prepared.position, device.processes
    check_agreement(processes, _facts(settings, graph, prepared.digest, position))
    model = device.compile(graph, prepared.state, loss=KLDivergence(), optimizer=Adam())
    with interrupt as flag, ExitStack() as open_loggers:
        if run.writes:
            settings.write(run.config)
        run.keep_steps(prepared.step)
        run.write_history(position.history)
        _announce(progress, run, prepared, device)
        if run.writes:
            loggers = open_loggers.enter_context(
                logging_to(settings.log, run.path, settings.to_dict(), prepared.step, progress)
            )
            run = replace(run, loggers=loggers)
        trainer = Trainer(
            model,
            graph,
            settings,
            train=_pipeline(dataset.train, settings, processes, shuffle=settings.shuffle),
            valid=_pipeline(dataset.valid, settings, processes, shuffle=False),
            run=run,
            position=position,
            step=prepared.step,
            metadata=_metadata(settings, device, prepared.digest),
            interrupt=flag,
            progress=progress,
            processes=processes,
        )
        try:
            return trainer.fit()
        except DataError as error:
            raise DataError(
                f"{error} msinet-run data check {settings.data} finds everything that is wrong "
                f"with the data set at once. Then continue with: msinet-run train --resume --run "
                f"{run.path}"
            ) from error


def _root(config: TrainConfig) -> Path | None:
    return Path(config.data_root) if config.data_root else None


def _limited(dataset: Dataset, config: TrainConfig) -> Dataset:
    return replace(
        dataset,
        train=dataset.train[: config.limit_train],
        valid=dataset.valid[: config.limit_valid],
    )


def _begin(
    config: TrainConfig, found: Checkpoint | None, progress: Progress
) -> tuple[Graph, State, str, Size | None]:
    """Give the network, its weights, where they come from, and the size they were trained at."""
    if found is not None:
        return found.graph, found.state, "Continuing from the run's latest checkpoint.", None
    if config.init.startswith(PREFIX):
        config = replace(config, init=str(resolve_weights(config.init, progress)))
    check_init(config.init)
    from_file, metadata = read_header(config.init_file) if config.init_file else (None, {})
    graph = config.network(from_file)
    _check_memory(graph, config)
    state, origin = initial_state(graph, config.init, config.seed, progress)
    return graph, state, origin, image_size_of(metadata)


def _image_size(config: TrainConfig, dataset: Dataset, trained_at: Size | None) -> tuple[Size, str]:
    """Choose the network's input: by the user, the data set, the checkpoint, else the usual.

    Returns:
        Height and width, and a sentence where they have to do with the checkpoint.
    """
    if config.image_size is None and not dataset.has_own_size and trained_at is not None:
        return trained_at, f"Images are fitted to {_by(trained_at)}, as the weights were trained."
    chosen = config.image_size or dataset.image_size
    if trained_at in (None, chosen):
        return chosen, ""
    why = "--image-size" if config.image_size else f"the size of {dataset.name}"
    return chosen, (
        f"The weights were trained at {_by(trained_at)}; this run is at {_by(chosen)} ({why})."
    )


_FLOAT32 = 4
"""Bytes."""


def _check_memory(graph: Graph, config: TrainConfig) -> None:
    """Refuse a network whose weights, gradients and moments alone are more than there is.

    The system would end the program without a word.
    """
    needed = 4 * graph.parameter_count * _FLOAT32
    there = cpu_hardware().memory
    if there is not None and needed > there:
        raise UsageError(
            f"--width {config.width:g} makes a network of {graph.parameter_count:,} parameters. "
            f"Training it needs {needed / 2**30:.1f} GiB for weights, gradients and moments, and "
            f"this machine has {there / 2**30:.1f} GiB. Use a smaller --width."
        )


def _by(size: Size) -> str:
    return "{}x{}".format(*size)


def _digest(dataset: Dataset) -> dict[str, Any]:
    """Say which images a run is about, so that it is not resumed on others."""
    names = "\n".join(sample.name for split in (dataset.train, dataset.valid) for sample in split)
    return {
        "train": len(dataset.train),
        "valid": len(dataset.valid),
        "names": hashlib.sha256(names.encode()).hexdigest()[:16],
    }


def _position(found: Checkpoint | None, digest: dict[str, Any], dataset: Dataset) -> Position:
    if found is None or found.training is None:
        return Position()
    before = found.metadata.get("images", digest)
    if before != digest:
        raise DataError(
            f"The data set '{dataset.name}' is not the one that the run began with: it had "
            f"{before['train']} training and {before['valid']} validation images, now there are "
            f"{digest['train']} and {digest['valid']}, or their names differ. Restore it, or begin "
            f"a new run from this one's weights with --init."
        )
    return Position(**found.training["position"])


def _step(found: Checkpoint | None) -> int:
    """Return how many steps a run has made; Adam counts fewer where float16 skipped some."""
    if found is None or found.state.optimizer is None:
        return 0
    return int(found.metadata.get("step", found.state.optimizer.step))


def _facts(
    config: TrainConfig, graph: Graph, digest: Mapping[str, Any], position: Position
) -> dict[str, object]:
    """Say what every worker of a run must have in common."""
    order = (config.batch_size, config.accumulate, config.seed, config.shuffle)
    return {
        "settings": (*order, config.epochs, config.learning_rate, config.image_size),
        "the network": graph.fingerprint,
        "images": digest,
        "the checkpoint to resume from": (position.epoch, position.batch, position.loss_sum),
    }


def _pipeline(
    samples: Sequence[Sample], config: TrainConfig, processes: Processes, *, shuffle: bool
) -> BatchPipeline:
    assert config.image_size is not None
    return BatchPipeline(
        samples,
        config.image_size,
        config.batch_size,
        seed=config.seed,
        shuffle=shuffle,
        workers=config.workers,
        shard=(processes.index, processes.count),
    )


def _metadata(config: TrainConfig, device: Device, digest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": config.data,
        "images": digest,
        "image_size": list(config.image_size or ()),
        "device": device.spec.name,
        "precision": device.precision,
        "device_options": dict(device.options),
        "versions": {"msinet": __version__, **device.versions()},
        "optimizer": {"name": "Adam", "learning_rate": config.learning_rate, **asdict(Adam())},
    }


def _announce(
    progress: Progress,
    run: RunFolder,
    prepared: _Prepared,
    device: Device,
) -> None:
    config, dataset = prepared.settings, prepared.dataset
    versions = ", ".join(f"{name} {version}" for name, version in device.versions().items())
    for text in (
        f"Device {device.spec.name}, {device.precision} ({versions}).",
        *_spread(device.processes, config.batch_size),
        f"MSI-Net with {prepared.graph.parameter_count:,} parameters. {' '.join(prepared.notes)}",
        f"Data set {dataset.name}: {len(dataset.train)} training and {len(dataset.valid)} "
        f"validation images at {_by(config.image_size or dataset.image_size)}.",
        f"Run folder: {run.path}",
    ):
        progress.message(text)
        run.log(text)


def _waits(spec: DeviceSpec, distribute: str) -> bool:
    if "multiworker" not in spec.capabilities.distribution:
        return False
    named = spec.capabilities.cluster_variable in os.environ
    return distribute == "multiworker" or (distribute == "auto" and named)


def _spread(processes: Processes, batch_size: int) -> Iterator[str]:
    if processes.replicas > 1:
        yield f"Training in {processes.count} processes, on {processes.replicas} devices in all."
    if processes.replicas > batch_size:
        yield (
            f"A batch of {batch_size} leaves {processes.replicas - batch_size} of the devices "
            "without work; give --batch-size a multiple of their number."
        )
