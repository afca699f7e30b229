"""The learning curve of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.metrics.table import METRICS
from msinet_core.system.figures import figures_released, save_figure
from msinet_core.training.selection import LOSS, Selection

_TRAIN_COLOR, _VALID_COLOR = "#3b75af", "#d9541e"


@figures_released()
def draw_curve(
    history: Sequence[Mapping[str, float]],
    path: Path,
    title: str,
    loss: str = "kld",
    selection: Selection = Selection(),  # noqa: B008  -- a frozen value
) -> None:
    """Write a PNG of training and validation loss over the epochs, with the best epoch marked.

    Args:
        history: A row for each epoch: ``epoch``, ``train_loss`` and ``valid_loss``.
        path: The file to create or replace.
        title: The line at the top, for example the run's name.
        loss: The loss, as in the settings.
        selection: Decides which epoch is the best.

    Raises:
        MsinetError: The file system refused.
    """
    # Not pyplot, which would start a window system and keep every figure alive.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(history) <= 30 else ""
    for key, label, color in (
        ("train_loss", "training", _TRAIN_COLOR),
        ("valid_loss", "validation", _VALID_COLOR),
    ):
        losses = [row.get(key, float("nan")) for row in history]
        axes.plot(epochs, losses, marker=marker, markersize=4, color=color, label=label)
    _mark_best(axes, history, selection)
    if len(set(epochs)) == 1:
        axes.set_xlim(epochs[0] - 0.9, epochs[0] + 0.9)
    axes.set_ylabel("loss (KL divergence, nats)" if loss == "kld" else f"loss ({loss})")
    axes.set_title(title, loc="left", fontsize=11)
    _style(axes)
    axes.legend(frameon=False)
    save_figure(figure, path)


def draw_curves(
    histories: Sequence[tuple[str, Sequence[Mapping[str, float]]]],
    columns: Sequence[str],
    path: Path,
) -> None:
    """Draw the curves of several runs over each other, a panel for each column.

    Args:
        histories: The name and the history of each run.
        columns: The columns of ``history.csv`` to draw.
        path: The file to create or replace: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
        MsinetError: The file system refused.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2 * len(columns) + 0.4), dpi=150, layout="constrained")
    panels = figure.subplots(len(columns), squeeze=False)[:, 0]
    for axes, column in zip(panels, columns, strict=True):
        for name, history in histories:
            rows = [row for row in history if column in row]
            epochs, values = ([row[key] for row in rows] for key in ("epoch", column))
            marker = "o" if len(rows) <= 30 else ""
            axes.plot(epochs, values, marker=marker, markersize=4, label=name)
        axes.set_ylabel("validation loss" if column == "valid_loss" else METRICS[column].title)
        _style(axes)
    panels[0].legend(frameon=False)
    save_figure(figure, path)


def _style(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_best(axes: Any, history: Sequence[Mapping[str, float]], selection: Selection) -> None:
    rows = [row for row in history if np.isfinite(row.get("valid_loss", float("nan")))]
    index = selection.best(rows)
    if index is None:
        return
    row, by = rows[index], ""
    if selection.by != LOSS:
        by = f" {METRICS[selection.by].title} {row[selection.by]:.4f}"
    label = f"best{by}: epoch {row['epoch']:g}, loss {row['valid_loss']:.4f}"
    ring = {"markersize": 11, "markeredgewidth": 1.5, "markeredgecolor": _VALID_COLOR}
    axes.plot(row["epoch"], row["valid_loss"], "o", markerfacecolor="none", label=label, **ring)
