from __future__ import annotations

import math
import sys
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msinet_core.benchmark import chart
from msinet_core.benchmark.results import Results
from msinet_core.errors import MsinetError, UsageError
from msinet_core.prediction import pictures
from msinet_core.system.figures import plot_format
from msinet_core.training import curve


def ramp(height=30, width=40):
    return np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)


def test_overlay_glows_where_the_map_is_high_and_is_gray_where_it_is_zero():
    image = np.full((30, 40, 3), (200, 100, 50), dtype=np.float32)
    saliency = np.zeros((30, 40), dtype=np.float32)
    saliency[10:20, 10:20] = 1
    shown = pictures.overlay(image, saliency)
    assert shown.dtype == np.uint8
    assert shown.shape == image.shape
    assert len(set(shown[0, 0])) == 1
    red, _, blue = (int(value) for value in shown[15, 15])
    assert red > 200 > blue


def test_overlay_takes_every_value_of_a_map():
    shown = pictures.overlay(np.full((30, 40, 3), 255, dtype=np.float32), ramp() * 1.2 - 0.1)
    assert shown.min() >= 0
    assert len(np.unique(shown[..., 1])) > 20


def test_overlay_is_the_same_in_strips(monkeypatch):
    image = np.random.default_rng(0).uniform(0, 255, (30, 40, 3)).astype(np.float32)
    whole = pictures.overlay(image, ramp())
    panel = pictures.make_panel("a", image, ramp())
    monkeypatch.setattr(pictures, "_STRIP", 7 * 40)
    np.testing.assert_array_equal(pictures.overlay(image, ramp()), whole)
    np.testing.assert_array_equal(pictures.make_panel("a", image, ramp()).image, panel.image)


def test_overlay_of_a_big_photo_takes_little_more_memory_than_its_result():
    image = np.zeros((1500, 1000, 3), dtype=np.float32)
    saliency = ramp(1500, 1000)
    pictures.overlay(image[:2], saliency[:2])  # imports the color map
    tracemalloc.start()
    try:
        shown = pictures.overlay(image, saliency)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < shown.nbytes + 50 * pictures._STRIP


def test_write_overlay_makes_a_jpeg_of_the_images_size(tmp_path):
    path = tmp_path / "new" / "a_overlay.jpeg"
    pictures.write_overlay(path, np.zeros((30, 40, 3), dtype=np.float32), ramp())
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("JPEG", (40, 30))


@pytest.mark.parametrize("shape", [(30, 40), (900, 1200), (1200, 100), (1, 900)])
def test_panel_is_small_and_keeps_the_aspect_ratio(shape):
    panel = pictures.make_panel("a", np.full((*shape, 3), 300, dtype=np.float32), ramp(*shape))
    assert max(panel.image.shape[:2]) <= 400
    assert panel.saliency.shape == panel.image.shape[:2]
    assert panel.image.min() == 255
    if min(shape) > 10:
        assert panel.image.shape[0] / panel.image.shape[1] == pytest.approx(
            shape[0] / shape[1], rel=0.02
        )


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (9, 3), (24, 3), (30, 3)])
def test_contact_sheet_has_three_tiles_for_each_image(tmp_path, count, columns):
    panel = pictures.make_panel(
        "x/" * 200 + "näme.jpg", np.full((30, 40, 3), (0, 255, 0), dtype=np.float32), ramp()
    )
    path = tmp_path / "overview.png"
    pictures.write_contact_sheet(path, [panel] * count, f"{count} images")
    pixels = np.asarray(Image.open(path)).astype(int)
    green = (pixels[..., 1] > 250) & (pixels[..., 0] < 5) & (pixels[..., 2] < 5)
    shown = min(count, pictures.SHEET_LIMIT)
    assert _runs(green.any(axis=0)) == columns
    assert _runs(green.any(axis=1)) == math.ceil(shown / columns)


def test_contact_sheet_takes_portraits_among_landscapes(tmp_path):
    shapes = [(300, 400), (400, 200), (300, 400)]
    panels = [
        pictures.make_panel("a", np.zeros((*shape, 3), dtype=np.float32), ramp(*shape))
        for shape in shapes
    ]
    path = tmp_path / "overview.png"
    pictures.write_contact_sheet(path, panels, "3 images")
    with Image.open(path) as picture:
        assert picture.size == (3 * 400 + 2 * 4 + 2 * 24, 72 + 3 * (300 + 24 + 24))


HISTORY = [
    {"epoch": epoch, "train_loss": 2 / epoch, "valid_loss": abs(epoch - 3) + 1.0}
    for epoch in range(1, 6)
]


@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        HISTORY[:1],
        [],
        [{"epoch": 1, "train_loss": 1.0}],
        [{"epoch": 1, "train_loss": float("nan"), "valid_loss": float("inf")}],
        [{"epoch": e, "train_loss": 1.0, "valid_loss": 1.0} for e in range(1, 200)],
    ],
    ids=["five", "one", "none", "no validation", "not finite", "many"],
)
def test_curve_is_a_picture_of_any_history(tmp_path, history):
    path = tmp_path / "curve.png"
    curve.draw_curve(history, path, "run")
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1050, 630))


def test_curve_marks_the_best_epoch(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # it must not be imported
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw))
    )
    curve.draw_curve(HISTORY, tmp_path / "curve.png", "my run")
    (axes,) = figures[0].axes
    assert axes.get_title(loc="left") == "my run"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training",
        "validation",
        "best: epoch 3, loss 1.0000",
    ]
    assert list(axes.lines[-1].get_xdata()) == [3]


def test_a_curve_leaves_no_figure_in_memory(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda self, *args, **kw: (figures.append(weakref.ref(self)), save(self, *args, **kw)),
    )
    curve.draw_curve(HISTORY, tmp_path / "curve.png", "my run")
    assert [figure() for figure in figures] == [None]


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_the_curves_epochs_are_whole_numbers(monkeypatch, tmp_path, epochs):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: figures.append(self))
    monkeypatch.setattr("msinet_core.system.files.move_into_place", lambda *paths, **options: None)
    rows = [{"epoch": n + 1, "train_loss": 0.5, "valid_loss": 0.6} for n in range(epochs)]
    curve.draw_curve(rows, tmp_path / "curve.png", "my run")
    (axes,) = figures[0].axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == round(tick) for tick in ticks)


def machine(*rows):
    """Results of one machine, with a row for each mapping of works to rates."""
    rate = {"bare_images_per_s": 1181.4, "whole_images_per_s": 2.468}
    case = {"device": "a", "precision": "float32", "batch_size": 1, "status": "ok"}
    described = {"chip": "M4", "gpus": [], "cores": 8, "memory": None, "system": "macOS 15"}
    return Results(described, {}, results=[case | dict.fromkeys(row, rate) for row in rows])


@pytest.mark.parametrize("count", [1, 3])
def test_the_chart_grows_with_its_rows(tmp_path, count):
    path = tmp_path / "rates.png"
    chart.draw_rates([machine(*[["predict"]] * count)], path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (1350, 150 * (16 + 7 * count) // 10)


def test_rates_are_plain_numbers_and_empty_rows_are_explained(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: figures.append(self))
    monkeypatch.setattr("msinet_core.system.files.move_into_place", lambda *paths, **options: None)
    results = machine(["predict", "train"], ["predict"], [])
    results.results[2]["status"] = "out of memory"
    chart.draw_rates([results], tmp_path / "rates.png")
    predict, train = ([text.get_text() for text in axes.texts] for axes in figures[0].axes)
    assert predict == ["1,181", "1,181", "2.47", "2.47", " out of memory"]
    assert train == ["1,181", "2.47", " predicts only", " out of memory"]


@pytest.mark.parametrize(
    ("name", "begin"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_rates_are_drawn_in_the_format_that_the_name_says(tmp_path, name, begin):
    chart.draw_rates([machine(["predict"])] * 2, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)


@pytest.mark.parametrize("name", ["bench.xyz", "bench", "bench.jpg"])
def test_a_plot_of_another_format_is_refused(name):
    with pytest.raises(UsageError, match=r"png.*svg.*pdf"):
        plot_format(Path(name))


def test_letters_that_the_font_lacks_are_question_marks():
    from PIL import ImageDraw

    font = pictures._font(14)

    def drawn(text):
        picture = Image.new("RGB", (100, 20))
        pictures._write(ImageDraw.Draw(picture), (0, 0), text, font, (255, 255, 255), 100)
        return np.asarray(picture)

    np.testing.assert_array_equal(drawn("n\u6f22\u5b57.png"), drawn("n??.png"))
    assert (drawn("n\u00e4\u03b1.png") != drawn("n??.png")).any()


def test_a_picture_that_cannot_be_written_names_the_file(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MsinetError, match="file"):
        curve.draw_curve(HISTORY, tmp_path / "file" / "curve.png", "run")


def _runs(marks: np.ndarray) -> int:
    return int(np.count_nonzero(np.diff(np.concatenate([[0], marks.astype(int)])) == 1))
