"""What a training run records and announces about itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from msinet_core.errors import command
from msinet_core.hardware.machine import describe_machine, this_machine
from msinet_core.network.memory import estimate_memory, memory_sentences
from msinet_core.network.msinet import IMAGE_SIZE
from msinet_core.registry.doctor import device_memory
from msinet_core.system.version import __version__
from msinet_core.training.prepare import Prepared
from msinet_core.training.resume import fixed_settings
from msinet_core.training.schedule import Schedule

if TYPE_CHECKING:
    from msinet_core.device import Device, DeviceSpec
    from msinet_core.training.config import TrainConfig
    from msinet_core.training.run_folder import RunFolder


WAIT_SHARE, WAIT_SECONDS = 0.2, 1.0
"""The part of an epoch, and the seconds, that training waits for images before a line says so."""


def shared_facts(prepared: Prepared) -> dict[str, object]:
    """Return what all processes of a run must have in common, by its name for messages.

    Args:
        prepared: The run.
    """
    config, position = prepared.config, prepared.position
    settings = fixed_settings(config.to_dict())
    return {
        "settings": (config.batch_size, config.accumulate, config.epochs, settings),
        "the precision": prepared.precision,
        "the network": prepared.graph.fingerprint,
        "images": prepared.images,
        "the checkpoint to resume from": (position.epoch, position.batch, position.loss_sum),
    }


def provenance(prepared: Prepared, device: Device) -> dict[str, Any]:
    """Return what the run's checkpoints record about their origin.

    Args:
        prepared: The run.
        device: The device it runs on.
    """
    config = prepared.config
    return {
        "dataset": config.data,
        "images": prepared.images,
        "split": prepared.split and prepared.split.to_dict(),
        "image_size": list(prepared.image_size),
        "device": device.spec.name,
        "precision": device.precision,
        "device_options": dict(device.options),
        "versions": {"msinet": __version__, **device.versions()},
        "machine": this_machine(),
        "loss": config.loss,
        "optimizer": {
            "name": "Adam",
            "learning_rate": config.learning_rate,
            **asdict(prepared.optimizer),
        },
    }


def announcement(prepared: Prepared, device: Device, run: RunFolder) -> Iterator[str]:
    """Describe the run in the lines that it prints and logs when it starts.

    Args:
        prepared: The run.
        device: The device it runs on.
        run: Its folder.
    """
    config, processes = prepared.config, device.processes
    versions = ", ".join(f"{name} {version}" for name, version in device.versions().items())
    yield f"Machine: {describe_machine(this_machine())}"
    yield f"Device: {device.spec.name}, {device.precision} ({versions})"
    if processes.replicas > 1:
        yield f"Training in {processes.count} processes on {processes.replicas} devices in total."
    idle = processes.replicas - config.batch_size
    if processes.replicas > 1 and idle > 0:
        yield (
            f"With a batch size of {config.batch_size}, {idle} of the devices are idle; use a "
            f"multiple of {processes.replicas} for --batch-size."
        )
    yield from _subject(prepared)
    yield f"Run folder: {run.path}"


def plan(prepared: Prepared, spec: DeviceSpec) -> Iterator[str]:
    """Describe a run that is not started, and the memory that it would need.

    Args:
        prepared: The run.
        spec: The device it would run on.
    """
    config = prepared.config
    precision = prepared.precision
    yield f"Device: {spec.name}, {precision}"
    yield from _subject(prepared)
    steps = Schedule(config, len(prepared.dataset.train)).steps_per_epoch
    yield f"Steps: {steps} in each of {config.epochs} epochs, batch size {config.batch_size}"
    one = estimate_memory(prepared.graph, prepared.image_size, precision)
    yield from memory_sentences(one, prepared.image_size, precision, device_memory(spec))
    yield "Dry run: nothing was trained or written."


def _subject(prepared: Prepared) -> Iterator[str]:
    config, dataset = prepared.config, prepared.dataset
    yield f"Network: MSI-Net, {prepared.graph.parameter_count:,} parameters{_frozen(prepared)}"
    yield from prepared.notes
    steps = Schedule(config, len(dataset.train)).steps_per_epoch * config.epochs
    if config.warmup > steps:
        yield (
            f"The warm-up of {config.warmup:,} steps is longer than the run, which has {steps:,}: "
            f"the learning rate stays below {config.learning_rate:g}."
        )
    yield (
        f"Dataset: {dataset.name}, {len(dataset.train)} training and {len(dataset.valid)} "
        f"validation images at {IMAGE_SIZE.to_text(prepared.image_size)}"
    )


def _frozen(prepared: Prepared) -> str:
    frozen = sum(
        parameter.size
        for parameter in prepared.graph.parameters
        if not prepared.optimizer.factor(parameter.name)
    )
    return f", {frozen:,} of them frozen ({', '.join(prepared.config.freeze)})" if frozen else ""


def epoch_sentences(
    config: TrainConfig, history: Sequence[Mapping[str, Any]], better: bool
) -> Iterator[str]:
    """Describe the last epoch, and what may be wrong with the data.

    Args:
        config: The run's settings.
        history: A row for each finished epoch.
        better: Whether the last epoch is the best so far.
    """
    *before, row = history
    metrics = "".join(f", {name} {row[name]:.4f}" for name in config.metrics)
    yield (
        f"Epoch {row['epoch']}/{config.epochs}: training loss {row['train_loss']:.4f}, "
        f"validation loss {row['valid_loss']:.4f}{metrics}{' (best so far)' if better else ''}, "
        f"{row['images_per_s']:.2f} images/s."
    )
    if _waits_for_data(row) and not any(map(_waits_for_data, before)):
        yield (
            f"Training waited for images {row['data_wait'] / row['seconds']:.0%} of the time. "
            f"Keep the fitted images with --cache, or use more reader threads (--workers)."
        )
    if not row["train_loss"] or not row["valid_loss"]:
        yield (
            "A loss of exactly 0 means that the maps are empty. Check the dataset with: "
            f"{command('data', 'check', config.data, data_root=config.root)}"
        )


def _waits_for_data(epoch: Mapping[str, Any]) -> bool:
    waited = epoch.get("data_wait", 0.0)  # runs of earlier versions have no such column
    return bool(waited > max(WAIT_SECONDS, WAIT_SHARE * epoch["seconds"]))
