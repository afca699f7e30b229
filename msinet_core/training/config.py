"""The settings of a training run, as they are written to its ``config.toml``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from msinet_core.errors import MsinetError, UsageError, bullet_list, os_reason
from msinet_core.network.graph import Graph
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Coordinates, Size
from msinet_core.system.files import write_text
from msinet_core.system.version import __version__
from msinet_core.training.initial_weights import KEYWORDS

FREE_ON_RESUME = frozenset(
    {
        *("device", "device_options", "precision", "distribute", "workers", "log"),
        *("data", "data_root", "epochs"),
    }
)
"""Settings that a resumed run may change: where it runs and how long, not what it computes."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that is needed to repeat a training run.

    Args:
        data: A data set's name or folder.
        data_root: The folder that named data sets are in; None for ``data`` in the working folder.
        device: The device's name.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        init: ``"auto"``, ``"vgg16"``, ``"random"`` or a checkpoint's path.
        epochs: Passes over the training images.
        batch_size: Images in one batch, over all devices and workers.
        accumulate: Batches in one optimizer step.
        learning_rate: Adam's.
        image_size: Height and width in pixels; None for the data set's own, else that of the
            checkpoint in `init`, else 240x320.
        seed: Decides random weights, the order of images, and the split of a flat folder.
        shuffle: Whether each epoch has an order of its own.
        limit_train: Use the first so many training images only; None for all.
        limit_valid: Use the first so many validation images only; None for all.
        width: Scale of the numbers of channels; None for the checkpoint's in `init`, else 1.
        resize: Resize coordinates; None for the checkpoint's in `init`, else asymmetric.
        workers: Threads that read images; None for a choice by the number of cores.
        device_options: The device's own options, by name.
        distribute: ``"auto"``, ``"none"``, ``"mirrored"`` or ``"multiworker"``.
        log: Where losses are reported: ``"csv"``, ``"tensorboard"``, ``"wandb"``.
    """

    data: str
    device: str
    data_root: str | None = None
    precision: str = "auto"
    init: str = "auto"
    epochs: int = 10
    batch_size: int = 1
    accumulate: int = 1
    learning_rate: float = 1e-5
    image_size: Size | None = None
    seed: int = 42
    shuffle: bool = True
    limit_train: int | None = None
    limit_valid: int | None = None
    width: float | None = None
    resize: Coordinates | None = None
    workers: int | None = None
    device_options: Mapping[str, str] = field(default_factory=dict)
    distribute: str = "auto"
    log: tuple[str, ...] = ("csv",)

    def __post_init__(self) -> None:
        for name, (what, example) in _COUNTS.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _refusal(name, value, f"{what}, at least 1", example)
        if not 0 < self.learning_rate < float("inf"):
            what = "the size of a step, a number above 0"
            raise _refusal("learning_rate", f"{self.learning_rate:g}", what, "1e-5")
        if self.width is not None and not 0 < self.width < float("inf"):
            what = "a factor on the numbers of channels, a number above 0"
            raise _refusal("width", f"{self.width:g}", what, "0.25")
        if self.seed < 0:
            raise _refusal("seed", self.seed, "a whole number, 0 or above", "42")

    @property
    def init_file(self) -> Path | None:
        """The checkpoint that `init` names, if it names one."""
        return None if self.init in KEYWORDS else Path(self.init)

    def network(self, from_file: Graph | None = None) -> Graph:
        """Return the network to train.

        Args:
            from_file: The network of the checkpoint that `init` names.

        Raises:
            UsageError: The image size does not fit it.
        """
        if from_file is not None and self.width is None and self.resize is None:
            graph = from_file
        else:
            width = 1.0 if self.width is None else self.width
            graph = msinet_graph(width, self.resize or "asymmetric")
        if self.image_size is not None:
            graph.check_image_size(self.image_size)
        return graph

    def write(self, path: Path) -> None:
        """Write the settings as TOML.

        Args:
            path: The file to make or replace.

        Raises:
            MsinetError: The disk refuses.
        """
        import tomli_w

        document = {"msinet": __version__, "train": self.to_dict()}
        write_text(path, tomli_w.dumps(document))

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
            UsageError: There is no such file.
            MsinetError: The file is no such file, or cannot be read.
        """
        import sys

        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))["train"]
            known = {item.name for item in fields(cls)}
            values = {name: value for name, value in values.items() if name in known}
            if wrong := _wrong_types(values):
                raise MsinetError(
                    f"{path} does not hold the settings of a training run:\n{bullet_list(wrong)}\n"
                    f"Mend the file, or start a new run without --resume."
                )
            for name in {"image_size", "log"} & values.keys():
                values[name] = tuple(values[name])
            return cls(**values)
        except FileNotFoundError as error:
            what = "is no run folder" if path.parent.is_dir() else "is not there"
            raise UsageError(
                f"{path.parent} {what}: there is no {path}. Name the folder of a run with --run, "
                f"or start a new one without --resume."
            ) from error
        except (OSError, KeyError, TypeError, ValueError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else f"{error}"
            raise MsinetError(
                f"{path} does not hold the settings of a training run ({reason}). Name the folder "
                f"of a run with --run, or start a new one without --resume."
            ) from error

    def resumed_with(self, changes: Mapping[str, Any]) -> TrainConfig:
        """Return these settings with those changed that a resumed run may change.

        Args:
            changes: The settings that the user gave, by name.

        Raises:
            UsageError: Lists those that would make another run of it.
        """
        refused = [
            f"{_option(name)}: the run has {getattr(self, name)}, asked for is {value}"
            for name, value in changes.items()
            if name not in FREE_ON_RESUME and value != getattr(self, name)
        ]
        if refused:
            raise UsageError(
                f"A resumed run keeps its settings, so that it continues exactly.\n"
                f"{bullet_list(refused)}\nLeave them out; or begin a new run from this one's "
                f"weights with --init RUN/checkpoints/latest.msinet.h5."
            )
        return replace(
            self, **{name: value for name, value in changes.items() if name in FREE_ON_RESUME}
        )


_COUNTS = {
    "epochs": ("the number of passes over the training images", "10"),
    "batch_size": ("the number of images in a batch", "1"),
    "accumulate": ("the number of batches in one optimizer step", "1"),
    "limit_train": ("the number of training images to use", "100"),
    "limit_valid": ("the number of validation images to use", "100"),
    "workers": ("the number of threads that read images", "2"),
}
"""For each setting that counts something: what, and an example."""


_FLAGS = ("shuffle",)
_NUMBERS = ("learning_rate", "width")
_SIZES = ("image_size",)
_LISTS = ("log",)
_TABLES = ("device_options",)


def _wrong_types(values: Mapping[str, Any]) -> list[str]:
    """List the settings in a file whose values are of no use, and what each should be."""
    wrong = []
    for name, value in values.items():
        what, is_right = _kind(name)
        if not is_right(value):
            wrong.append(f"{name} = {json.dumps(value, default=str)}: it should be {what}")
    return wrong


def _kind(name: str) -> tuple[str, Callable[[Any], bool]]:
    """Say what a setting is in TOML, and how that is told."""
    if name in _COUNTS or name == "seed":
        return "a whole number, such as 10", _is_whole
    if name in _NUMBERS:
        return "a number, such as 0.25", lambda value: _is_whole(value) or isinstance(value, float)
    if name in _FLAGS:
        return "true or false", lambda value: isinstance(value, bool)
    if name in _SIZES:
        return (
            "height and width, such as [240, 320]",
            lambda value: (
                isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))
            ),
        )
    if name in _LISTS:
        return (
            'a list of texts, such as ["csv"]',
            lambda value: isinstance(value, list) and all(map(_is_text, value)),
        )
    if name in _TABLES:
        return (
            'a table of texts, such as {name = "value"}',
            lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
        )
    if name == "resize":
        known = get_args(Coordinates)
        return f"one of {', '.join(known)}", lambda value: value in known
    return "a text in quotes", _is_text


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _refusal(name: str, value: object, what: str, example: str) -> UsageError:
    option = _option(name)
    return UsageError(
        f"{option} {value} cannot be used: it is {what}. For example: {option} {example}"
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
