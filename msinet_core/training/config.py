"""The settings of a training run; ``config.toml`` and the options of ``train`` derive from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from msinet_core.device.processes import DISTRIBUTIONS
from msinet_core.device.spec import PRECISIONS
from msinet_core.errors import MsinetError, UsageError, bullet_list, did_you_mean, os_reason
from msinet_core.network.loss import LOSSES, standard_loss
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, PARTS
from msinet_core.network.ops import Coordinates, Size
from msinet_core.registry.registry import AUTO
from msinet_core.system.files import write_text
from msinet_core.system.settings import (
    FLAG,
    POSITIVE_NUMBER,
    SPLIT_SEED,
    TABLE,
    Kind,
    check_settings,
    choice,
    choices,
    declared_settings,
    factors,
    image_size,
    integer,
    setting,
    text,
)
from msinet_core.system.version import __version__
from msinet_core.training.loggers import CSV, LOGGERS
from msinet_core.training.schedule import CONSTANT, COSINE, SCHEDULES
from msinet_core.training.selection import HIGHER_IS_BETTER, LOSS

INIT_KEYWORDS = ("auto", "vgg16", "random")
"""The values of ``init`` that are neither files nor published weights."""

IMAGE_SIZE = image_size(DEFAULT_IMAGE_SIZE)

FREE_ON_RESUME = frozenset(
    {
        *("device", "device_options", "precision", "distribute", "workers", "cache", "log"),
        *("data", "data_root", "epochs", "patience", "batch_size", "accumulate"),
    }
)
"""The settings that a resumed run may change: where it runs and how long, not what it computes.

Of a batch's size and the number of accumulated batches, the product decides what it computes. The
number of epochs decides it too if the learning rate follows a cosine.
"""


def _loss(value: Any) -> str:
    try:
        return standard_loss(value)
    except UsageError as error:
        raise ValueError from error


LOSS_SUM = Kind(
    f"one of {', '.join(LOSSES)}, or a sum such as kld+0.5*cc (each is lower for better maps)",
    "LOSS",
    _loss,
)
"""A weighted sum of losses, in the standard form of its text."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that is needed to repeat a training run.

    Each setting accepts the values of its kind, and None if that is its default.

    Raises:
        UsageError: Lists the settings whose values are not accepted.
    """

    data: str = setting(
        text("NAME|DIR"), "Dataset by name, or a folder with stimuli/ and saliency/."
    )
    device: str = setting(text("NAME"), "Device to train on.")
    data_root: str | None = setting(text("DIR"), "Folder of the named datasets.", None, "data")
    init: str = setting(
        text("auto|vgg16|random|FILE"),
        "Initial weights. vgg16 and published:salicon (or another dataset) are downloaded if "
        "missing. FILE also sets the network, and the image size unless the dataset has its own "
        "or --image-size is given. auto: VGG16 if its file is on this machine, else random.",
        "auto",
    )
    epochs: int = setting(integer(), "Passes over the training images.", 10)
    batch_size: int = setting(integer(), "Images in a batch, over all devices and processes.", 1)
    accumulate: int = setting(integer(), "Batches in one optimizer step.", 1)
    learning_rate: float = setting(POSITIVE_NUMBER, "Adam's learning rate.", 1e-5)
    schedule: str = setting(
        choice(SCHEDULES),
        "How the learning rate changes. cosine: to 0 over all epochs. plateau: times "
        "--plateau-factor after --plateau-epochs epochs without a new best.",
        CONSTANT,
    )
    warmup: int = setting(
        integer(0), "Steps at the beginning over which the learning rate rises linearly.", 0
    )
    plateau_epochs: int = setting(integer(), "Epochs to wait with --schedule plateau.", 2)
    plateau_factor: float = setting(
        POSITIVE_NUMBER, "Factor on the learning rate with --schedule plateau.", 0.1
    )
    loss: str = setting(
        LOSS_SUM,
        "Loss to train with: kld, cc (1 - CC), sim (1 - SIM), nss (-NSS on the true map), or a "
        "weighted sum such as kld+0.5*cc.",
        "kld",
    )
    freeze: tuple[str, ...] = setting(
        choices(tuple(PARTS)), "Parts of the network that are not trained.", ()
    )
    part_rates: Mapping[str, float] = setting(
        factors(tuple(PARTS), "PART=FACTOR"),
        "Factor on the learning rate of encoder, aspp or decoder, such as encoder=0.1. Can be "
        "repeated.",
        {},
    )
    metrics: tuple[str, ...] = setting(
        choices(tuple(HIGHER_IS_BETTER)),
        "Metrics to compute on the validation images after each epoch, as evaluate does.",
        (),
    )
    best_by: str = setting(
        choice((LOSS, *HIGHER_IS_BETTER)),
        "What decides which epoch is the best: the validation loss, or a metric.",
        LOSS,
    )
    patience: int | None = setting(
        integer(), "Stop after N epochs without a new best.", None, "train all epochs"
    )
    flip: bool = setting(
        FLAG, "Mirror a random half of the training images in each epoch, left to right.", False
    )
    precision: str = setting(
        choice(("auto", *PRECISIONS)),
        "Arithmetic of the network; weights stay float32. auto: what bench measured as fastest on "
        "this machine, else bfloat16 where the hardware computes it, else float32.",
        "auto",
    )
    device_options: Mapping[str, str] = setting(
        TABLE,
        "Option of the device; msinet-run doctor lists them. Can be repeated.",
        {},
    )
    image_size: Size | None = setting(
        IMAGE_SIZE,
        "Height and width of the network's input.",
        None,
        f"the dataset's, else that of --init FILE, else {IMAGE_SIZE.to_text(DEFAULT_IMAGE_SIZE)}",
    )
    seed: int = setting(integer(0), "Seed of random weights and image order.", 42)
    split_seed: int = setting(
        integer(0), "Seed of the split of a folder without train/ and val/.", SPLIT_SEED
    )
    sigma: float | None = setting(
        POSITIVE_NUMBER,
        "Draw the maps from the fixations, with a Gaussian of this many pixels.",
        None,
        "the dataset's maps",
    )
    cache: bool = setting(
        FLAG,
        "Keep fitted images and maps on disk, so that later epochs and runs need not decode them; "
        "MSINET_CACHE_GB limits the size.",
        False,
    )
    shuffle: bool = setting(FLAG, "Use a new image order in each epoch.", True)
    limit_train: int | None = setting(integer(), "Use the first N training images only.", None)
    limit_valid: int | None = setting(integer(), "Use the first N validation images only.", None)
    width: float | None = setting(
        POSITIVE_NUMBER,
        "Scale the number of channels; 1 is the published network.",
        None,
        "that of --init FILE, else 1",
    )
    resize: Coordinates | None = setting(
        choice(get_args(Coordinates)),
        "Resize coordinates; the published weights need asymmetric.",
        None,
        "those of --init FILE, else asymmetric",
    )
    workers: int | None = setting(
        integer(), "Threads that read images.", None, "by the number of cores"
    )
    distribute: str = setting(
        choice(DISTRIBUTIONS),
        "Split each batch over the device's units (mirrored), or over the processes that "
        "TF_CONFIG or torchrun names (multiworker). auto: multiworker, else mirrored, if there "
        "are several.",
        "auto",
    )
    log: tuple[str, ...] = setting(
        choices(LOGGERS, always=(CSV,)),
        "Also report losses to TensorBoard (event files in RUN/tensorboard) or Weights & Biases "
        "(WANDB_MODE=offline works without an account); needs the package tensorboardX or wandb. "
        "system: how busy processor, GPU and memory are, in RUN/system.csv. The CSV files are "
        "always written.",
        (CSV,),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.best_by not in (LOSS, *self.metrics):
            object.__setattr__(self, "metrics", (*self.metrics, self.best_by))
        both = sorted(self.part_rates.keys() & set(self.freeze))
        if both:
            raise UsageError(f"Invalid part_rates: {both[0]} is frozen, so it has no learning rate")

    @property
    def rates(self) -> dict[str, float]:
        """The factor on the learning rate by part of the network; 0 for frozen parts."""
        return {**self.part_rates, **dict.fromkeys(self.freeze, 0.0)}

    @property
    def init_file(self) -> Path | None:
        """The file that `init` names; None for a keyword."""
        return None if self.init in INIT_KEYWORDS else Path(self.init)

    def write(self, path: Path) -> None:
        """Write the settings as TOML.

        Args:
            path: The file to create or replace.

        Raises:
            MsinetError: The file cannot be written.
        """
        import tomli_w

        write_text(path, tomli_w.dumps({"msinet": __version__, "train": self.to_dict()}))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that have a value."""
        return {name: _plain(value) for name, value in asdict(self).items() if value is not None}

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read the settings of a run; those that only a later version has are ignored.

        Args:
            path: Its ``config.toml``.

        Raises:
            UsageError: The file does not exist.
            MsinetError: The file cannot be read, or holds no valid settings.
        """
        if not path.exists():
            raise UsageError(
                f"{path.parent} is not a run folder: {path} does not exist. Name the folder of a "
                f"run with --run, or start a new run without --resume."
            )
        values = _read_settings(path)
        known = {item.name for item in fields(cls)} & values.keys()
        with _naming(path):
            return cls(**{name: values[name] for name in known})

    @classmethod
    def repeat(cls, path: Path, changes: Mapping[str, Any]) -> TrainConfig:
        """Read the settings of a new run.

        Args:
            path: The ``config.toml`` of another run, its folder, or a file written by hand.
            changes: Settings that override the file's.

        Raises:
            UsageError: The file does not exist, or a change is not accepted.
            MsinetError: The file cannot be read, or holds no valid settings.
        """
        path = path / "config.toml" if path.is_dir() else path
        values = {"device": AUTO, **_read_settings(path)}
        names = [item.name for item in fields(cls)]
        for name in values:
            if name not in names:
                raise MsinetError(f"Unknown setting {name!r} in {path}.{did_you_mean(name, names)}")
        if "data" not in {**values, **changes}:
            raise MsinetError(f"{path} names no dataset. Add data, or use --data.")
        with _naming(path):
            config = cls(**{"data": "", **values})
        return replace(config, **changes)

    def resumed_with(self, changes: Mapping[str, Any]) -> TrainConfig:
        """Return these settings with those changed that a resumed run may change.

        Args:
            changes: The settings that the user gave, by name.

        Raises:
            UsageError: A value is not accepted, or would make it another run.
        """
        changed = replace(self, **changes)
        before, after = fixed_settings(self.to_dict()), fixed_settings(changed.to_dict())
        refused = [
            f"{name}: {before.get(name)} in the run, requested {after.get(name)}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
        if refused:
            raise UsageError(
                f"A resumed run keeps its settings, so that it continues exactly:\n"
                f"{bullet_list(refused)}\nLeave them out, or start a new run from this "
                f"run's weights with --init RUN/checkpoints/latest.msinet.h5."
            )
        return changed


def _read_settings(path: Path) -> dict[str, Any]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with _naming(path):
        return dict(tomllib.loads(path.read_text(encoding="utf-8"))["train"])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except (OSError, KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else f"{error}"
        raise MsinetError(
            f"Invalid training settings in {path}:\n{bullet_list(reason.splitlines())}\n"
            f"Fix the file, or start a new run without it."
        ) from error


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a resumed run must keep.

    An earlier version, which did not have a setting, used its default.

    Args:
        settings: A result of `TrainConfig.to_dict`.
    """
    free = FREE_ON_RESUME - ({"epochs"} if settings.get("schedule") == COSINE else set())
    defaults = {
        name: _plain(declared.default)
        for name, declared in declared_settings(TrainConfig).items()
        if declared.default is not None
    }
    known = {**defaults, **settings}
    fixed = {name: value for name, value in known.items() if name not in free}
    return {**fixed, "batch_size x accumulate": settings["batch_size"] * settings["accumulate"]}


def _plain(value: Any) -> Any:
    """Return a value as TOML and JSON hold it."""
    return list(value) if isinstance(value, tuple) else value
