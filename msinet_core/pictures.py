"""Draw heat maps over images, contact sheets, learning curves and charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.errors import UsageError
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw, ImageFont

COLORMAP = "inferno"
"""Brighter is more salient, in even steps, also in print and for color-blind readers. The usual
rainbow has neither property, and shows edges where the map has none."""

SHEET_LIMIT = 24
"""The maximum number of images on a contact sheet, so that they are recognizable on a screen."""

_OPACITY = 0.85
_STRIP = 2**18
_PLOT_FORMATS = ("png", "svg", "pdf")
_BACKGROUND_COLOR, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)
_MARGIN, _GAP, _LINE = 24, 4, 24
_LAYOUTS = ((3, 1, 400), (8, 2, 300), (SHEET_LIMIT, 3, 210))
"""The number of columns and the width of tiles, up to a number of images."""

_TRAIN_COLOR, _VALID_COLOR = "#3b75af", "#d9541e"


@dataclass(frozen=True)
class Panel:
    """One image of a contact sheet, already small.

    Args:
        name: The text above it.
        image: ``(h, w, 3)`` uint8.
        saliency: ``(h, w)`` float32 in 0..1.
    """

    name: str
    image: NDArray[np.uint8]
    saliency: NDArray[np.float32]


def overlay(image: NDArray[np.float32], saliency: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a map as heat over its image: salient regions glow, the rest becomes gray and dim.

    Args:
        image: ``(H, W, 3)``, RGB in 0..255.
        saliency: ``(H, W)`` in 0..1.

    Returns:
        ``(H, W, 3)``, RGB.
    """
    tints, keeps = _blending()
    luma_weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    shown = np.empty(image.shape, dtype=np.uint8)
    for rows in _strips(image):
        heat = np.rint(255 * np.clip(saliency[rows], 0, 1)).astype(np.uint8)
        gray = keeps[heat] * (0.75 * (image[rows] @ luma_weights) + 20)
        shown[rows] = _to_bytes(gray[..., None] + tints[heat])
    return shown


def write_overlay(path: Path, image: NDArray[np.float32], saliency: NDArray[np.float32]) -> None:
    """Write an overlay as JPEG.

    Args:
        path: The file to create or replace.
        image: ``(H, W, 3)``, RGB in 0..255.
        saliency: ``(H, W)`` in 0..1.

    Raises:
        MsinetError: The file system refused.
    """
    from PIL import Image

    picture = Image.fromarray(overlay(image, saliency))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="JPEG", quality=92)


def make_panel(
    name: str, image: NDArray[np.float32], saliency: NDArray[np.float32], width: int = 400
) -> Panel:
    """Shrink an image and its map for a contact sheet.

    Args:
        name: The text above it.
        image: ``(H, W, 3)``, RGB in 0..255.
        saliency: ``(H, W)`` in 0..1.
        width: The longest side in pixels.
    """
    from PIL import Image

    whole = np.empty(image.shape, dtype=np.uint8)
    for rows in _strips(image):
        whole[rows] = _to_bytes(image[rows])
    small = Image.fromarray(whole)
    scale = min(1.0, width / max(small.size))
    size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
    heat = Image.fromarray(saliency.astype(np.float32, copy=False)).resize(
        size, Image.Resampling.BOX
    )
    small = small.resize(size, Image.Resampling.BOX)
    return Panel(name, np.asarray(small), np.clip(np.asarray(heat), 0, 1))


def write_contact_sheet(path: Path, panels: Sequence[Panel], title: str) -> None:
    """Write a PNG that shows images, maps and overlays side by side.

    Args:
        path: The file to create or replace.
        panels: One or more; at most `SHEET_LIMIT` are shown.
        title: The line at the top.

    Raises:
        MsinetError: The file system refused.
    """
    sheet = _draw_sheet(panels[:SHEET_LIMIT], title)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def draw_curve(history: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Write a PNG of training and validation loss over the epochs, with the best epoch marked.

    Args:
        history: A row for each epoch: ``epoch``, ``train_loss`` and ``valid_loss``.
        path: The file to create or replace.
        title: The line at the top, for example the run's name.

    Raises:
        MsinetError: The file system refused.
    """
    # Not pyplot, which would start a window system and keep every figure alive.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

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
    _mark_best(axes, history)
    if len(set(epochs)) == 1:
        axes.set_xlim(epochs[0] - 0.9, epochs[0] + 0.9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (KL divergence, nats)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


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
            (0.2, "whole_images_per_s", "whole", _TRAIN_COLOR),
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


def _mark_best(axes: Any, history: Sequence[Mapping[str, float]]) -> None:
    rows = [row for row in history if np.isfinite(row.get("valid_loss", float("nan")))]
    if not rows:
        return
    best = min(rows, key=lambda row: row["valid_loss"])
    epoch, loss = best["epoch"], best["valid_loss"]
    axes.plot(
        [epoch],
        [loss],
        linestyle="",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=_VALID_COLOR,
        markeredgewidth=1.5,
        label=f"best: {loss:.4f}, epoch {epoch:g}",
    )


def _strips(image: NDArray[np.float32]) -> Iterator[slice]:
    """Cut an image into rows of about `_STRIP` pixels, so that intermediate arrays are small."""
    height, width = image.shape[:2]
    rows = max(1, _STRIP // max(1, width))
    return (slice(top, top + rows) for top in range(0, height, rows))


def _to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _blending() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return for each of 256 steps of heat the color to add, and the share of gray to keep."""
    from matplotlib import colormaps

    heat = np.arange(256) / 255
    opacity = _OPACITY * heat**0.75  # below 1, so that weak regions still have a tint
    colors = 255 * colormaps[COLORMAP](np.arange(256))[:, :3]
    return (opacity[:, None] * colors).astype(np.float32), (1 - opacity).astype(np.float32)


def _draw_sheet(panels: Sequence[Panel], title: str) -> Image.Image:
    from PIL import Image, ImageDraw

    _, columns, width = next(layout for layout in _LAYOUTS if len(panels) <= layout[0])
    height = round(width * _aspect(panels))
    cell = (3 * width + 2 * _GAP + _MARGIN, height + _LINE + _MARGIN)
    rows = -(-len(panels) // columns)
    top = _MARGIN + 2 * _LINE
    sheet = Image.new("RGB", (columns * cell[0] + _MARGIN, top + rows * cell[1]), _BACKGROUND_COLOR)
    draw, font = ImageDraw.Draw(sheet), _font(14)
    _write(draw, (_MARGIN, _MARGIN - 6), title, _font(17), _INK, sheet.width - 2 * _MARGIN)
    for column in range(min(columns, len(panels))):
        for tile, head in enumerate(("image", "saliency map", "overlay")):
            x = _MARGIN + column * cell[0] + tile * (width + _GAP)
            _write(draw, (x, _MARGIN + _LINE), head, font, _FAINT, width)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * cell[0], top + row * cell[1]
        _write(draw, (x, y), panel.name, font, _INK, cell[0] - _MARGIN)
        for tile, picture in enumerate(_tiles(panel)):
            _paste(sheet, picture, (x + tile * (width + _GAP), y + _LINE), (width, height))
    return sheet


def _aspect(panels: Sequence[Panel]) -> float:
    """Return the height over width of most images, so that few tiles have wide borders."""
    return float(
        np.clip(np.median([p.image.shape[0] / p.image.shape[1] for p in panels]), 0.4, 1.5)
    )


def _tiles(panel: Panel) -> list[NDArray[np.uint8]]:
    gray = np.rint(255 * panel.saliency).astype(np.uint8)
    heat = overlay(panel.image.astype(np.float32), panel.saliency)
    return [panel.image, np.repeat(gray[..., None], 3, axis=2), heat]


def _paste(
    sheet: Image.Image, picture: NDArray[np.uint8], corner: tuple[int, int], box: tuple[int, int]
) -> None:
    from PIL import Image

    tile = Image.fromarray(picture)
    scale = min(box[0] / tile.width, box[1] / tile.height)
    size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
    offset = ((box[0] - size[0]) // 2, (box[1] - size[1]) // 2)
    sheet.paste(
        tile.resize(size, Image.Resampling.LANCZOS), (corner[0] + offset[0], corner[1] + offset[1])
    )


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont,
    color: tuple[int, int, int],
    width: int,
) -> None:
    """Write a line of text, without its beginning if it is too long: names differ at the end."""
    glyphs = _glyphs()
    shown = "".join(letter if ord(letter) in glyphs else "?" for letter in text)
    while len(shown) > 2 and draw.textlength(shown, font=font) > width:
        shown = "\N{HORIZONTAL ELLIPSIS}" + shown[2:]
    draw.text(corner, shown, font=font, fill=color)


@lru_cache(maxsize=2)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(_font_file(), size)


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """Return the characters of the font; it would draw an empty box for others."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_font_file()).get_charmap())


def _font_file() -> str:
    import matplotlib

    # Matplotlib's font has many scripts; Pillow's own has only Latin letters.
    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
