"""The bar chart of the rates of devices, on one machine or on several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msinet_core.benchmark.results import WORKS, Results
from msinet_core.benchmark.table import machine_name, rate_text
from msinet_core.system.figures import save_figure

_TITLES = ("predict a folder", "train")
_BARS = (
    (-0.2, "bare_images_per_s", "bare step", "#b8c9dc"),
    (0.2, "whole_images_per_s", "whole", "#3b75af"),
)


def draw_rates(machines: Sequence[Results], path: Path) -> None:
    """Draw the rates of all rows: of the bare step, and with reading and writing files.

    Args:
        machines: The results of each machine.
        path: The file to create or replace: ``*.png``, ``*.svg`` or ``*.pdf``.

    Raises:
        UsageError: The suffix is another one.
        MsinetError: The file system refused.
    """
    from matplotlib.figure import Figure

    several = len(machines) > 1
    rows = [(results, row) for results in machines for row in results.results]
    names = [
        f"{machine_name(results) + chr(10) if several else ''}{row['device']} {row['precision']}, "
        f"batch {row['batch_size']}"
        for results, row in rows
    ]
    figure = Figure(figsize=(9, 1.6 + 0.7 * len(rows)), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(WORKS), sharey=True)
    for axes, work, title in zip(panels, WORKS, _TITLES, strict=True):
        measured = [number for number, (_, row) in enumerate(rows) if work in row]
        for offset, key, label, color in _BARS:
            rates = [rows[number][1][work][key] for number in measured]
            positions = [number + offset for number in measured]
            bars = axes.barh(positions, rates, height=0.38, color=color, label=label)
            axes.bar_label(bars, map(rate_text, rates), padding=3, fontsize=9)
        for number in sorted(set(range(len(rows))) - set(measured)):
            status = rows[number][1]["status"]
            text = " predicts only" if status == "ok" else f" {status}"
            axes.text(0, number, text, va="center", color="gray", fontsize=9)
        axes.margins(x=0.2)
        axes.set_xlabel("images/s")
        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names, fontsize=9)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)
