"""Draw heat maps over images, and contact sheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
_BACKGROUND_COLOR, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)
_PANEL_PIXELS = 400
_MARGIN, _GAP, _LINE = 24, 4, 24
_LAYOUTS = ((3, 1, 400), (8, 2, 300), (SHEET_LIMIT, 3, 210))
"""The number of columns and the width of tiles, up to a number of images."""


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


def make_panel(name: str, image: NDArray[np.float32], saliency: NDArray[np.float32]) -> Panel:
    """Shrink an image and its map for a contact sheet.

    Args:
        name: The text above it.
        image: ``(H, W, 3)``, RGB in 0..255.
        saliency: ``(H, W)`` in 0..1.
    """
    from PIL import Image

    whole = np.empty(image.shape, dtype=np.uint8)
    for rows in _strips(image):
        whole[rows] = _to_bytes(image[rows])
    small = Image.fromarray(whole)
    small.thumbnail((_PANEL_PIXELS, _PANEL_PIXELS), Image.Resampling.BOX)
    heat = Image.fromarray(np.float32(saliency)).resize(small.size, Image.Resampling.BOX)
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
    from PIL import Image, ImageDraw, ImageOps

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
            padded = ImageOps.pad(
                Image.fromarray(picture),
                (width, height),
                method=Image.Resampling.LANCZOS,
                color=_BACKGROUND_COLOR,
            )
            sheet.paste(padded, (x + tile * (width + _GAP), y + _LINE))
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
