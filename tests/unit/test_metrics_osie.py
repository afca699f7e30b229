"""Scores on real fixations: known figures, pysaliency, and what once depended on ``--limit``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core.data.dataset import Dataset, open_dataset
from msinet_core.data.sample import Sample
from msinet_core.evaluation import baselines
from msinet_core.evaluation.fixation_bank import FixationBank, blur, count
from msinet_core.metrics import auc, standard
from msinet_core.metrics.maps import stretch

SHARED = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared"))
pytestmark = pytest.mark.skipif(
    not (SHARED / "data" / "osie").is_dir(), reason="needs shared/data/osie (MSINET_SHARED)"
)
SIZE = (600, 800)
SIGMA = 24.0


@pytest.fixture(scope="module")
def osie() -> Dataset:
    return open_dataset("osie", SHARED / "data", sigma=SIGMA)


@pytest.fixture(scope="module")
def bank(osie: Dataset) -> FixationBank:
    return FixationBank(osie.samples)


def first(osie: Dataset, number: int = 40) -> list[Sample]:
    return sorted(osie.samples, key=lambda sample: sample.name)[:number]


def points_of(bank: FixationBank, sample: Sample) -> np.ndarray:
    return np.unique(np.concatenate(bank.observers(sample) or ()), axis=0)


def half_nss(bank: FixationBank, samples: Sequence[Sample]) -> float:
    """The NSS of one half of the observers at the fixations of the other, both ways."""
    scores = []
    for sample in samples:
        both = baselines.halves(bank.observers(sample) or ())
        scores += [
            standard.nss(baselines.observer_map(map, SIZE, SIGMA), points)
            for map, points in (both, both[::-1])
        ]
    return float(np.mean(scores))


def test_observers_and_center_have_the_known_scores(osie: Dataset, bank: FixationBank) -> None:
    for samples, limit, center in (
        (first(osie), 3.30, 0.872),
        (osie.valid[:40], 3.65, 0.818),
    ):
        assert half_nss(bank, samples) == pytest.approx(limit, abs=0.02)
        gaussian = baselines.center_gaussian(SIZE)
        found = np.mean([standard.nss(gaussian, points_of(bank, one)) for one in samples])
        assert found == pytest.approx(center, abs=0.002)


def test_the_center_bias_of_the_other_images_has_the_known_score(
    osie: Dataset, bank: FixationBank
) -> None:
    scores = []
    for sample in first(osie):
        _, bias = bank.others(sample, SIZE)
        assert bias is not None
        assert bias.min() > 0
        assert bias.sum() == pytest.approx(1)
        scores.append(standard.nss(bias, points_of(bank, sample)))
    assert np.mean(scores) == pytest.approx(0.917, abs=0.01)


def test_every_observer_against_the_others_has_the_known_score(
    osie: Dataset, bank: FixationBank
) -> None:
    samples = first(osie)[::8]
    scores = {
        sample.name: np.mean(
            [
                standard.nss(map, points)
                for map, points in baselines.leave_one_out(
                    bank.observers(sample) or (), SIZE, SIGMA
                )
            ]
        )
        for sample in samples
    }
    # 3.44 over all 40 images; these five are compared with an exact, slow computation.
    sample = samples[0]
    observers = bank.observers(sample) or ()
    exact = [
        standard.nss(
            baselines.observer_map(np.concatenate(observers[:k] + observers[k + 1 :]), SIZE, SIGMA),
            observers[k],
        )
        for k in range(len(observers))
    ]
    assert scores[sample.name] == pytest.approx(np.mean(exact), rel=1e-4)
    assert 3.0 < np.mean(list(scores.values())) < 4.0


def test_the_blur_is_scipys_mirrored_gaussian() -> None:
    from scipy.ndimage import gaussian_filter

    counts = count(np.array([[0, 0], [300, 400], [590, 10]]), SIZE)
    exact = gaussian_filter(counts, (SIGMA, 30), truncate=8)
    np.testing.assert_allclose(blur(counts, (SIGMA, 30)), exact, atol=1e-3 * exact.max())


def test_shuffled_auc_has_all_other_images_as_negatives(osie: Dataset, bank: FixationBank) -> None:
    sample = osie.valid[0]
    others, _ = bank.others(sample, SIZE)
    assert others is not None
    total = sum(len(points) for one in osie.samples for points in bank.observers(one) or ())
    own = sum(len(points) for points in bank.observers(sample) or ())
    assert others.sum() == total - own
    # A bank of few images, as when only the evaluated ones were read, gives another score.
    few, _ = FixationBank(osie.valid[:10]).others(sample, SIZE)
    assert few is not None
    map, points = sample.read_map()[..., 0], points_of(bank, sample)
    assert abs(auc.shuffled_auc(map, points, few) - auc.shuffled_auc(map, points, others)) > 1e-3


def test_auc_borji_is_lower_than_auc_judd_by_the_known_difference(
    osie: Dataset, bank: FixationBank
) -> None:
    differences = []
    for sample in first(osie):
        both = baselines.halves(bank.observers(sample) or ())
        map = baselines.observer_map(both[0], SIZE, SIGMA)
        differences.append(auc.auc_judd(map, both[1]) - auc.auc_borji(map, both[1]))
    assert 0.01 < np.mean(differences) < 0.06


def test_the_metrics_agree_with_pysaliency_over_40_images(
    osie: Dataset, bank: FixationBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: Any = pytest.importorskip("pysaliency.metrics", reason="pysaliency is not installed")
    roc: Any = pytest.importorskip("pysaliency.roc", reason="pysaliency is not installed")
    # pysaliency 0.2.22 still uses the name that NumPy 2.4 removed.
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    worst: dict[str, float] = {}
    for sample in first(osie):
        points = points_of(bank, sample)
        half, _ = baselines.halves(bank.observers(sample) or ())
        map = stretch(0.7 * baselines.observer_map(half, SIZE, 40) / 40 + 1e-5 * np.hypot(*SIZE))
        truth, (others, _) = sample.read_map()[..., 0].astype(float), bank.others(sample, SIZE)
        assert others is not None
        rows, columns = points.T
        negative = np.repeat(map.ravel(), others.ravel().astype(int))
        apart = np.ones(SIZE, bool)
        apart[rows, columns] = False
        pairs = {
            "nss": (standard.nss(map, points), theirs.NSS(map, columns, rows).mean()),
            "cc": (standard.correlation(map, truth), theirs.CC(map, truth)),
            "sim": (standard.similarity(map, truth), theirs.SIM(map, truth)),
            "kld": (standard.kl_divergence(map, truth), theirs.MIT_KLDiv(map, truth)),
            "auc_judd": (
                auc.auc_judd(map, points),
                roc.general_roc(map[rows, columns], map[apart])[0],
            ),
            "shuffled_auc": (
                auc.shuffled_auc(map, points, others),
                roc.general_roc(map[rows, columns], negative)[0],
            ),
        }
        for key, (ours, other) in pairs.items():
            worst[key] = max(worst.get(key, 0), abs(ours - float(other)))
    assert max(worst.values()) < 1e-6, worst
