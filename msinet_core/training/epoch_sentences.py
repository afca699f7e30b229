"""What a run says after an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msinet_core.training.config import TrainConfig

WAIT_SHARE, WAIT_SECONDS = 0.2, 1.0
"""The part of an epoch, and the seconds, that training waits for images before a line says so."""


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
            f"msinet-run data check {quote(config.data)}"
        )


def _waits_for_data(epoch: Mapping[str, Any]) -> bool:
    waited = epoch.get("data_wait", 0.0)  # runs of earlier versions have no such column
    return bool(waited > max(WAIT_SECONDS, WAIT_SHARE * epoch["seconds"]))
