"""The settings of a training run; ``config.toml`` and the options of ``train`` derive from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from msinet_core.device.processes import DISTRIBUTIONS
from msinet_core.device.spec import PRECISIONS
from msinet_core.errors import UsageError
from msinet_core.network.loss import LOSS_FORM, LOSSES, standard_loss
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_SIZE, PARTS
from msinet_core.network.ops import Coordinates, Size
from msinet_core.system.kinds import (
    FLAG,
    FRACTION,
    POSITIVE_NUMBER,
    SIGMA,
    TABLE,
    Kind,
    choice,
    choices,
    factors,
    integer,
    text,
)
from msinet_core.system.settings import SPLIT_SEED, check_settings, setting
from msinet_core.training.loggers import CSV, LOGGERS
from msinet_core.training.selection import HIGHER_IS_BETTER, LOSS, Selection

INIT_KEYWORDS = ("auto", "vgg16", "random")
"""The values of ``init`` that are neither files nor published weights."""

SCHEDULES = CONSTANT, COSINE, PLATEAU = ("constant", "cosine", "plateau")
"""The values of ``schedule``."""

LOSS_SUM = Kind(f"{LOSS_FORM}, such as kld+0.5*cc", "LOSS", standard_loss, words=tuple(LOSSES))
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
        FRACTION, "Factor on the learning rate with --schedule plateau.", 0.1
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
        factors(tuple(PARTS)),
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
        SIGMA,
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
            raise UsageError(
                f"Invalid part_rates: {both[0]} is frozen, so it has no learning rate. Leave it "
                f"out of part_rates or of freeze."
            )

    @property
    def rates(self) -> dict[str, float]:
        """The factor on the learning rate by part of the network; 0 for frozen parts."""
        return {**self.part_rates, **dict.fromkeys(self.freeze, 0.0)}

    @property
    def selection(self) -> Selection:
        """How the epochs are compared."""
        return Selection(self.best_by)

    @property
    def root(self) -> Path | None:
        """The folder that contains named datasets; None for the default one."""
        return Path(self.data_root) if self.data_root else None

    @property
    def init_file(self) -> Path | None:
        """The file that `init` names; None for a keyword."""
        return None if self.init in INIT_KEYWORDS else Path(self.init)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that have a value."""
        return {name: plain(value) for name, value in asdict(self).items() if value is not None}


def plain(value: Any) -> Any:
    """Return a value as TOML and JSON hold it.

    Args:
        value: The value of a setting.
    """
    return list(value) if isinstance(value, tuple) else value
