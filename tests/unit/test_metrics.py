from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core.errors import DataError
from msinet_core.evaluation import metrics

SHARED = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared"))
OSIE = SHARED / "data" / "osie"
SIZE = (12, 17)
FIXATION_METRICS = ("auc_judd", "nss")


def random_map(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).random(size)


def random_points(seed: int, count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, size, (count, 2))


seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 40)


def all_scores(saliency: np.ndarray, seed: int, count: int) -> dict[str, float]:
    points, others = random_points(seed, count), random_points(seed + 1, 30)
    truth = random_map(seed + 2)
    return {
        "auc_judd": metrics.auc_judd(saliency, points),
        "auc_shuffled": metrics.auc_shuffled(saliency, points, others),
        "nss": metrics.nss(saliency, points),
        "cc": metrics.correlation(saliency, truth),
        "sim": metrics.similarity(saliency, truth),
        "ig": metrics.information_gain(saliency, points, metrics.center_gaussian(SIZE)),
    }


@given(seeds, counts, st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_scale_and_offset_of_a_map_do_not_matter(seed, count, scale, offset):
    saliency = np.round(random_map(seed), 3)
    moved = scale * (saliency + offset)
    expected, found = all_scores(saliency, seed, count), all_scores(moved, seed, count)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Equal values can be told apart after rounding: areas move by pairs, the others smoothly.
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


@given(seeds, counts)
def test_areas_depend_on_the_order_of_values_only(seed, count):
    saliency = random_map(seed)
    points, others = random_points(seed + 1, count), random_points(seed + 2, 30)
    warped = np.exp(5 * saliency)
    assert metrics.auc_judd(warped, points) == metrics.auc_judd(saliency, points)
    assert metrics.auc_shuffled(warped, points, others) == metrics.auc_shuffled(
        saliency, points, others
    )


@given(seeds, counts)
def test_the_negative_of_a_map_has_the_opposite_score(seed, count):
    saliency, points = np.round(random_map(seed), 1), random_points(seed + 1, count)
    others, truth = random_points(seed + 2, 30), random_map(seed + 3)
    assert metrics.auc_judd(-saliency, points) == pytest.approx(
        1 - metrics.auc_judd(saliency, points)
    )
    assert metrics.auc_shuffled(-saliency, points, others) == pytest.approx(
        1 - metrics.auc_shuffled(saliency, points, others)
    )
    assert metrics.nss(-saliency, points) == pytest.approx(-metrics.nss(saliency, points))
    assert metrics.correlation(-saliency, truth) == pytest.approx(
        -metrics.correlation(saliency, truth)
    )


@given(seeds, counts)
def test_mirroring_everything_changes_nothing(seed, count):
    saliency, truth = random_map(seed), random_map(seed + 1)
    points, others = random_points(seed + 2, count), random_points(seed + 3, 30)
    last_column = SIZE[1] - 1

    def mirror(values):
        return np.stack([values[:, 0], last_column - values[:, 1]], axis=1)

    left = saliency[:, ::-1]
    assert metrics.auc_judd(left, mirror(points)) == metrics.auc_judd(saliency, points)
    assert metrics.auc_shuffled(left, mirror(points), mirror(others)) == metrics.auc_shuffled(
        saliency, points, others
    )
    assert metrics.nss(left, mirror(points)) == pytest.approx(metrics.nss(saliency, points))
    for metric in (metrics.correlation, metrics.similarity, metrics.kl_divergence):
        assert metric(left, truth[:, ::-1]) == pytest.approx(metric(saliency, truth))


@given(seeds, counts)
def test_repeating_or_reordering_fixations_changes_nothing(seed, count):
    saliency, points = random_map(seed), random_points(seed + 1, count)
    again = np.concatenate([points[::-1], points])
    for name in FIXATION_METRICS:
        metric = getattr(metrics, name)
        assert metric(saliency, again) == metric(saliency, points)


@given(seeds, counts)
def test_auc_judd_counts_pairs(seed, count):
    saliency, points = np.round(random_map(seed), 1), random_points(seed + 1, count)
    fixated = np.zeros(SIZE, dtype=bool)
    fixated[tuple(points.T)] = True
    high, low = saliency[fixated][:, None], saliency[~fixated][None]
    expected = ((high > low) + 0.5 * (high == low)).mean()
    assert metrics.auc_judd(saliency, points) == pytest.approx(expected)


@given(seeds, counts)
def test_auc_judd_is_near_the_benchmarks_curve(seed, count):
    saliency, points = random_map(seed), random_points(seed + 1, count)
    index = np.unique(np.ravel_multi_index(points.T, SIZE))
    thresholds = np.sort(saliency.ravel()[index])[::-1]
    above = np.array([(saliency >= threshold).sum() for threshold in thresholds])
    hits = np.arange(1, len(thresholds) + 1)
    true_rate = np.concatenate([[0], hits / len(hits), [1]])
    false_rate = np.concatenate([[0], (above - hits) / (saliency.size - len(hits)), [1]])
    benchmark = np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2)
    difference = benchmark - metrics.auc_judd(saliency, points)
    assert -1e-12 <= difference <= 1 / (2 * len(hits)) + 1e-12


@given(seeds)
def test_a_perfect_map_scores_best(seed):
    truth = random_map(seed)
    assert metrics.correlation(truth, truth) == pytest.approx(1)
    assert metrics.similarity(truth, truth) == pytest.approx(1)
    assert metrics.kl_divergence(truth, truth) == pytest.approx(0, abs=1e-9)
    assert metrics.training_loss(truth, truth) == pytest.approx(0, abs=1e-4)
    points = np.argwhere(truth >= np.sort(truth.ravel())[-10])
    assert metrics.auc_judd(truth, points) == 1


@given(seeds)
def test_another_map_scores_worse_than_the_truth(seed):
    truth, other = random_map(seed), random_map(seed + 1)
    assert metrics.correlation(other, truth) < 1
    assert 0 < metrics.similarity(other, truth) < 1
    assert metrics.kl_divergence(other, truth) > 0


@given(st.floats(0, 1e6), seeds, counts)
def test_a_constant_map_scores_like_chance(level, seed, count):
    flat, points = np.full(SIZE, level), random_points(seed, count)
    others, truth = random_points(seed + 1, 30), random_map(seed + 2)
    uniform = np.ones(SIZE)
    assert metrics.auc_judd(flat, points) == 0.5
    assert metrics.auc_shuffled(flat, points, others) == 0.5
    assert metrics.nss(flat, points) == 0
    assert metrics.correlation(flat, truth) == 0
    assert metrics.similarity(flat, truth) == pytest.approx(metrics.similarity(uniform, truth))
    assert metrics.kl_divergence(flat, truth) == pytest.approx(
        metrics.kl_divergence(uniform, truth)
    )
    assert metrics.information_gain(flat, points, uniform) == pytest.approx(0, abs=1e-9)


def test_no_fixation_is_not_a_number():
    saliency, none = random_map(0), np.empty((0, 2), dtype=int)
    assert math.isnan(metrics.auc_judd(saliency, none))
    assert math.isnan(metrics.auc_shuffled(saliency, none, random_points(1, 3)))
    assert math.isnan(metrics.auc_shuffled(saliency, random_points(1, 3), none))
    assert math.isnan(metrics.nss(saliency, none))
    assert math.isnan(metrics.information_gain(saliency, none, np.ones(SIZE)))


def test_an_empty_true_map_is_not_a_number():
    saliency, empty = random_map(0), np.zeros(SIZE)
    assert math.isnan(metrics.correlation(saliency, empty))
    assert math.isnan(metrics.similarity(saliency, empty))
    assert math.isnan(metrics.kl_divergence(saliency, empty))


def test_every_pixel_fixated_leaves_no_negative_for_auc():
    everywhere = np.argwhere(np.ones(SIZE))
    assert math.isnan(metrics.auc_judd(random_map(0), everywhere))


def test_values_by_hand():
    saliency = np.array([[0.0, 1.0], [2.0, 3.0]])
    here = np.array([[1, 1]])
    assert metrics.nss(saliency, here) == pytest.approx(1.5 / np.std([0, 1, 2, 3]))
    assert metrics.auc_judd(saliency, np.array([[1, 0]])) == pytest.approx(2 / 3)
    assert metrics.auc_shuffled(saliency, here, np.array([[0, 0], [1, 1]])) == 0.75
    truth = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert metrics.similarity(saliency, truth) == pytest.approx(0.5)
    assert metrics.kl_divergence(saliency, truth) == pytest.approx(math.log(2))
    assert metrics.information_gain(saliency, here, np.ones((2, 2))) == pytest.approx(1)


def test_center_gaussian_is_symmetric_and_stretched():
    gaussian = metrics.center_gaussian((6, 8))
    np.testing.assert_allclose(gaussian, gaussian[::-1, ::-1])
    assert gaussian.argmax() in {2 * 8 + 3, 2 * 8 + 4, 3 * 8 + 3, 3 * 8 + 4}
    tall, wide = metrics.center_gaussian((41, 81)), metrics.center_gaussian((81, 41))
    np.testing.assert_allclose(tall, wide.T)


@pytest.mark.parametrize(
    ("saliency", "points", "message"),
    [
        (np.zeros((2, 2, 1)), [[0, 0]], r"shape \(H, W\)"),
        (np.array([[np.nan, 0]]), [[0, 0]], "finite"),
        (np.zeros((2, 2)), [[0, 2]], "2x2"),
        (np.zeros((2, 2)), [[-1, 0]], "2x2"),
        (np.zeros((2, 2)), [0, 1], r"shape \(K, 2\)"),
        (np.zeros((2, 2)), [[0.5, 1.0]], "float64"),
    ],
)
def test_invalid_maps_and_fixations_are_refused(saliency, points, message):
    with pytest.raises(DataError, match=message):
        metrics.nss(saliency, np.array(points))


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(DataError, match=r"\(2, 2\) and \(2, 3\)"):
        metrics.correlation(np.zeros((2, 2)), np.zeros((2, 3)))


def test_a_negative_map_is_not_a_distribution():
    with pytest.raises(DataError, match="negative"):
        metrics.kl_divergence(np.array([[-1.0, 2.0]]), np.array([[0.0, 1.0]]))


@pytest.mark.skipif(not OSIE.is_dir(), reason="needs shared/data/osie (MSINET_SHARED)")
def test_known_values_on_osie():
    scipy_io = pytest.importorskip("scipy.io")
    from scipy.ndimage import gaussian_filter

    size = (600, 800)
    images = scipy_io.loadmat(OSIE / "fixations.mat")["fixations"][:40, 0]

    def fixations(image, subjects):
        records = [image["subjects"][0, 0][subject, 0] for subject in subjects]
        points = np.concatenate(
            [
                np.stack([r["fix_y"][0, 0].ravel(), r["fix_x"][0, 0].ravel()], axis=1)
                for r in records
            ]
        )
        points = np.rint(points - 1).astype(int)
        return points[((points >= 0) & (points < size)).all(axis=1)]

    center, halves = [], []
    gaussian = metrics.center_gaussian(size)
    for image in images:
        center.append(metrics.nss(gaussian, fixations(image, range(15))))
        seen = np.zeros(size)
        np.add.at(seen, tuple(fixations(image, range(0, 15, 2)).T), 1)
        # 24 pixels are about one degree of visual angle in this set's laboratory.
        halves.append(metrics.nss(gaussian_filter(seen, 24), fixations(image, range(1, 15, 2))))
    assert np.mean(center) == pytest.approx(0.83, abs=0.05)
    assert np.mean(halves) == pytest.approx(3.3, abs=0.05)
