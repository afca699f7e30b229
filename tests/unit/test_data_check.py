"""`data check` finds data that is complete and wrong; `data maps` draws what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from msinet_core.data.check import DataReport, check_dataset
from msinet_core.data.dataset import open_dataset
from msinet_core.data.draw import draw_maps
from msinet_core.data.fixations import read_fixation_file
from msinet_core.data.images import read_map
from msinet_core.errors import DataError, UsageError

if TYPE_CHECKING:
    from tests.conftest import Run

COUNT = 10
SIZE = (96, 128)


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """A folder with fixations around a point of each image, and no maps."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "seen"
    for part in ("stimuli", "fixations"):
        (folder / part).mkdir(parents=True)
    for number in range(COUNT):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "stimuli" / f"{number:02d}.png")
        center = rng.uniform((10, 10), (86, 118))
        points = np.clip(rng.normal(center, 5, (30, 2)), 0, np.array(SIZE) - 1).round()
        table = "\n".join(["x,y", *(f"{x:g},{y:g}" for y, x in points)])
        (folder / "fixations" / f"{number:02d}.csv").write_text(table)
    return folder


@pytest.fixture
def mapped(seen: Path) -> Path:
    draw_maps(str(seen), 8)
    return seen


def problems_of(folder: Path) -> list[str]:
    return check_dataset(str(folder)).problems


def test_maps_are_drawn_from_fixations(run: Run, seen: Path) -> None:
    with pytest.raises(DataError, match="data maps"):
        open_dataset(str(seen))
    assert len(open_dataset(str(seen), need_maps=False).samples) == COUNT
    assert problems_of(seen) == []
    result = run("data", "maps", seen, "--sigma", "8")
    assert result.exit_code == 0, result.output
    dataset = open_dataset(str(seen))
    assert (len(dataset.samples), dataset.sigma) == (COUNT, 8)
    drawn = read_map(seen / "saliency" / "03.png")
    again = {one.name: one for one in open_dataset(str(seen), sigma=8).samples}["03"]
    np.testing.assert_array_equal(again.read_map(), drawn)
    assert run("data", "maps", seen, "--sigma", "9").exit_code == 2, "they are not overwritten"
    assert open_dataset(str(seen)).sigma == 8
    Image.new("L", SIZE[::-1], 9).save(seen / "saliency" / "03.png")
    assert open_dataset(str(seen)).sigma is None, "a map was replaced"


def test_nothing_is_drawn_if_an_image_has_no_fixations(seen: Path) -> None:
    (seen / "fixations" / "03.csv").write_text("x,y\n")
    with pytest.raises(DataError, match=r"03\.png"):
        draw_maps(str(seen), 8)
    (seen / "fixations" / "03.csv").unlink()
    with pytest.raises(DataError, match=r"03\.csv"):
        draw_maps(str(seen), 8)
    assert sorted(path.name for path in seen.iterdir()) == ["fixations", "stimuli"]


def rescale(folder: Path, scale: float, offset: float = 0) -> None:
    for path in (folder / "fixations").glob("*.csv"):
        lines = path.read_text().splitlines()
        x, y = (lines[0].split(",").index(name) for name in "xy")
        rows = [line.split(",") for line in lines[1:]]
        for row in rows:
            row[x] = str(float(row[x]) * scale / SIZE[1] + offset)
            row[y] = str(float(row[y]) * scale / SIZE[0])
        path.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]))


@pytest.mark.parametrize(("scale", "unit"), [(1, "fractions"), (45, "percent")])
def test_coordinates_in_another_unit_are_a_problem(seen: Path, scale: float, unit: str) -> None:
    rescale(seen, scale)
    (problem,) = problems_of(seen)
    assert unit in problem
    with pytest.raises(DataError, match=unit):
        draw_maps(str(seen), 8)
    assert not (seen / "saliency").exists()


def test_fixations_that_are_dropped_are_reported_when_maps_are_drawn(run: Run, seen: Path) -> None:
    for path in sorted((seen / "fixations").glob("*.csv"))[:3]:
        path.write_text(path.read_text() + "\n999,5" * 30)
    result = run("data", "maps", seen, "--sigma", "8")
    assert result.exit_code == 0
    assert "90 of 390 fixations" in result.stderr


def test_dropped_fixations_are_a_warning_of_python_without_a_progress_display(seen: Path) -> None:
    for path in sorted((seen / "fixations").glob("*.csv"))[:3]:
        path.write_text(path.read_text() + "\n999,5" * 30)
    with pytest.warns(UserWarning, match="90 of 390 fixations"):
        draw_maps(str(seen), 8)


def test_an_image_with_neither_map_nor_fixations_is_a_problem(seen: Path) -> None:
    (seen / "fixations" / "03.csv").write_text("x,y\n")
    (problem,) = problems_of(seen)
    assert "03.png" in problem


def test_maps_in_color_are_refused(mapped: Path) -> None:
    path = mapped / "saliency" / "03.png"
    gray = np.asarray(Image.open(path))
    Image.fromarray(np.stack([gray] * 3, axis=-1)).save(path)
    assert problems_of(mapped) == []
    Image.fromarray(np.stack([gray, 255 - gray, gray], axis=-1)).save(path)
    (problem,) = problems_of(mapped)
    assert "03.png" in problem and "color" in problem


def test_a_folder_with_other_files_is_refused_before_the_work(seen: Path) -> None:
    (seen / "saliency").mkdir()
    (seen / "saliency" / ".DS_Store").touch()
    with pytest.raises(UsageError, match="DS_Store"):
        draw_maps(str(seen), 8)
    assert [path.name for path in (seen / "saliency").iterdir()] == [".DS_Store"]


def test_maps_in_a_split_folder_are_drawn_beside_their_images(seen: Path) -> None:
    for part in ("stimuli", "fixations"):
        for split, chosen in (("train", "0[0-5]*"), ("val", "0[6-7]*"), ("test", "0[8-9]*")):
            (seen / part / split).mkdir()
            for path in list((seen / part).glob(chosen)):
                path.rename(path.parent / split / path.name)
    assert draw_maps(str(seen), 8) == (seen / "saliency", COUNT)
    dataset = open_dataset(str(seen))
    assert [len(dataset.part(name)) for name in ("train", "valid", "test")] == [6, 2, 2]


def test_the_number_of_observers_is_reported(seen: Path) -> None:
    assert check_dataset(str(seen)).observers == (1, 1), "they are not told apart"
    for number, count in ((0, 4), (1, 3)):
        table = "\n".join(["observer,x,y", *(f"{n % count},{60 + n},{40 + n}" for n in range(12))])
        (seen / "fixations" / f"{number:02d}.csv").write_text(table)
    report = check_dataset(str(seen))
    assert report.observers == (1, 4)
    assert report.to_dict()["observers_per_image"] == [1, 4]


def test_maps_that_fit_their_fixations_are_no_problem(mapped: Path) -> None:
    report = check_dataset(str(mapped))
    assert report.problems == []
    assert report.fit is not None
    assert report.fit > 2


@pytest.mark.parametrize("factor", [0.5, 2])
def test_maps_of_another_size_than_their_images_fit_too(mapped: Path, factor: float) -> None:
    for path in (mapped / "saliency").glob("*.png"):
        with Image.open(path) as picture:
            size = int(picture.width * factor), int(picture.height * factor)
            resized = picture.resize(size)
        resized.save(path)
    report = check_dataset(str(mapped))
    assert report.problems == []
    assert report.fit is not None
    assert report.fit > 2


def test_maps_that_are_shifted_by_one_file_are_found(mapped: Path) -> None:
    files = sorted((mapped / "saliency").glob("*.png"))
    content = [path.read_bytes() for path in files]
    for path, data in zip(files, content[1:] + content[:1], strict=True):
        path.write_bytes(data)
    (problem,) = problems_of(mapped)
    assert "shifted by one" in problem
    assert "previous image's" not in problem.replace("next image's", "")


def test_swapped_coordinates_are_found(mapped: Path) -> None:
    for path in (mapped / "fixations").glob("*.csv"):
        path.write_text(path.read_text().replace("x,y", "y,x"))
    problems = problems_of(mapped)
    assert any("With x and y swapped they fit" in problem for problem in problems)


def test_fixations_outside_their_images_are_a_problem_above_5_percent(seen: Path) -> None:
    first = seen / "fixations" / "00.csv"
    first.write_text(first.read_text() + "\n500,500" * 10)
    assert problems_of(seen) == []
    first.write_text(first.read_text() + "\n500,500" * 20)
    (problem,) = problems_of(seen)
    assert "30 of 330" in problem


def test_an_origin_at_the_center_is_not_taken_for_percent(run: Run, seen: Path) -> None:
    for path in (seen / "fixations").glob("*.csv"):
        rows = [row.split(",") for row in path.read_text().split()[1:]]
        shifted = [f"{float(x) - SIZE[1] / 2},{float(y) - SIZE[0] / 2}" for x, y in rows]
        path.write_text("\n".join(["x,y", *shifted]))
    problems = " ".join(problems_of(seen))
    assert "center" in problems and "percent" not in problems
    drawn = run("data", "maps", seen, "--sigma", "4")
    assert drawn.exit_code == 1 and "center" in drawn.stderr


def test_the_same_picture_in_two_splits_is_found(tiny_data: Path) -> None:
    for part in ("stimuli", "saliency"):
        shutil.copy(tiny_data / part / "train/train00.png", tiny_data / part / "val/other.png")
    picture = Image.open(tiny_data / "stimuli/val/other.png")
    picture.save(tiny_data / "stimuli/val/other.bmp")  # the same pixels in other bytes
    (tiny_data / "stimuli/val/other.png").unlink()
    (problem,) = problems_of(tiny_data)
    assert "train00.png" in problem
    assert "other.bmp" in problem


def test_what_is_not_used_is_said(run: Run, tiny_data: Path) -> None:
    for name in ("stimuli/validation/a.png", "fixations/val/nobody.csv"):
        (tiny_data / name).parent.mkdir(parents=True, exist_ok=True)
        (tiny_data / name).write_text("x,y\n")
    unused = list(open_dataset(str(tiny_data)).unused)
    assert [line.split(":")[0] for line in unused] == [
        "fixations/val/nobody.csv",
        "stimuli/validation/",
    ]
    result = run("data", "check", tiny_data)
    assert result.exit_code == 0
    assert "stimuli/validation/" in result.stderr
    assert json.loads(run("data", "check", tiny_data, "--json").stdout)["unused"] == unused


@pytest.mark.parametrize(
    "header", ["X,Y,Subject", "fix_x,fix_y,participant", " Fixation X, Fixation Y,observer"]
)
def test_columns_have_synonyms_in_any_case(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1,2,anna\n3,4,ben\n5,6,anna\n")
    found = read_fixation_file(path, (10, 10))
    assert [points.tolist() for points in found.observers] == [[[2, 1], [6, 5]], [[4, 3]]]


def test_columns_that_are_not_understood_are_reported_once(seen: Path) -> None:
    for path in (seen / "fixations").glob("*.csv"):
        path.write_text(path.read_text().replace("x,y", "left,top"))
    (problem,) = problems_of(seen)
    assert "left, top" in problem
    assert str(COUNT - 1) in problem


def test_a_check_does_not_draw_what_it_compares_with(seen: Path) -> None:
    report: DataReport = check_dataset(str(seen))
    assert report.fit is None


def test_maps_need_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        draw_maps(str(tmp_path / "nowhere"), 8)
