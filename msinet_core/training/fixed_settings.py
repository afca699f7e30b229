"""Which settings a resumed run keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msinet_core.errors import UsageError, bullet_list
from msinet_core.system.settings import declared_settings
from msinet_core.training.config import COSINE, TrainConfig, plain

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


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a resumed run must keep.

    An earlier version, which did not have a setting, used its default.

    Args:
        settings: A result of `TrainConfig.to_dict`.
    """
    free = FREE_ON_RESUME - ({"epochs"} if settings.get("schedule") == COSINE else set())
    defaults = {
        name: plain(declared.default)
        for name, declared in declared_settings(TrainConfig).items()
        if declared.default is not None
    }
    known = {**defaults, **settings}
    fixed = {name: value for name, value in known.items() if name not in free}
    return {**fixed, "batch_size x accumulate": settings["batch_size"] * settings["accumulate"]}


def resumed_with(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a run with those changed that a resumed run may change.

    Args:
        config: The settings of the run.
        changes: The settings that the user gave, by name.

    Raises:
        UsageError: A value is not accepted, or would make it another run.
    """
    changed = replace(config, **changes)
    before, after = fixed_settings(config.to_dict()), fixed_settings(changed.to_dict())
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
