"""The settings of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Size
from msinet_core.system.kinds import Kind, integer, several
from msinet_core.system.settings import check_settings, declared_settings, setting
from msinet_core.training.config import TrainConfig

_TRAINING = declared_settings(TrainConfig)


def _training(name: str) -> tuple[Kind, str]:
    return _TRAINING[name].kind, _TRAINING[name].help


@dataclass(frozen=True)
class BenchSettings:
    """What is measured: every combination of the devices, precisions and batch sizes.

    Raises:
        UsageError: Lists the settings whose values are not accepted.
    """

    precision: tuple[str, ...] = setting(
        several(_TRAINING["precision"].kind), "Precisions to measure.", ("auto",)
    )
    batch_size: tuple[int, ...] = setting(several(integer()), "Batch sizes to measure.", (1,))
    device_options: Mapping[str, str] = setting(*_training("device_options"), {})
    image_size: Size = setting(*_training("image_size"), DEFAULT_IMAGE_SIZE)
    width: float = setting(*_training("width"), 1.0)
    images: int = setting(integer(), "Images in each round, at least.", 24)
    rounds: int = setting(integer(), "Rounds; the table shows medians.", 5)
    timeout: int = setting(
        integer(), "Seconds after which a combination is stopped and reported.", 3600
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def shared(self) -> dict[str, Any]:
        """Return the settings that results must share to be comparable."""
        differing = ("precision", "batch_size", "timeout")
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in differing
        }

    def options(self) -> list[str]:
        """Return the options of ``bench`` that give these settings, without its defaults."""
        found: list[str] = []
        for name, declared in declared_settings(self).items():
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            if declared.kind.is_table:
                for key, each in value.items():
                    found += [option.removesuffix("s"), f"{key}={each}"]
            elif value != declared.default:
                found += [option, declared.kind.to_text(value)]
        return found


@dataclass(frozen=True)
class Case:
    """One combination to measure.

    Args:
        device: The device's name.
        precision: One of the device's precisions.
        batch_size: Images in a batch.
    """

    device: str
    precision: str
    batch_size: int

    def __str__(self) -> str:
        return f"{self.device} {self.precision} batch size {self.batch_size}"

    def options(self) -> str:
        """Return the options of ``train`` and ``predict`` that choose it."""
        return f"--device {self.device} --precision {self.precision} --batch-size {self.batch_size}"
