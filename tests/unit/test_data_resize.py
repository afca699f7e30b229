"""Resizing is an exact area average down and Keys' bicubic up, and can be undone in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msinet_core.data.resize import fit, placement, restore_map

sides = st.integers(1, 60)
sizes = st.tuples(sides, sides)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def area_average(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeat every pixel until both sizes divide, then average blocks: exact by construction."""
    (height, width, channels), (rows, columns) = image.shape, size
    large = image.astype(np.float64).repeat(rows, axis=0).repeat(columns, axis=1)
    return large.reshape(rows, height, columns, width, channels).mean(axis=(1, 3))


def content(fitted: np.ndarray, original: tuple[int, int]) -> np.ndarray:
    box = placement(original, fitted.shape[:2])
    return fitted[box.top : box.top + box.height, box.left : box.left + box.width]


@settings(deadline=None)  # the first one imports SciPy
@given(original=sizes, size=sizes, value=st.floats(0, 255, width=32))
def test_a_constant_image_stays_constant(original, size, value):
    fitted = fit(np.full((*original, 3), value, np.float32), size, pad_value=126)
    np.testing.assert_allclose(content(fitted, original), value, rtol=1e-5, atol=1e-5)


@given(original=sizes, size=sizes)
def test_the_image_fits_touches_two_sides_and_is_padded_evenly(original, size):
    box = placement(original, size)
    below, right = size[0] - box.top - box.height, size[1] - box.left - box.width
    assert below - box.top in (0, 1)
    assert right - box.left in (0, 1)
    assert box.height == size[0] or box.width == size[1]
    fitted = fit(np.zeros((*original, 3), np.float32), size, pad_value=126)
    assert fitted.shape == (*size, 3)
    assert fitted.dtype == np.float32
    assert fitted.flags.c_contiguous
    outside = np.ones(size, bool)
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
    assert (fitted[outside] == 126).all()
    assert np.abs(fitted[~outside]).max() == 0


@given(original=sizes, size=sizes)
def test_the_aspect_ratio_is_preserved_to_the_pixel(original, size):
    box = placement(original, size)
    scale = min(size[0] / original[0], size[1] / original[1])
    assert abs(box.height - max(1, original[0] * scale)) <= 0.5 + 1e-9
    assert abs(box.width - max(1, original[1] * scale)) <= 0.5 + 1e-9


@given(size=sizes, down=st.integers(2, 5), seed=seeds)
def test_a_whole_ratio_is_the_mean_of_blocks(size, down, seed):
    image = noise(seed, (size[0] * down, size[1] * down, 3))
    blocks = image.reshape(size[0], down, size[1], down, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(fit(image, size, pad_value=126), blocks, rtol=1e-5, atol=1e-3)


@settings(deadline=None)
@given(original=st.tuples(st.integers(8, 40), st.integers(8, 40)), seed=seeds, data=st.data())
def test_any_ratio_down_is_the_average_over_exact_areas(original, seed, data):
    size = tuple(data.draw(st.integers(1, axis)) for axis in original)
    image = noise(seed, (*original, 3))
    inside = content(fit(image, size, pad_value=126), original)
    expected = area_average(image, inside.shape[:2])
    np.testing.assert_allclose(inside, expected, rtol=1e-5, atol=1e-3)
    assert inside.mean() == pytest.approx(image.mean(), rel=1e-4)


def test_a_large_image_of_bytes_is_averaged_over_exact_areas():
    """The integral between the edges of each pixel, by interpolation of the cumulative sum."""
    image = np.random.default_rng(1).integers(0, 256, (901, 1203, 3), np.uint8)
    expected = image.astype(np.float64)
    box = placement(image.shape[:2], (240, 320))
    for axis, count in enumerate(box[2:]):
        length = image.shape[axis]
        sums = np.insert(expected.cumsum(axis=axis), 0, 0, axis=axis)
        at = np.linspace(0, length, count + 1)
        low = np.minimum(at.astype(int), length - 1)
        share = np.expand_dims(at - low, [one for one in range(3) if one != axis])
        integral = sums.take(low, axis) * (1 - share) + sums.take(low + 1, axis) * share
        expected = np.diff(integral, axis=axis) * count / length
    fitted = fit(image, (240, 320), pad_value=126)
    np.testing.assert_allclose(content(fitted, image.shape[:2]), expected, atol=1e-3)
    np.testing.assert_array_equal(fitted, fit(image.astype(np.float32), (240, 320), 126))


def test_pillows_box_filter_is_no_area_average():
    """Why the average is computed here: 5 pixels to 2 share the middle one, Pillow's do not."""
    image = np.array([0, 0, 255, 0, 0], np.uint8).reshape(1, 5)
    ours = fit(image[..., None].repeat(5, axis=0).repeat(3, axis=2), (2, 2), pad_value=126)
    pillow = np.asarray(Image.fromarray(image).resize((2, 1), Image.Resampling.BOX))
    np.testing.assert_allclose(ours[0, :, 0], 51)
    assert pillow[0, 0] != pillow[0, 1]


@given(original=st.tuples(st.integers(1, 20), st.integers(1, 20)), up=st.integers(2, 5), seed=seeds)
def test_enlarging_is_the_bicubic_of_pillow(original, up, seed):
    image = noise(seed, (*original, 3))
    height, width = original[0] * up, original[1] * up
    channels = [
        Image.fromarray(image[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
        for channel in range(3)
    ]
    expected = np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 255)
    np.testing.assert_allclose(fit(image, (height, width), 126), expected, rtol=1e-4, atol=1e-2)


def test_overshoot_is_clipped_to_the_range_of_images_and_of_maps():
    edge = np.array([[0.0, 0.0, 1.0, 1.0]] * 4)[..., None]
    map = fit(edge, (16, 16), pad_value=0)
    image = fit(edge.repeat(3, axis=2) * 255, (16, 16), pad_value=126)
    assert (map.min(), map.max()) == (0, 1)
    assert (image.min(), image.max()) == (0, 255)


@given(size=sizes, seed=seeds)
def test_an_image_of_the_right_size_is_untouched(size, seed):
    image = noise(seed, (*size, 3))
    np.testing.assert_array_equal(fit(image, size, pad_value=126), image)


@settings(deadline=None)
@given(
    original=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    size=st.tuples(st.integers(4, 12), st.integers(4, 12)).map(lambda s: (s[0] * 8, s[1] * 8)),
    axis=st.sampled_from([0, 1]),
)
def test_restoring_is_the_inverse_of_fitting(original, size, axis):
    """A ramp says where a pixel came from; after both it says so again, within one pixel."""
    steps = (np.arange(original[axis]) + 0.5) / original[axis]
    ramp = np.broadcast_to(steps[:, None] if axis == 0 else steps, original)
    restored = restore_map(fit(ramp[..., None], size, pad_value=0)[..., 0], original)
    assert restored.shape == original
    box = placement(original, size)
    # Near the edges the padding shines in, as far as the bicubic reaches.
    reach = [3 + 3 * length // kept for length, kept in zip(original, box[2:], strict=True)]
    inside = tuple(slice(edge, -edge) for edge in reach)
    error = np.abs(restored - ramp)[inside]
    assert error.max(initial=0) <= 1 / min(original[axis], box[2 + axis]) + 1e-3


def test_restoring_cuts_out_what_fit_gave_to_the_image_under_uneven_padding():
    original, size = (600, 900), (240, 320)  # 213 rows inside 240: 13 above, 14 below
    map = np.zeros(size, np.float32)
    map[13 + 100, 160] = 1
    row, column = np.unravel_index(restore_map(map, original).argmax(), original)
    assert abs(row - 100.5 * 600 / 213) <= 1.5
    assert abs(column - 160.5 * 900 / 320) <= 1.5


@given(original=sizes, size=sizes, value=st.floats(0, 1, width=32))
def test_a_constant_map_is_restored_as_it_is(original, size, value):
    restored = restore_map(np.full(size, value, np.float32), original)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, value, rtol=1e-5, atol=1e-6)


def test_restoring_a_long_strip_takes_no_memory_for_what_is_cropped():
    restored = restore_map(np.ones((240, 320), np.float32), (2, 60_000))
    assert restored.shape == (2, 60_000)
