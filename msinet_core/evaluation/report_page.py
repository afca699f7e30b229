"""Write an evaluation as one HTML page that needs no other file and no network."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.images import MAP_PADDING, read_image
from msinet_core.data.resize import fit
from msinet_core.errors import DataError
from msinet_core.evaluation.baselines import HALF, MODEL, SOURCES
from msinet_core.evaluation.report_chart import COLORS, histogram
from msinet_core.evaluation.result import CONSTANTS, Evaluation, ImageScores, Summary
from msinet_core.metrics.table import METRICS
from msinet_core.prediction.pictures import overlay
from msinet_core.system.files import write_text
from msinet_core.system.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 4
"""How many best and how many worst images are shown."""

WIDTH = 360
"""Of a picture, in pixels."""

_RANKINGS = ("nss", "cc", "kld")
_TILES = ("nss", "cc", "kld", "information_gain")
_JPEG_QUALITY = 82
_LIMIT = """\
Of limit: how far the model gets from the uniform map to the agreement of one half of the observers
with the other half."""


def write_report(evaluation: Evaluation, path: Path, title: str = "") -> None:
    """Write a self-contained HTML page: table, distributions, best and worst images.

    Args:
        evaluation: The scores; with thumbnails, its pictures show the model's maps.
        path: The file to create or replace.
        title: The heading; empty for the dataset and the weights.

    Raises:
        MsinetError: The file cannot be written.
    """
    write_text(path, render(evaluation, title))


def render(evaluation: Evaluation, title: str = "") -> str:
    """Return the page.

    Args:
        evaluation: The scores; with thumbnails, its pictures show the model's maps.
        title: The heading; empty for the weights and the dataset.
    """
    summary = evaluation.summary()
    ranking = next((key for key in _RANKINGS if summary[key][MODEL].n), _RANKINGS[0])
    ranked = _ranked(evaluation, ranking)
    shown = min(SHOWN, (len(ranked) + 1) // 2)
    name = PurePath(evaluation.weights).name
    template = Template((files(__package__) / "report_page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title or f"{name} on {evaluation.data}"),
        facts=_facts(evaluation),
        notes=_notes(evaluation),
        tiles="".join(_tiles(evaluation, summary)),
        table="".join(_table(evaluation, summary)),
        limit=_LIMIT if HALF in evaluation.sources else "",
        legend="".join(_legend(evaluation)),
        charts="".join(_charts(evaluation, summary)),
        ranking=METRICS[ranking].title,
        best="".join(map(_card, ranked[:shown])),
        worst="".join(map(_card, ranked[len(ranked) - shown :][::-1])),
        footer=_footer(evaluation),
    )


def _ranked(evaluation: Evaluation, key: str) -> list[ImageScores]:
    """Return the images from the best to the worst."""
    known = [image for image in evaluation.images if not math.isnan(image.model[key])]
    return sorted(known, key=lambda image: image.model[key], reverse=METRICS[key].higher_is_better)


def _facts(evaluation: Evaluation) -> str:
    size = "{}x{}".format
    sizes = sorted({image.size for image in evaluation.images})
    scored = size(*sizes[0]) if len(sizes) == 1 else f"each image's size, {len(sizes)} sizes"
    sigma = "unknown" if evaluation.sigma is None else f"{evaluation.sigma:g} px"
    facts = {
        "Model": evaluation.weights,
        "Dataset": f"{evaluation.data}, {evaluation.split}",
        "Images": f"{len(evaluation.images)}, {evaluation.with_fixations} with fixations",
        "Network input": size(*evaluation.image_size) if evaluation.image_size else "",
        "Scored at": scored,
        "Sigma of the true maps": sigma,
        "Device": " ".join(filter(None, (evaluation.device, evaluation.precision))),
    }
    return "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
        if value
    )


def _notes(evaluation: Evaluation) -> str:
    lines = [*evaluation.notes]
    if evaluation.failures:
        lines.append(f"{len(evaluation.failures)} images could not be used.")
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div class="notes">{text}</div>' if lines else ""


def _tiles(evaluation: Evaluation, summary: dict[str, dict[str, Summary]]) -> Iterator[str]:
    for key in _TILES:
        one = summary[key][MODEL]
        if one.n:
            text = f"{METRICS[key].title} [{one.low:.2f}, {one.high:.2f}]"
            yield f'<div class="tile"><b>{one.mean:.2f}</b><span>{escape(text)}</span></div>'
    share = evaluation.share_of_limit("nss")
    if not math.isnan(share):
        text = "of the inter-observer limit, by NSS"
        yield f'<div class="tile"><b>{share:.0%}</b><span>{text}</span></div>'


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
        share = evaluation.share_of_limit(key)
        cells = [f'<td class="{source}">{_value(summary[key][source])}</td>' for source in sources]
        if limited:
            cells.insert(1, "<td></td>" if math.isnan(share) else f"<td>{share:.0%}</td>")
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
    scale = min(1.0, WIDTH / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    stimulus = fit(stimulus, small, MAP_PADDING)
    points = np.empty((0, 2)) if fixations is None else fixations.points * scale
    yield _figure(stimulus.round().astype(np.uint8), f"image, {len(points)} fixations", points)
    if truth is not None:
        yield _figure(overlay(stimulus, fit(truth, small, MAP_PADDING)[..., 0]), "true map")
    if image.thumbnail is not None:
        map = (image.thumbnail / 255)[..., None]
        yield _figure(overlay(stimulus, fit(map, small, MAP_PADDING)[..., 0]), "model's map")


def _figure(
    pixels: NDArray[np.uint8], caption: str, points: NDArray[np.float64] | Sequence[object] = ()
) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width = pixels.shape[:2]
    dots = (
        "".join(
            f'<circle cx="{column:.1f}" cy="{row:.1f}" r="2.4"/>'
            for row, column in np.asarray(points)
        )
        if len(points)
        else ""
    )
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
