"""Losses as text, learning rates of steps, flips, and the settings that depend on each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msinet_core.data.dataset import open_dataset
from msinet_core.data.pipeline import BatchPipeline
from msinet_core.errors import UsageError
from msinet_core.metrics.table import METRICS
from msinet_core.network.adam import Adam
from msinet_core.network.loss import (
    Correlation,
    KLDivergence,
    WeightedSum,
    parse_loss,
    standard_loss,
)
from msinet_core.network.msinet import learning_rate_factors, msinet_graph
from msinet_core.training.config import TrainConfig
from msinet_core.training.resume import fixed_settings
from msinet_core.training.schedule import Schedule
from msinet_core.training.selection import HIGHER_IS_BETTER, Selection

if TYPE_CHECKING:
    from tests.conftest import Run


@pytest.mark.parametrize(
    ("text", "standard"),
    [
        ("kld", "kld"),
        ("1*kld", "kld"),
        (" KLD + .5*cc".replace(".5", "0.5"), "kld+0.5*cc"),
        ("2e-3*sim+1e+2*nss", "0.002*sim+100.0*nss"),
    ],
)
def test_losses_have_one_standard_text(text: str, standard: str) -> None:
    assert standard_loss(text) == standard
    assert standard_loss(standard) == standard


def test_a_text_becomes_a_loss() -> None:
    assert parse_loss("kld") == KLDivergence()
    expected = WeightedSum(((1.0, KLDivergence()), (0.5, Correlation())))
    assert parse_loss("kld+0.5*cc") == expected


@pytest.mark.parametrize(
    "text", ["", "kld-cc", "kld+", "kld+kld", "0*cc", "auc", "cc*2", "-1*cc", "1e999*cc"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_loss(text)
    with pytest.raises(UsageError):
        TrainConfig("demo", "cpu", loss=text)


def test_the_closest_loss_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"'kld[+]2[*]sm'; .*'sim'"):
        parse_loss("kld+2*sm")


def rates(images: int = 8, **settings: Any) -> list[float]:
    config = TrainConfig("demo", "cpu", learning_rate=1.0, batch_size=2, **settings)
    schedule = Schedule(config, images)
    size = config.batch_size * config.accumulate
    return [schedule.rate(epoch, image) for epoch in range(2) for image in range(0, images, size)]


def test_a_constant_rate_is_the_rate_itself() -> None:
    assert rates() == [1.0] * 8


def test_a_warm_up_rises_linearly_to_the_rate() -> None:
    assert rates(warmup=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_a_warm_up_longer_than_the_run_is_noted(run: Run, tiny_data: Path) -> None:
    settings = ("--data", tiny_data, "--init", "random", "--width", "0.04", "--image-size", "32x40")
    for warmup, noted in ((10, False), (11, True)):
        command = ("train", *settings, "--epochs", "2", "--warmup", warmup, "--dry-run")
        result = run("--device", "reference", *command)
        assert result.exit_code == 0, result.output
        assert ("warm-up of 11 steps" in result.output) == noted


def test_a_cosine_falls_over_all_epochs_after_the_warm_up() -> None:
    found = rates(schedule="cosine", epochs=2, warmup=2)
    expected = [0.5, 1.0, *((1 + np.cos(np.pi * step / 6)) / 2 for step in range(6))]
    assert found == pytest.approx(expected)


def test_the_split_of_a_step_into_batches_does_not_matter() -> None:
    settings = {"schedule": "cosine", "epochs": 2, "warmup": 1}
    assert rates(9, accumulate=2, **settings) == pytest.approx(
        [
            Schedule(
                TrainConfig("demo", "cpu", learning_rate=1.0, batch_size=4, **settings), 9
            ).rate(epoch, image)
            for epoch in range(2)
            for image in (0, 4, 8)
        ]
    )


def test_the_best_epoch_depends_on_the_direction_of_the_metric() -> None:
    history = [
        {"valid_loss": loss, "cc": cc, "nss": float("nan")}
        for loss, cc in ((3.0, 0.5), (2.0, 0.7), (2.5, 0.6))
    ]
    assert Selection().best(history) == 1
    assert Selection("cc").best(history) == 1
    assert Selection("cc").stops(history, 1) and not Selection("cc").stops(history, 2)
    assert not Selection().improves(history) and Selection().improves(history[:2])


def test_an_epoch_without_a_score_is_the_best_only_if_no_epoch_has_one() -> None:
    """There are weights to predict with after any run."""
    nan = float("nan")
    history = [{"cc": score} for score in (nan, nan, 0.1, nan)]
    best = Selection("cc")
    assert best.best([]) is None
    assert [best.improves(history[:count]) for count in (0, 1, 2, 3, 4)] == [0, 1, 0, 1, 0]
    assert best.best(history) == 2


def test_metrics_have_the_direction_of_the_table() -> None:
    table = {name: METRICS[name] for name in HIGHER_IS_BETTER}
    assert {name: metric.higher_is_better for name, metric in table.items()} == HIGHER_IS_BETTER


def test_the_metric_that_decides_is_computed() -> None:
    assert TrainConfig("demo", "cpu", best_by="cc", metrics="nss").metrics == ("nss", "cc")
    assert TrainConfig("demo", "cpu", best_by="loss").metrics == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "head"},
        {"part_rates": {"encoder": 0}},
        {"part_rates": {"head": 1.0}},
        {"part_rates": {"encoder": 0.1}, "freeze": "encoder"},
        {"metrics": "roc"},
        {"schedule": "linear"},
        {"warmup": -1},
        {"patience": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TrainConfig("demo", "cpu", **changes)


def test_parts_become_factors_of_parameters() -> None:
    config = TrainConfig("demo", "cpu", freeze="encoder", part_rates={"aspp": 0.1})
    optimizer = Adam(factors=learning_rate_factors(msinet_graph(0.1), config.rates))
    names = ("conv3/conv3_1/kernel", "aspp/conv2/bias", "decoder/conv4/kernel")
    assert [optimizer.factor(name) for name in names] == [0.0, 0.1, 1.0]
    with pytest.raises(UsageError, match="frozen"):
        learning_rate_factors(msinet_graph(0.1), dict.fromkeys(("encoder", "aspp", "decoder"), 0.0))


def test_a_checkpoint_of_an_earlier_version_had_the_defaults() -> None:
    settings = TrainConfig("demo", "cpu").to_dict()
    earlier = {name: value for name, value in settings.items() if name not in ("loss", "freeze")}
    assert fixed_settings(earlier) == fixed_settings(settings)
    changed = TrainConfig("demo", "cpu", freeze="encoder").to_dict()
    assert fixed_settings(changed) != fixed_settings(settings)


def test_images_and_maps_are_mirrored_together_by_seed_epoch_and_index(tiny_data: Path) -> None:
    samples = open_dataset(str(tiny_data)).train
    plain = BatchPipeline(samples, (32, 40), 2)
    flipped = BatchPipeline(samples, (32, 40), 2, flip=True, shuffle=True, seed=3)
    originals = [np.concatenate(parts) for parts in zip(*plain.batches(), strict=True)]
    patterns = []
    for epoch in range(8):
        order, flips = flipped.order(epoch), flipped.flips(epoch)
        patterns.append(tuple(flips))
        read = [np.concatenate(parts) for parts in zip(*flipped.batches(epoch), strict=True)]
        for row, index in enumerate(order):
            for values, source in zip(read, originals, strict=True):
                expected = source[index][:, ::-1] if flips[index] else source[index]
                assert np.array_equal(values[row], expected)
        rest = list(flipped.batches(epoch, start=1))
        assert np.array_equal(np.concatenate([batch.images for batch in rest]), read[0][2:])
    assert len(set(patterns)) > 4
    assert 8 < sum(map(sum, patterns)) < 32


def test_a_plateau_counts_epochs_since_the_best() -> None:
    config = TrainConfig("demo", "cpu", schedule="plateau", plateau_epochs=2)
    losses = [3.0, 3.0, float("nan"), 2.0, 4.0, 3.0, 2.0, 2.5, 1.0]
    found = [
        Schedule(config, 1).reductions([{"valid_loss": loss} for loss in losses[:length]])
        for length in range(len(losses) + 1)
    ]
    assert found == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
