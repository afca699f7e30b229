from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.errors import DataError
from msinet_core.evaluation.baselines import center_gaussian
from msinet_core.evaluation.fixation_bank import count
from msinet_core.metrics import auc, standard

SIZE = (12, 17)
FIXATION_METRICS = (auc.auc_judd, auc.auc_borji, standard.nss)


def random_map(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).random(size)


def random_points(seed: int, count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, size, (count, 2))


def negatives(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return count(random_points(seed, 30, size), size)


seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 40)


def all_scores(saliency: np.ndarray, seed: int, count: int) -> dict[str, float]:
    points, others = random_points(seed, count), negatives(seed + 1)
    truth = random_map(seed + 2)
    return {
        "auc_judd": auc.auc_judd(saliency, points),
        "shuffled_auc": auc.shuffled_auc(saliency, points, others),
        "nss": standard.nss(saliency, points),
        "cc": standard.correlation(saliency, truth),
        "sim": standard.similarity(saliency, truth),
        "mit_information_gain": standard.mit_information_gain(
            saliency, points, center_gaussian(SIZE)
        ),
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
    points, others = random_points(seed + 1, count), negatives(seed + 2)
    warped = np.exp(5 * saliency)
    assert auc.auc_judd(warped, points) == auc.auc_judd(saliency, points)
    assert auc.shuffled_auc(warped, points, others) == auc.shuffled_auc(saliency, points, others)


@given(seeds, counts)
def test_the_negative_of_a_map_has_the_opposite_score(seed, count):
    saliency, points = np.round(random_map(seed), 1), random_points(seed + 1, count)
    others, truth = negatives(seed + 2), random_map(seed + 3)
    assert auc.auc_judd(-saliency, points) == pytest.approx(1 - auc.auc_judd(saliency, points))
    assert auc.shuffled_auc(-saliency, points, others) == pytest.approx(
        1 - auc.shuffled_auc(saliency, points, others)
    )
    assert standard.nss(-saliency, points) == pytest.approx(-standard.nss(saliency, points))
    assert standard.correlation(-saliency, truth) == pytest.approx(
        -standard.correlation(saliency, truth)
    )


@given(seeds, counts)
def test_mirroring_everything_changes_nothing(seed, count):
    saliency, truth = random_map(seed), random_map(seed + 1)
    points, others = random_points(seed + 2, count), negatives(seed + 3)
    last_column = SIZE[1] - 1

    def mirror(values):
        return np.stack([values[:, 0], last_column - values[:, 1]], axis=1)

    left = saliency[:, ::-1]
    assert auc.auc_judd(left, mirror(points)) == auc.auc_judd(saliency, points)
    assert auc.shuffled_auc(left, mirror(points), others[:, ::-1]) == auc.shuffled_auc(
        saliency, points, others
    )
    assert standard.nss(left, mirror(points)) == pytest.approx(standard.nss(saliency, points))
    for metric in (standard.correlation, standard.similarity, standard.kl_divergence):
        assert metric(left, truth[:, ::-1]) == pytest.approx(metric(saliency, truth))


@given(seeds, counts)
def test_repeating_or_reordering_fixations_changes_nothing(seed, count):
    saliency, points = random_map(seed), random_points(seed + 1, count)
    again = np.concatenate([points[::-1], points])
    for metric in FIXATION_METRICS:
        assert metric(saliency, again) == metric(saliency, points)


@given(seeds, counts)
def test_auc_judd_counts_pairs(seed, count):
    saliency, points = np.round(random_map(seed), 1), random_points(seed + 1, count)
    fixated = np.zeros(SIZE, dtype=bool)
    fixated[tuple(points.T)] = True
    high, low = saliency[fixated][:, None], saliency[~fixated][None]
    expected = ((high > low) + 0.5 * (high == low)).mean()
    assert auc.auc_judd(saliency, points) == pytest.approx(expected)


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
    difference = benchmark - auc.auc_judd(saliency, points)
    assert -1e-12 <= difference <= 1 / (2 * len(hits)) + 1e-12


@given(seeds)
def test_a_perfect_map_scores_best(seed):
    truth = random_map(seed)
    assert standard.correlation(truth, truth) == pytest.approx(1)
    assert standard.similarity(truth, truth) == pytest.approx(1)
    assert standard.kl_divergence(truth, truth) == pytest.approx(0, abs=1e-9)
    assert standard.training_loss(truth, truth) == pytest.approx(0, abs=1e-4)
    points = np.argwhere(truth >= np.sort(truth.ravel())[-10])
    assert auc.auc_judd(truth, points) == 1


@given(seeds)
def test_another_map_scores_worse_than_the_truth(seed):
    truth, other = random_map(seed), random_map(seed + 1)
    assert standard.correlation(other, truth) < 1
    assert 0 < standard.similarity(other, truth) < 1
    assert standard.kl_divergence(other, truth) > 0


@given(st.floats(0, 1e6), seeds, counts)
def test_a_constant_map_scores_like_chance(level, seed, count):
    flat, points = np.full(SIZE, level), random_points(seed, count)
    others, truth = negatives(seed + 1), random_map(seed + 2)
    uniform = np.ones(SIZE)
    assert auc.auc_judd(flat, points) == 0.5
    assert auc.shuffled_auc(flat, points, others) == 0.5
    assert standard.nss(flat, points) == 0
    assert standard.correlation(flat, truth) == 0
    assert standard.similarity(flat, truth) == pytest.approx(standard.similarity(uniform, truth))
    assert standard.kl_divergence(flat, truth) == pytest.approx(
        standard.kl_divergence(uniform, truth)
    )
    assert standard.information_gain(flat, points, uniform) == pytest.approx(0, abs=1e-9)


def test_no_fixation_is_not_a_number():
    saliency, none = random_map(0), np.empty((0, 2), dtype=int)
    assert math.isnan(auc.auc_judd(saliency, none))
    assert math.isnan(auc.shuffled_auc(saliency, none, negatives(1)))
    assert math.isnan(auc.shuffled_auc(saliency, random_points(1, 3), np.zeros(SIZE)))
    assert math.isnan(standard.nss(saliency, none))
    assert math.isnan(standard.information_gain(saliency, none, np.ones(SIZE)))


def test_an_empty_true_map_is_not_a_number():
    saliency, empty = random_map(0), np.zeros(SIZE)
    assert math.isnan(standard.correlation(saliency, empty))
    assert math.isnan(standard.similarity(saliency, empty))
    assert math.isnan(standard.kl_divergence(saliency, empty))


def test_every_pixel_fixated_leaves_no_negative_for_auc():
    everywhere = np.argwhere(np.ones(SIZE))
    assert math.isnan(auc.auc_judd(random_map(0), everywhere))


def test_values_by_hand():
    saliency = np.array([[0.0, 1.0], [2.0, 3.0]])
    here = np.array([[1, 1]])
    assert standard.nss(saliency, here) == pytest.approx(1.5 / np.std([0, 1, 2, 3]))
    assert auc.auc_judd(saliency, np.array([[1, 0]])) == pytest.approx(2 / 3)
    assert auc.shuffled_auc(saliency, here, np.array([[1.0, 0], [0, 1]])) == 0.75
    assert auc.shuffled_auc(saliency, here, np.array([[3.0, 0], [0, 1]])) == 0.875
    truth = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert standard.similarity(saliency, truth) == pytest.approx(0.5)
    assert standard.kl_divergence(saliency, truth) == pytest.approx(math.log(2))
    assert standard.mit_information_gain(saliency, here, np.ones((2, 2))) == pytest.approx(1)
    expected = math.log2(4 * (0.99 * 0.5 + 0.01 / 4))
    assert standard.information_gain(saliency, here, np.ones((2, 2))) == pytest.approx(expected)
    never = np.array([[0, 0]])  # where the map is 0
    assert standard.information_gain(saliency, never, np.ones((2, 2))) == pytest.approx(
        math.log2(0.01)
    )


def test_center_gaussian_is_symmetric_and_stretched():
    gaussian = center_gaussian((6, 8))
    np.testing.assert_allclose(gaussian, gaussian[::-1, ::-1])
    assert gaussian.argmax() in {2 * 8 + 3, 2 * 8 + 4, 3 * 8 + 3, 3 * 8 + 4}
    tall, wide = center_gaussian((41, 81)), center_gaussian((81, 41))
    np.testing.assert_allclose(tall, wide.T)


@pytest.mark.parametrize(
    ("saliency", "message"),
    [(np.zeros((2, 2, 1)), r"shape \(H, W\)"), (np.array([[np.nan, 0]]), "finite")],
)
def test_invalid_maps_are_refused(saliency, message):
    with pytest.raises(DataError, match=message):
        standard.nss(saliency, np.array([[0, 0]]))


def test_auc_borji_by_hand():
    saliency = np.array([[0.0, 0.05, 1.0, 0.55]])
    # Of the thresholds 0, 0.1, ..., 1 only those above 0.5 leave out another pixel than 0 does.
    assert auc.auc_borji(saliency, np.array([[0, 2]])) == pytest.approx(0.875)
    # The two lowest pixels pass no threshold but 0: the step hides which of them is higher.
    assert auc.auc_borji(saliency, np.array([[0, 1]])) == auc.auc_borji(
        saliency, np.array([[0, 0]])
    )
    fine = auc.auc_borji(saliency, np.array([[0, 1]]), step=0.001)
    assert fine > auc.auc_borji(saliency, np.array([[0, 0]]), step=0.001)


@settings(max_examples=5, deadline=None)
@given(seeds, counts)
def test_auc_borji_is_the_mean_of_the_benchmarks_random_draws(seed, count):
    saliency, points = random_map(seed), random_points(seed + 1, count)
    index = np.unique(np.ravel_multi_index(points.T, SIZE))
    stretched = (saliency - saliency.min()) / np.ptp(saliency)
    rng, areas = np.random.default_rng(seed), []
    for _ in range(400):
        negative = stretched.ravel()[rng.integers(0, stretched.size, len(index))]
        thresholds = np.arange(0, 1.05, 0.1)[::-1]
        rates = [
            np.concatenate([[0], [(part >= t).mean() for t in thresholds], [1]])
            for part in (negative, stretched.ravel()[index])
        ]
        areas.append(np.sum(np.diff(rates[0]) * (rates[1][1:] + rates[1][:-1]) / 2))
    error = np.std(areas) / np.sqrt(len(areas))
    assert auc.auc_borji(saliency, points) == pytest.approx(np.mean(areas), abs=5 * error + 1e-9)
