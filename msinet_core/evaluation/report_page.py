"""Write an evaluation as one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.images import MAP_PADDING, read_image
from msinet_core.data.resize import fit
from msinet_core.errors import DataError, counted
from msinet_core.evaluation.baselines import CENTER_BIAS, HALF, LIMIT, MODEL, SOURCES
from msinet_core.evaluation.result import CONSTANTS, Evaluation, ImageScores, Summary, percent
from msinet_core.metrics.table import METRICS
from msinet_core.prediction.pictures import overlay
from msinet_core.system.files import write_text
from msinet_core.system.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_SHOWN = 4
"""How many best and how many worst images are shown."""

PICTURE_PIXELS = 360
"""The longer side of a picture."""

_CHART_WIDTH, _CHART_HEIGHT = 260, 120
_LEFT, _RIGHT, _TOP, _BASE = 6, 254, 8, 98
_TICKS = 5
_MOST_BINS = 80

COLORS = {MODEL: "var(--accent)", CENTER_BIAS: "var(--bias)", HALF: "var(--limit)"}
"""The means that charts mark, and their colors."""

_RANKINGS = ("nss", "cc", "kld")
_TILES = ("nss", "cc", "kld", "information_gain")
_JPEG_QUALITY = 82


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write a self-contained HTML page: table, distributions, best and worst images.

    Args:
        evaluation: The scores; with thumbnails, its pictures show the model's maps.
        path: The file to create or replace.

    Raises:
        MsinetError: The file cannot be written.
    """
    summary = evaluation.summary()
    ranking = next((key for key in _RANKINGS if summary[key][MODEL].n), _RANKINGS[0])
    ranked = _ranked(evaluation, ranking)
    shown = min(IMAGES_SHOWN, (len(ranked) + 1) // 2)
    name = PurePath(evaluation.weights).name
    template = Template((files(__package__) / "report_page.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(f"{name} on {evaluation.data}"),
        facts=_facts(evaluation),
        notes=_notes(evaluation),
        tiles="".join(_tiles(evaluation, summary)),
        table="".join(_table(evaluation, summary)),
        limit=f"{LIMIT[0].upper()}{LIMIT[1:]}." if HALF in evaluation.sources else "",
        legend="".join(_legend(evaluation)),
        charts="".join(_charts(evaluation, summary)),
        ranking=METRICS[ranking].title,
        best="".join(map(_card, ranked[:shown])),
        worst="".join(map(_card, ranked[len(ranked) - shown :][::-1])),
        footer=_footer(evaluation),
    )
    write_text(path, page)


def _ranked(evaluation: Evaluation, key: str) -> list[ImageScores]:
    """Return the images from the best to the worst."""
    known = [image for image in evaluation.images if not math.isnan(image.model[key])]
    return sorted(known, key=lambda image: image.model[key], reverse=METRICS[key].higher_is_better)


def _facts(evaluation: Evaluation) -> str:
    facts = {
        "Model": evaluation.weights,
        "Dataset": f"{evaluation.data}, {evaluation.split}",
        "Images": f"{len(evaluation.images)}, {evaluation.with_fixations} with fixations",
        **{name.capitalize(): value for name, value in evaluation.conditions().items()},
    }
    return "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
        if value
    )


def _notes(evaluation: Evaluation) -> str:
    lines = [*evaluation.notes]
    if evaluation.failures:
        lines.append(f"{counted(len(evaluation.failures), 'image')} could not be used.")
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div class="notes">{text}</div>' if lines else ""


def _tiles(evaluation: Evaluation, summary: dict[str, dict[str, Summary]]) -> Iterator[str]:
    for key in _TILES:
        one = summary[key][MODEL]
        if one.n:
            text = f"{METRICS[key].title} [{one.low:.2f}, {one.high:.2f}]"
            yield f'<div class="tile"><b>{one.mean:.2f}</b><span>{escape(text)}</span></div>'
    share = percent(evaluation.share_of_limit("nss"))
    if share:
        text = "of the inter-observer limit, by NSS"
        yield f'<div class="tile"><b>{share}</b><span>{text}</span></div>'


def _table(evaluation: Evaluation, summary: dict[str, dict[str, Summary]]) -> Iterator[str]:
    sources = evaluation.sources
    titles = ["metric", *(SOURCES[source] for source in sources)]
    limited = HALF in sources
    if limited:
        titles.insert(2, "of limit")
    yield "<thead><tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr></thead>"
    for key, metric in METRICS.items():
        if not any(one.n for one in summary[key].values()):
            continue
        arrow = "&uarr;" if metric.higher_is_better else "&darr;"
        cells = [f'<td class="{source}">{_value(summary[key][source])}</td>' for source in sources]
        if limited:
            cells.insert(1, f"<td>{percent(evaluation.share_of_limit(key))}</td>")
        title = f"<td>{escape(metric.title)}&nbsp;{arrow}</td>"
        yield f'<tr data-metric="{key}">{title}{"".join(cells)}</tr>'


def _value(one: Summary) -> str:
    if not one.n:
        return ""
    constant = math.isnan(one.low) or one.low == one.high
    interval = "" if constant else f"<small>{one.low:.3f} to {one.high:.3f}</small>"
    return f"{one.mean:.3f}{interval}"


def _legend(evaluation: Evaluation) -> Iterator[str]:
    for source, color in COLORS.items():
        if source in evaluation.sources:
            yield f'<i style="color:{color}"></i>{SOURCES[source]}'


def _charts(evaluation: Evaluation, summary: dict[str, dict[str, Summary]]) -> Iterator[str]:
    for key, metric in METRICS.items():
        values = evaluation.values(key)
        values = values[~np.isnan(values)]
        if len(values) > 1:
            means = {
                source: summary[key][source].mean
                for source in COLORS
                if source in summary[key] and summary[key][source].n
            }
            chart = histogram(values, means)
            yield f'<div class="chart"><h3>{escape(metric.title)}</h3>{chart}</div>'


def _card(image: ImageScores) -> str:
    scores = "".join(
        f"<span>{escape(METRICS[key].title)} {value:.3f}</span>"
        for key, value in image.model.items()
        if not math.isnan(value) and key != "loss"
    )
    return (
        f'<article class="card"><header><b>{escape(image.name)}</b>{scores}</header>'
        f'<div class="pictures">{"".join(_pictures(image))}</div></article>'
    )


def _pictures(image: ImageScores) -> Iterator[str]:
    if image.sample is None:
        return
    try:
        stimulus = read_image(image.sample.stimulus)
        truth = image.sample.read_map() if image.sample.has_map else None
        fixations = image.sample.read_fixations()
    except DataError as error:  # it has been removed since it was scored
        yield f"<figcaption>{escape(str(error))}</figcaption>"
        return
    size = stimulus.shape[0], stimulus.shape[1]
    scale = min(1.0, PICTURE_PIXELS / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    stimulus = fit(stimulus, small, MAP_PADDING)
    points = np.empty((0, 2)) if fixations is None else fixations.points * scale
    caption = f"image, {counted(len(points), 'fixation')}"
    yield _figure(stimulus.round().astype(np.uint8), caption, points)
    if truth is not None:
        yield _figure(overlay(stimulus, fit(truth, small, MAP_PADDING)[..., 0]), "true map")
    if image.thumbnail is not None:
        map = (image.thumbnail / 255)[..., None]
        yield _figure(overlay(stimulus, fit(map, small, MAP_PADDING)[..., 0]), "model's map")


def _figure(pixels: NDArray[np.uint8], caption: str, points: Any = ()) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width = pixels.shape[:2]
    dots = "".join(f'<circle cx="{column:.1f}" cy="{row:.1f}" r="2.4"/>' for row, column in points)
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{caption}">'
        f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"/>'
        f'<g fill="#ffd23f" stroke="#1b2330" stroke-width="0.7">{dots}</g></svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _footer(evaluation: Evaluation) -> str:
    constants = ", ".join(
        f"{key.replace('_', ' ')} {value:.3g}" for key, value in CONSTANTS.items()
    )
    return escape(
        f"msinet {__version__}. A pixel counts as one fixation. Shuffled AUC takes its negatives "
        f"from all other images of the dataset; the center bias is the kernel density of their "
        f"fixations. Constants: {constants}."
    )


def histogram(values: NDArray[np.float64], means: Mapping[str, float]) -> str:
    """Return a histogram as an inline SVG, with a line for each mean.

    Args:
        values: The model's scores of the images, finite.
        means: The means to mark, by the keys of `SOURCES`.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = (float(limit([*values, *means.values()])) for limit in (np.min, np.max))
    equal = np.isclose(low, high, rtol=1e-9, atol=1e-9)  # too close for bins between them
    margin = 0.5 if equal else 0.04 * (high - low)
    low, high = low - margin, high + margin
    bins = np.clip(np.sqrt(len(values)) * 2, 8, 40)  # over the scores; the axis may be longer
    step = max(np.ptp(values) / bins, (high - low) / _MOST_BINS)
    counts, edges = np.histogram(values, int(np.ceil((high - low) / step)), (low, high))

    def across(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)

    parts = [
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" role="img" aria-label="histogram">'
    ]
    tallest = counts.max()
    for count, begin, end in zip(counts, edges, edges[1:], strict=False):
        height = (_BASE - _TOP) * count / tallest
        parts.append(
            f'<rect x="{across(begin) + 0.5:.1f}" y="{_BASE - height:.1f}" '
            f'width="{across(end) - across(begin) - 1:.1f}" height="{height:.1f}" fill="#f0c9b6"/>'
        )
    parts += [
        f'<line x1="{across(mean):.1f}" x2="{across(mean):.1f}" y1="{_TOP}" y2="{_BASE}" '
        f'stroke="{COLORS[source]}" stroke-width="2"/>'
        for source, mean in means.items()
    ]
    parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{_BASE}" y2="{_BASE}" stroke="#c4cad2"/>')
    parts += [
        f'<text x="{across(tick):.1f}" y="{_BASE + 15}" font-size="10.5" fill="#5d6776" '
        f'text-anchor="middle">{tick + 0.0:g}</text>'
        for tick in MaxNLocator(_TICKS, steps=[1, 2, 5, 10]).tick_values(low, high)
        if low + 0.05 * (high - low) <= tick <= high - 0.05 * (high - low)
    ]
    return "".join([*parts, "</svg>"])
