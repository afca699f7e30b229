"""Compare two evaluations of the same images: paired differences with intervals."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.errors import DataError, UsageError, os_reason
from msinet_core.evaluation.result import CONSTANTS, Evaluation, intervals
from msinet_core.metrics.table import METRICS
from msinet_core.system.finite import finite

_DEPENDENT = {
    "sigma": ("loss", "kld", "cc", "sim"),
    "kld_epsilon": ("kld",),
    "uniform_share": ("information_gain",),
    "auc_borji_step": ("auc_borji",),
}
"""For each constant the metrics that cannot be compared if it differs."""


@dataclass(frozen=True)
class Difference:
    """The paired difference of a metric: second minus first.

    Args:
        first: The mean of the first evaluation, over the common images.
        second: The mean of the second one.
        mean: The mean difference.
        low: Lower limit of its bootstrap interval of 95%.
        high: Its upper limit.
        n: The number of images.
        better: ``"first"`` or ``"second"`` if the interval excludes 0, else ``""``.
    """

    first: float
    second: float
    mean: float
    low: float
    high: float
    n: int
    better: str


@dataclass(frozen=True)
class Comparison:
    """The paired differences of two evaluations.

    Args:
        differences: By the keys of `METRICS`; those that both have.
        images: The number of common images.
        only_first: The number of images that only the first evaluation has.
        only_second: The number of images that only the second one has.
        skipped: For each metric that cannot be compared, why.
    """

    differences: Mapping[str, Difference]
    images: int
    only_first: int
    only_second: int
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON document; undefined values are None."""
        document: dict[str, Any] = finite(asdict(self))
        return document


def compare(
    first: str | os.PathLike[str] | Evaluation, second: str | os.PathLike[str] | Evaluation
) -> Comparison:
    """Compare two evaluations image by image.

    Images differ far more than models do: the interval of a paired difference is much narrower than
    the intervals of the two means suggest.

    Args:
        first: A CSV file that ``evaluate --out`` wrote, or the result of `evaluate`.
        second: The same for the other model.

    Raises:
        UsageError: A file does not exist, or is not such a file.
        DataError: They have no image in common, or images of one name that are different.

    Example:
        >>> compare("before.csv", "after.csv").differences["nss"].low > 0
    """
    tables = [_read(one) for one in (first, second)]
    names = [name for name in tables[0] if name in tables[1]]
    if not names:
        raise DataError(
            f"No image is in both evaluations; the first has, for example, {next(iter(tables[0]))}"
            f", the second {next(iter(tables[1]))}."
        )
    rows = [[table[name] for name in names] for table in tables]
    different = [row for row, other in zip(*rows, strict=True) if _differ(row, other)]
    if different:
        raise DataError(
            f"Images of the same name are different in {len(different)} of {len(names)} cases, for "
            f"example {different[0]['image']}. Compare evaluations of one dataset."
        )
    skipped = _skipped(rows[0][0], rows[1][0]) | _recalibrated(tables)
    differences: dict[str, Difference] = {}
    for key in METRICS:
        pair = np.array([[_score(row, key) for row in part] for part in rows]).T
        pair = pair[~np.isnan(pair).any(axis=1)]
        if len(pair) and key not in skipped:
            differences[key] = _difference(key, pair)
    return Comparison(
        differences,
        len(names),
        len(tables[0]) - len(names),
        len(tables[1]) - len(names),
        skipped,
    )


def _difference(key: str, pair: Any) -> Difference:
    with np.errstate(invalid="ignore"):  # two infinite scores
        paired = pair[:, 1] - pair[:, 0]
    low, high = map(float, intervals(paired[:, None])[0])
    better = ""
    if low > 0 or high < 0:
        better = "second" if (low > 0) == METRICS[key].higher_is_better else "first"
    first, second = map(float, pair.mean(axis=0))
    return Difference(first, second, float(paired.mean()), low, high, len(pair), better)


def _skipped(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    return {
        metric: f"{constant} is {first.get(constant) or 'unknown'} in the first and "
        f"{second.get(constant) or 'unknown'} in the second"
        for constant, metrics in _DEPENDENT.items()
        if first.get(constant) != second.get(constant)
        for metric in metrics
    }


def _recalibrated(tables: Sequence[Mapping[str, Mapping[str, str]]]) -> dict[str, str]:
    """Skip the score that the other images of its evaluation change, if these differ."""
    key = "log_likelihood"
    first, second = ({name for name in table if table[name].get(key)} for table in tables)
    if not (first and second) or first == second:
        return {}
    reason = "it depends on all images of an evaluation, which differ; evaluate the same images"
    return {key: reason}


def _differ(row: Mapping[str, str], other: Mapping[str, str]) -> bool:
    contents = {one["content"] for one in (row, other) if one.get("content")}
    return len(contents) > 1


def _read(source: str | os.PathLike[str] | Evaluation) -> dict[str, dict[str, str]]:
    if isinstance(source, Evaluation):
        text, name = source.to_csv(), "The evaluation"
    else:
        path = Path(source)
        name = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")  # Excel begins with a mark
        except (OSError, UnicodeDecodeError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else "not a text file"
            raise UsageError(f"Could not read {path}: {reason}.") from error
    rows = list(csv.DictReader(io.StringIO(text)))
    known = {"image", *CONSTANTS} | METRICS.keys()
    if not rows or "image" not in rows[0] or len(known & rows[0].keys()) < 2:
        raise UsageError(
            f"{name} has no scores of images. Write such a file with: msinet-run evaluate --out "
            f"FILE.csv"
        )
    table = {row["image"]: row for row in rows}
    if len(table) < len(rows):
        twice = Counter(row["image"] for row in rows).most_common(1)[0][0]
        raise DataError(
            f"{name} has several images named {twice}, which cannot be paired. Write it again with "
            f"msinet-run evaluate --out, whose names are those of the files in stimuli/."
        )
    return table


def _score(row: Mapping[str, str], key: str) -> float:
    text = row.get(key) or "nan"
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"Not a score: {text!r}, {METRICS[key].title} of {row['image']}. Write the file again "
            f"with: msinet-run evaluate --out FILE.csv"
        ) from None
