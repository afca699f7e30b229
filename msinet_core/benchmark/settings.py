"""The settings of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Size
from msinet_core.system.settings import (
    check_settings,
    declared_settings,
    integer,
    setting,
    setting_like,
)
from msinet_core.training.config import TrainConfig

_TRAINING = declared_settings(TrainConfig)


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Raises:
        UsageError: Lists the settings whose values are not accepted.
    """

    precision: str = setting_like(_TRAINING["precision"], "auto")
    device_options: Mapping[str, str] = setting_like(_TRAINING["device_options"], {})
    image_size: Size = setting_like(_TRAINING["image_size"], DEFAULT_IMAGE_SIZE)
    batch_size: int = setting_like(_TRAINING["batch_size"], 1)
    width: float = setting_like(_TRAINING["width"], 1.0)
    images: int = setting(integer(), "Images in each round.", 24)
    rounds: int = setting(integer(), "Rounds; the table shows medians.", 5)

    def __post_init__(self) -> None:
        check_settings(self)
