"""The bar chart of the rates of devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msinet_core.errors import UsageError
from msinet_core.system.files import atomic_path

_PLOT_FORMATS = ("png", "svg", "pdf")
_COLOR = "#3b75af"


def plot_format(path: Path) -> str:
    """Return the format of a plot by its file name.

    Args:
        path: The file to create: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
    """
    format = path.suffix.lower().removeprefix(".")
    if format not in _PLOT_FORMATS:
        suffixes = ", ".join(f".{known}" for known in _PLOT_FORMATS)
        raise UsageError(
            f"Unknown format of the plot '{path.name}'. Use one of these suffixes: {suffixes}"
        )
    return format


def draw_rates(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the rates of devices: of the bare step, and with reading and writing files.

    Args:
        results: One for each device, as `msinet_core.bench` returns them.
        path: The file to create or replace: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
        MsinetError: The file system refused.
    """
    from matplotlib.figure import Figure

    format = plot_format(path)
    figure = Figure(figsize=(7, 1.6 + 1.3 * len(results)), dpi=150, layout="constrained")
    names = [f"{result['device']}\n{result['precision']}" for result in results]
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (work, title) in zip(
        panels, (("predict", "predict a folder"), ("train", "train")), strict=True
    ):
        measured = [row for row, result in enumerate(results) if work in result]
        for offset, key, label, color in (
            (-0.2, "bare_images_per_s", "bare step", "#b8c9dc"),
            (0.2, "whole_images_per_s", "whole", _COLOR),
        ):
            rates = [results[row][work][key] for row in measured]
            positions = [row + offset for row in measured]
            bars = axes.barh(positions, rates, height=0.38, color=color, label=label)
            axes.bar_label(bars, map(_rate, rates), padding=3, fontsize=9)
        for row in set(range(len(results))) - set(measured):
            axes.text(0, row, " predicts only", va="center", color="gray", fontsize=9)
        axes.margins(x=0.2)
        axes.set_xlabel("images/s")
        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=format)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"
