"""The colors of the web page: text can be read, and heat is that of ``predict``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

WEB = Path(__file__).parents[2] / "examples" / "web"


def luminance(color: str) -> float:
    channels = (int(color[index : index + 2], 16) / 255 for index in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "ground"),
        ("ink", "surface"),
        ("soft", "ground"),
        ("soft", "surface"),
        ("on-accent", "accent"),
        ("danger", "danger-ground"),
    ],
)
def test_text_can_be_read(theme: int, text: str, ground: str) -> None:
    """Source: WCAG 2.2, success criterion 1.4.3."""
    css = (WEB / "style.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", css))
    first, second = (luminance(colors[name].split(", ")[theme]) for name in (text, ground))
    assert (max(first, second) + 0.05) / (min(first, second) + 0.05) >= 4.5


def test_the_colors_are_those_of_predict() -> None:
    from matplotlib import colormaps

    from msinet_core.prediction.pictures import COLORMAP

    source = (WEB / "saliency.js").read_text(encoding="utf-8")
    table = re.search(r"const INFERNO = (\[.*?\]);", source, re.DOTALL)
    assert table is not None
    found = np.array(json.loads(table[1].replace("],\n]", "]\n]")))
    colors = 255 * colormaps[COLORMAP](np.linspace(0, 1, len(found)))[:, :3]
    np.testing.assert_allclose(found, colors, atol=1)
