"""Fixations are pixels of the image, whatever file they come in; those outside are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from msinet_core.data.fixations import Fixations, read_fixation_file
from msinet_core.errors import DataError

SIZE = (6, 8)


def pixels(path: Path) -> list[list[list[int]]]:
    return [points.tolist() for points in read_fixation_file(path, SIZE).observers]


def test_points_are_rounded_and_those_outside_are_dropped_and_counted():
    points = np.array([[-0.5, -0.5], [5.49, 7.49], [5.5, 0], [0, 8], [-0.51, 0], [np.nan, 1]])
    fixations = Fixations.from_points([points, np.zeros((0, 2))], SIZE)
    assert [observer.tolist() for observer in fixations.observers] == [[[0, 0], [5, 7]], []]
    assert fixations.outside == 4
    assert fixations.observers[0].dtype == np.int64


def test_a_table_distinguishes_observers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("observer, x, y\nann, 7, 5\nbob, 0, 1\nann , 2.4, 0\n")
    assert pixels(path) == [[[5, 7], [0, 2]], [[1, 0]]]
    path.write_text("\ufeffx,y\n3,4\n", encoding="utf-8")
    assert pixels(path) == [[[4, 3]]]


def test_tables_have_commas_semicolons_or_tabs_and_missing_values(tmp_path):
    path = tmp_path / "a.csv"
    for delimiter in ",;\t":
        path.write_text("subject,x,y\nann,7,5\nbob,0,1\n".replace(",", delimiter))
        assert pixels(path) == [[[5, 7]], [[1, 0]]]
    path.write_text("x,y\n1,2\n.,.\n,\nnan,3\n3,4\n")
    assert pixels(path) == [[[2, 1], [4, 3]]]
    assert read_fixation_file(path, SIZE).outside == 0, "they are nowhere"


def test_a_table_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("x,y\n1,2\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"a\.csv is not UTF-8"):
        read_fixation_file(path, SIZE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FPOGX,FPOGY\n1,2\n", "FPOGX.*current_fix_x"),
        ("x,y\n1,2\n3,left\n", "line 3.*left"),
        ("x,y\n\n\n1,2\n3,left\n", "line 5.*left"),
        ("x;y\n1,5;2\n", "line 2.*decimal commas"),
        ("1,2\n3,4\n", "1, 2"),
        ("", "x and y"),
        ("x,y\n1,left\n", "left"),
        ("x,y\n1\n", "a.csv"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path, text, reason):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        read_fixation_file(path, SIZE)
    assert str(path) in str(caught.value)


def test_every_pixel_of_an_image_that_is_not_black_is_a_fixation(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[2, 3] = mask[5, 0] = 1
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png") == [[[2, 3], [5, 0]]]
    Image.fromarray(mask * 255).save(tmp_path / "a.jpg", quality=95)
    assert pixels(tmp_path / "a.jpg") == [[[2, 3], [5, 0]]]


def test_an_image_of_another_size_is_refused(tmp_path):
    Image.new("L", (8, 7)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png.*7x8.*6x8"):
        read_fixation_file(tmp_path / "a.png", SIZE)


def test_the_matlab_files_of_cat2000_and_salicon_are_read(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[1, 7] = 1
    savemat(tmp_path / "cat.mat", {"fixLocs": mask})
    assert pixels(tmp_path / "cat.mat") == [[[1, 7]]]
    gaze = np.zeros(2, dtype=[("location", object), ("fixations", object)])
    gaze[0]["fixations"] = np.array([[1, 1], [8, 6]])  # x and y, from 1
    gaze[1]["fixations"] = np.array([[2, 3]])
    savemat(tmp_path / "salicon.mat", {"gaze": gaze, "image": "a"})
    assert pixels(tmp_path / "salicon.mat") == [[[0, 0], [5, 7]], [[2, 1]]]


def test_matlab_files_that_hold_something_else_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"other": 1})
    with pytest.raises(DataError, match="'fixLocs'"):
        read_fixation_file(path, SIZE)
    savemat(path, {"gaze": np.arange(3)})
    with pytest.raises(DataError, match=path.name):
        read_fixation_file(path, SIZE)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=path.name):
        read_fixation_file(path, SIZE)
    with pytest.raises(DataError, match="nowhere"):
        read_fixation_file(tmp_path / "nowhere.mat", SIZE)


def test_matlab_format_7_3_is_named(tmp_path):
    import h5py

    path = tmp_path / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["fixLocs"] = np.zeros(SIZE)
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with path.open("rb+") as stream:
        stream.write(header)
    with pytest.raises(DataError, match=r"7\.3.*-v7"):
        read_fixation_file(path, SIZE)
