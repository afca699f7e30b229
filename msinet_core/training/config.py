"""The settings of a training run; ``config.toml`` and the options of ``train`` derive from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from msinet_core.data.split import SPLIT_SEED
from msinet_core.device.processes import DISTRIBUTIONS
from msinet_core.device.spec import PRECISIONS
from msinet_core.errors import MsinetError, UsageError, bullet_list, os_reason
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Coordinates, Size
from msinet_core.system.files import write_text
from msinet_core.system.settings import (
    FLAG,
    POSITIVE_NUMBER,
    TABLE,
    check_settings,
    choice,
    choices,
    image_size,
    integer,
    setting,
    text,
)
from msinet_core.system.version import __version__
from msinet_core.training.loggers import CSV, LOGGERS

INIT_KEYWORDS = ("auto", "vgg16", "random")
"""The values of ``init`` that are neither files nor published weights."""

IMAGE_SIZE = image_size(DEFAULT_IMAGE_SIZE)

FREE_ON_RESUME = frozenset(
    {
        *("device", "device_options", "precision", "distribute", "workers", "cache", "log"),
        *("data", "data_root", "epochs", "batch_size", "accumulate"),
    }
)
"""The settings that a resumed run may change: where it runs and how long, not what it computes.

Of a batch's size and the number of accumulated batches, the product decides what it computes.
"""


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
    precision: str = setting(
        choice(("auto", *PRECISIONS)),
        "Arithmetic of the network; weights stay float32. auto: the device's default.",
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
        choices(LOGGERS, always=CSV),
        "Also report losses to TensorBoard (event files in RUN/tensorboard) or Weights & Biases "
        "(WANDB_MODE=offline works without an account); needs the package tensorboardX or wandb. "
        "The CSV files are always written.",
        (CSV,),
    )

    def __post_init__(self) -> None:
        check_settings(self)

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
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read the settings of a run.

        Args:
            path: Its ``config.toml``.

        Raises:
            UsageError: The file does not exist.
            MsinetError: The file cannot be read, or holds no valid settings.
        """
        import sys

        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))["train"]
            known = {item.name for item in fields(cls)} & values.keys()
            return cls(**{name: values[name] for name in known})
        except FileNotFoundError as error:
            raise UsageError(
                f"{path.parent} is not a run folder: {path} does not exist. Name the folder of a "
                f"run with --run, or start a new run without --resume."
            ) from error
        except (OSError, KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else f"{error}"
            raise MsinetError(
                f"Invalid training settings in {path}:\n{bullet_list(reason.splitlines())}\n"
                f"Fix the file, or start a new run without --resume."
            ) from error

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


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a resumed run must keep.

    Args:
        settings: A result of `TrainConfig.to_dict`.
    """
    fixed = {name: value for name, value in settings.items() if name not in FREE_ON_RESUME}
    return {**fixed, "batch_size x accumulate": settings["batch_size"] * settings["accumulate"]}
