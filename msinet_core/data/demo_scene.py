"""Draw a scene of the demo dataset: muted shapes and a bright odd one out on a textured ground."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msinet_core.network.ops import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMOOTHING = 4
"""The factor by which outlines are drawn larger and then reduced, for smooth edges."""

CELL = 56
"""Distance of neighboring shapes in pixels, before they are moved a little."""

OBSERVERS = 8


class Scene(NamedTuple):
    """A picture with its true map and fixations.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        map: ``(H, W)`` in 0..1, a Gaussian at each odd one.
        fixations: For each observer ``(n, 2)`` int64, row and column.
    """

    image: NDArray[np.uint8]
    map: Floats
    fixations: list[NDArray[np.int64]]


def draw_scene(rng: np.random.Generator, size: Size) -> Scene:
    """Draw a scene.

    Args:
        rng: Determines everything.
        size: Height and width in pixels.
    """
    centers = _centers(rng, size)
    odd = rng.permutation(len(centers))[: min(rng.choice([1, 1, 2]), len(centers) - 1)]
    is_odd = np.isin(np.arange(len(centers)), odd)
    hue = rng.random()
    image = _ground(rng, size, hue)
    common, special = rng.choice(list(_OUTLINES), 2, replace=False)
    radius = rng.uniform(13, 17)
    muted = _color(hue + rng.uniform(-0.06, 0.06), 0.30, rng.choice([0.36, 0.66]))
    bright = _bright(hue + 0.5 + rng.uniform(-0.17, 0.17))
    image = _paint(rng, image, centers[~is_odd], radius, common, muted)
    image = _paint(rng, image, centers[is_odd], radius * 1.2, special, bright)
    return Scene(
        np.rint(image.clip(0, 255)).astype(np.uint8),
        _gaussians(centers[is_odd], size, sigma=radius),
        [_look(rng, centers, is_odd, size) for _ in range(OBSERVERS)],
    )


def _centers(rng: np.random.Generator, size: Size) -> Floats:
    """Return positions of shapes on a loose grid, ``(n, 2)`` row and column, inside the image."""
    counts = [max(1, axis // CELL) for axis in size]
    if counts == [1, 1]:
        counts = [1, 2]
    axes = [
        (np.arange(count) + 0.5) * axis / count for count, axis in zip(counts, size, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    grid += rng.uniform(-8, 8, grid.shape)
    some = rng.permutation(len(grid))[: max(2, round(len(grid) * rng.uniform(0.7, 0.95)))]
    return grid[np.sort(some)]


def _color(hue: float, saturation: float, value: float) -> Floats:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _bright(hue: float) -> Floats:
    """Return a full color, mixed with as much white as blue and violet need to look bright."""
    color = _color(hue, 0.9, 1.0)
    luminance = float(color @ np.array([0.299, 0.587, 0.114]))
    return color + (255 - color) * max(0.0, (150 - luminance) / (255 - luminance))


def _ground(rng: np.random.Generator, size: Size, hue: float) -> Floats:
    """Return a texture: two shades of one hue, with a slope, clouds and a fine weave or grain."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] / size[0]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * (rows - 0.5) + np.sin(angle) * (columns - 0.5 * size[1] / size[0])
    clouds = sum(_noise(rng, size, cell) for cell in (13, 30, 66))
    if rng.random() < 0.5:
        turn, pitch = rng.uniform(0, np.pi), rng.uniform(90, 140)
        across = np.cos(turn) * rows + np.sin(turn) * columns
        along = np.sin(turn) * rows - np.cos(turn) * columns
        fine = np.sin(across * pitch) * np.sin(along * pitch)
    else:
        fine = 0.8 * _noise(rng, size, 2)
    mix = np.clip(0.5 + 0.5 * slope + 0.16 * clouds + 0.07 * fine, 0, 1)[..., None]
    dark, light = _color(hue - 0.03, 0.42, 0.26), _color(hue + 0.03, 0.34, 0.56)
    ground: Floats = dark + (light - dark) * mix
    return ground


def _noise(rng: np.random.Generator, size: Size, cell: int) -> Floats:
    """Return smooth noise of unit variance with features about `cell` pixels wide."""
    from PIL import Image

    cells = [axis // cell + 3 for axis in size]
    coarse = Image.fromarray(rng.standard_normal(cells).astype(np.float32))
    smooth = coarse.resize((cells[1] * cell, cells[0] * cell), Image.Resampling.BICUBIC)
    noise = np.asarray(smooth, np.float64)
    return noise[cell : cell + size[0], cell : cell + size[1]]


def _paint(
    rng: np.random.Generator,
    image: Floats,
    centers: Floats,
    radius: float,
    kind: str,
    color: Floats,
) -> Floats:
    """Paint shapes on an image, lit from the upper left, with a soft shadow."""
    from PIL import Image, ImageDraw, ImageFilter

    mask = Image.new("L", (image.shape[1] * SMOOTHING, image.shape[0] * SMOOTHING))
    for center in centers:
        outline = _turned(_OUTLINES[kind](), rng.uniform(0, 2 * np.pi)) * radius + center
        corners = [(x, y) for y, x in outline * SMOOTHING]
        ImageDraw.Draw(mask).polygon(corners, fill=255)
    mask = mask.reduce(SMOOTHING)

    def soft(pixels: float) -> Floats:
        blurred = mask.filter(ImageFilter.GaussianBlur(pixels))
        return np.asarray(blurred, np.float64)[..., None] / 255

    def moved(layer: Floats, pixels: int) -> Floats:
        return np.roll(layer, (pixels, pixels), axis=(0, 1))

    shadow, edge = moved(soft(2.5), 3), soft(1.2)
    light = 1 + 0.35 * (moved(edge, 1) - moved(edge, -1))
    cover = soft(0)
    painted: Floats = image * (1 - 0.45 * shadow) * (1 - cover) + color * light * cover
    return painted


def _gaussians(centers: Floats, size: Size, sigma: float) -> Floats:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    distances = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in centers]
    total = np.exp(np.array(distances) / (-2 * sigma**2)).sum(axis=0)
    map: Floats = total / total.max()
    return map


def _look(
    rng: np.random.Generator, centers: Floats, is_odd: NDArray[np.bool_], size: Size
) -> NDArray[np.int64]:
    """Return the fixations of an observer: most on the odd ones, a few on other shapes."""
    chance = np.where(is_odd, 0.85 / is_odd.sum(), 0.15 / max(1, (~is_odd).sum()))
    targets = centers[rng.choice(len(centers), rng.integers(6, 11), p=chance / chance.sum())]
    points = np.rint(targets + rng.normal(0, 5, targets.shape))
    return np.clip(points, 0, np.array(size) - 1).astype(np.int64)


def _turned(outline: Floats, angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Floats = outline @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _ring_of(count: int, *radii: float) -> Callable[[], Floats]:
    """Return an outline with `count` corners around the center, at alternating radii."""

    def outline() -> Floats:
        angles = 2 * np.pi * np.arange(count) / count
        radius = np.resize(radii, count)
        return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)

    return outline


def _cross() -> Floats:
    a, b = 0.36, 1.0
    corners = [(a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a)]
    return np.array(corners + [(-row, -column) for row, column in corners])


_OUTLINES: dict[str, Callable[[], Floats]] = {
    "disc": _ring_of(60, 0.9),
    "triangle": _ring_of(3, 1.15),
    "square": _ring_of(4, 1.1),
    "hexagon": _ring_of(6, 1.0),
    "star": _ring_of(10, 1.2, 0.55),
    "cross": _cross,
}
