"""What a training run needs before its device is opened: data, network, weights and position."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msinet_core.checkpoint.archive import image_size_of
from msinet_core.checkpoint.published import PREFIX, resolve_weights
from msinet_core.checkpoint.read import check_resize, read_network
from msinet_core.data.dataset import Dataset, namesake, open_dataset
from msinet_core.data.sample import Sample
from msinet_core.data.split import StoredSplit
from msinet_core.errors import DataError, UsageError, command
from msinet_core.hardware.host import cpu_hardware
from msinet_core.metrics.table import METRICS
from msinet_core.network.adam import Adam
from msinet_core.network.memory import FLOAT32_BYTES, GIBIBYTE
from msinet_core.network.msinet import IMAGE_SIZE, learning_rate_factors, msinet_graph
from msinet_core.network.ops import Size
from msinet_core.registry.measured import automatic_precision
from msinet_core.system.progress import Progress
from msinet_core.training.initial_weights import check_init, initial_state
from msinet_core.training.resume import (
    Position,
    check_images,
    find_checkpoint,
    position_of,
    step_of,
)

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec
    from msinet_core.network.graph import Graph
    from msinet_core.network.state import State
    from msinet_core.training.config import TrainConfig
    from msinet_core.training.run_folder import RunFolder


@dataclass(frozen=True)
class Prepared:
    """Hold all that is known about a run before its device is opened.

    Args:
        config: The settings, with the image size.
        dataset: The images.
        images: Their number and a hash of their names, so that a run is not resumed on others.
        split: The content of the images of each split, for `evaluate`; None if a resumed run's
            checkpoint has no record.
        graph: The network.
        image_size: Height and width of its input.
        optimizer: Adam with the learning rates of the network's parts.
        position: Where to continue.
        step: The optimizer steps taken before.
        precision: The precision to train in.
        notes: Sentences about the weights, the image size and the precision.
    """

    config: TrainConfig
    dataset: Dataset
    images: Mapping[str, Any]
    split: StoredSplit | None
    graph: Graph
    image_size: Size
    optimizer: Adam
    position: Position
    step: int
    precision: str
    notes: tuple[str, ...]


def prepare(
    config: TrainConfig, run: RunFolder, spec: DeviceSpec, *, resume: bool, progress: Progress
) -> tuple[Prepared, State]:
    """Open the dataset, and the run's checkpoint or the initial weights.

    Args:
        config: The run's settings.
        run: Its folder.
        spec: The device to train on.
        resume: Continue from the folder's latest checkpoint, if it has one.
        progress: Shows downloads.

    Returns:
        What is known about the run; and the weights, with Adam's moments in a resumed run.

    Raises:
        MsinetError: The data or the weights cannot be used.
    """
    dataset = open_dataset(
        config.data,
        config.root,
        split_seed=config.split_seed,
        sigma=config.sigma,
    )
    _check_trainable(dataset)
    dataset = replace(
        dataset,
        train=dataset.train[: config.limit_train],
        valid=dataset.valid[: config.limit_valid],
    )
    images = image_digest(dataset)
    _check_fixations(dataset, config)
    checkpoint = find_checkpoint(run, config) if resume else None
    trained_size = None
    if checkpoint is not None:
        check_images(checkpoint, images, dataset, run.latest)
        graph, state = checkpoint.graph, checkpoint.state
        origin = "Continuing from the run's latest checkpoint."
        stored = StoredSplit.from_metadata(checkpoint.metadata)
        split = stored and StoredSplit.of(dataset, config.split_seed, stored, progress)
    else:
        graph, state, origin, metadata = _initial_network(config, progress)
        trained_size = image_size_of(metadata)
        initial = StoredSplit.from_metadata(metadata)
        if initial is None and config.init_file is not None:
            initial = StoredSplit(complete=False)
        split = StoredSplit.of(dataset, config.split_seed, initial, progress)
    notes = [origin, *_notes(dataset, split, config)]
    image_size, note = choose_image_size(config, dataset, trained_size)
    graph.check_image_size(image_size)
    before = {} if checkpoint is None else checkpoint.metadata
    if config.precision == "auto" and before.get("device") == spec.name:
        precision, why = before["precision"], ""  # the same losses as without the interruption
    else:
        precision, why = automatic_precision(spec, config.precision, "train")
    prepared = Prepared(
        replace(config, image_size=image_size),
        dataset,
        images,
        split,
        graph,
        image_size,
        Adam(factors=learning_rate_factors(graph, config.rates)),
        position_of(checkpoint, config),
        step_of(checkpoint),
        precision,
        tuple(filter(None, (*notes, note, why))),
    )
    return prepared, state


def _check_trainable(dataset: Dataset) -> None:
    for samples, folder in ((dataset.train, "train"), (dataset.valid, "val")):
        if not samples:
            raise DataError(
                f"Dataset {dataset.name} can be scored, but not trained on: it has no images in "
                f"stimuli/{folder}/."
            )


def _notes(dataset: Dataset, split: StoredSplit | None, config: TrainConfig) -> Iterator[str]:
    """Say what may be wrong with the images, though the run can start."""
    check_data = command("data", "check", config.data, data_root=config.root)
    yield from namesake(config.data, config.root)
    if split is not None and split.train & split.valid:
        yield (
            f"Images in both splits: {len(split.train & split.valid)}, which makes the validation "
            f"loss too low. List them with: {check_data}"
        )
    if dataset.unused:
        yield (
            f"Not used: {len(dataset.unused)} in {dataset.name}, for example {dataset.unused[0]}. "
            f"List all with: {check_data}"
        )


def image_digest(dataset: Dataset) -> dict[str, Any]:
    """Return the number of images and a hash of their names.

    Args:
        dataset: The images.
    """
    names = "\n".join(sample.name for split in (dataset.train, dataset.valid) for sample in split)
    return {
        "train": len(dataset.train),
        "valid": len(dataset.valid),
        "names": hashlib.sha256(names.encode()).hexdigest()[:16],
    }


def choose_image_size(
    config: TrainConfig, dataset: Dataset, trained_size: Size | None
) -> tuple[Size, str]:
    """Choose the network's input size: the user's, the dataset's, the weights', else the default.

    Args:
        config: The run's settings.
        dataset: The images.
        trained_size: The size that the initial weights were trained at, if known.

    Returns:
        Height and width, and a sentence if the weights have to do with them.
    """
    if config.image_size is None and not dataset.has_own_size and trained_size is not None:
        size = IMAGE_SIZE.to_text(trained_size)
        return trained_size, f"Images are resized to {size}, as in the training of the weights."
    chosen = config.image_size or dataset.image_size
    if trained_size in (None, chosen):
        return chosen, ""
    why = "--image-size" if config.image_size else f"the size of {dataset.name}"
    return chosen, (
        f"The weights were trained at {IMAGE_SIZE.to_text(trained_size)}; this run uses "
        f"{IMAGE_SIZE.to_text(chosen)} ({why})."
    )


def _check_fixations(dataset: Dataset, config: TrainConfig) -> None:
    needing = [name for name in config.metrics if METRICS[name].needs_fixations]
    if needing and not any(map(_has_fixations, dataset.valid)):
        raise UsageError(
            f"The validation images of '{dataset.name}' have no fixations, which "
            f"{' and '.join(needing)} {'need' if needing[1:] else 'needs'}. Use cc, sim or kld for "
            f"--metrics and --best-by."
        )


def _has_fixations(sample: Sample) -> bool:
    fixations = sample.read_fixations()
    return fixations is not None and fixations.count > 0


def _initial_network(
    config: TrainConfig, progress: Progress
) -> tuple[Graph, State, str, Mapping[str, Any]]:
    """Return the network, its weights, their origin as a sentence, and their metadata."""
    resize = check_resize(config.init, config.resize)
    if config.init.startswith(PREFIX):
        config = replace(config, init=str(resolve_weights(config.init, progress)))
    check_init(config.init)
    metadata: Mapping[str, Any] = {}
    if config.init_file:
        graph, metadata = read_network(config.init_file, resize, config.width, progress)
    else:
        graph = msinet_graph(config.width or 1.0, resize or "asymmetric")
    if config.image_size is not None:
        graph.check_image_size(config.image_size)
    _check_memory(graph)
    state, origin = initial_state(graph, config.init, config.seed, progress, config.freeze)
    return graph, state, origin, metadata


def _check_memory(graph: Graph) -> None:
    """Refuse a network that the system would end the program for, without a message."""
    needed = 4 * graph.parameter_count * FLOAT32_BYTES  # weights, gradients and two moments
    memory = cpu_hardware().memory
    if memory is not None and needed > memory:
        raise UsageError(
            f"The network is too large: training its {graph.parameter_count:,} parameters needs "
            f"{needed / GIBIBYTE:.1f} GiB for weights, gradients and moments, and this machine has "
            f"{memory / GIBIBYTE:.1f} GiB. Use a smaller --width."
        )
