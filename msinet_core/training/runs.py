"""Read the folders of training runs, and compare them."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from msinet_core.errors import MsinetError, UsageError, os_reason
from msinet_core.system.finite import finite
from msinet_core.training.config import TrainConfig
from msinet_core.training.config_file import read_config
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.selection import HIGHER_IS_BETTER

NOT_COMPARED = frozenset({"workers", "cache", "log", "data_root"})
"""Settings that do not change what a run computes."""

_VALIDATION = ("data", "split_seed", "limit_valid", "sigma", "image_size")
"""Settings that determine the validation images and maps."""


@dataclass(frozen=True)
class RunSummary:
    """The settings and the history of a run.

    Args:
        path: Its folder.
        config: Its settings.
        history: A row for each finished epoch, with the columns of ``history.csv``.
    """

    path: Path
    config: TrainConfig
    history: tuple[dict[str, float], ...]

    @property
    def best(self) -> dict[str, float] | None:
        """The row of the best epoch; None before the first."""
        index = self.config.selection.best(self.history)
        return None if index is None else self.history[index]

    @property
    def status(self) -> str:
        """Whether the run has finished."""
        if len(self.history) >= self.config.epochs:
            return "finished"
        stopped = self.config.selection.stops(self.history, self.config.patience)
        return "stopped early" if stopped else "unfinished"

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as values for JSON."""
        return {
            "run": str(self.path),
            "status": self.status,
            "epochs": len(self.history),
            "best": self.best and finite(self.best),
            "settings": self.config.to_dict(),
        }


def read_runs(
    folders: str | Path | Sequence[str | Path],
    report: Callable[[MsinetError], None] | None = None,
) -> list[RunSummary]:
    """Read runs, in the order of the folders.

    Args:
        folders: A run folder, a folder of run folders, or several of them.
        report: Called with what is wrong with each run in a folder of runs that cannot be read,
            which is left out; None: that is an error.

    Raises:
        UsageError: A folder contains no run, or none is given.
        MsinetError: A run's settings or history cannot be read.
    """
    folders = [folders] if isinstance(folders, str | os.PathLike) else folders
    named: dict[Path, bool] = {}
    for folder in map(Path, folders):
        if folder.name in ("", ".."):  # such as the current folder, whose name is shown
            folder = folder.resolve()
        is_run = (folder / "config.toml").exists()
        found = [folder] if is_run else [one.parent for one in sorted(folder.glob("*/config.toml"))]
        if not found:
            raise UsageError(
                f"No run in {folder.absolute()}: neither it nor a folder in it has a config.toml"
            )
        named |= {path: is_run or named.get(path, False) for path in found}
    runs = []
    for path, is_named in named.items():
        try:
            runs.append(_read(path))
        except MsinetError as error:
            if is_named or report is None:
                raise
            report(error)
    if not runs:
        raise MsinetError("No run can be read.") if named else UsageError("No run folder given.")
    return runs


@dataclass(frozen=True)
class RunComparison:
    """Several runs side by side.

    Args:
        runs: The runs.
    """

    runs: tuple[RunSummary, ...]

    @cached_property
    def differing(self) -> dict[str, list[Any]]:
        """The settings in which the runs differ: each name with the value of every run."""
        settings = [run.config.to_dict() for run in self.runs]
        names = dict.fromkeys(name for each in settings for name in each)
        values = {name: [each.get(name) for each in settings] for name in names}
        return {
            name: found
            for name, found in values.items()
            if name not in NOT_COMPARED and any(value != found[0] for value in found)
        }

    @cached_property
    def best(self) -> dict[str, list[float | None]]:
        """The best validation loss and the best of each metric of every run, if it has one."""
        present = {name for run in self.runs for row in run.history for name in row}
        columns = ["valid_loss", *(name for name in HIGHER_IS_BETTER if name in present)]
        return {column: [_best(run, column) for run in self.runs] for column in columns}

    @cached_property
    def notes(self) -> list[str]:
        """What makes scores incomparable."""
        notes = []
        if "loss" in self.differing:
            notes.append("The runs were trained with different losses: compare metrics instead.")
        if names := [name for name in _VALIDATION if name in self.differing]:
            notes.append(
                f"The runs may have been validated on different images or maps "
                f"({', '.join(names)}); if so, their scores cannot be compared. msinet-run "
                f"evaluate scores both on the same images."
            )
        return notes

    def draw(self, path: str | Path) -> None:
        """Draw the curves of the runs over each other, a panel for each score.

        Args:
            path: The file to create or replace: ``*.png``, ``*.svg`` or ``*.pdf``.

        Raises:
            UsageError: The suffix is another one.
            MsinetError: The file system refused.
        """
        from msinet_core.training.curve import draw_curves

        differ = "loss" in self.differing
        names = [run.path.name + (f" ({run.config.loss})" if differ else "") for run in self.runs]
        histories = [(name, run.history) for name, run in zip(names, self.runs, strict=True)]
        draw_curves(histories, list(self.best), Path(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as values for JSON."""
        runs = [str(run.path) for run in self.runs]
        return {"runs": runs, "differing": self.differing, "best": self.best, "notes": self.notes}


def compare_runs(folders: str | Path | Sequence[str | Path]) -> RunComparison:
    """Read runs and compare them.

    Args:
        folders: Run folders, and folders of run folders.

    Raises:
        UsageError: A folder contains no run.
        MsinetError: A run's settings or history cannot be read.

    Example:
        >>> compare_runs(["runs/a", "runs/b"]).differing
        {'learning_rate': [1e-05, 0.0001]}
    """
    return RunComparison(tuple(read_runs(folders)))


def _best(run: RunSummary, column: str) -> float | None:
    values = [row[column] for row in run.history if not math.isnan(row.get(column, math.nan))]
    if not values:
        return None
    return max(values) if HIGHER_IS_BETTER.get(column) else min(values)


def _read(path: Path) -> RunSummary:
    folder = RunFolder(path)
    config = read_config(folder.config)
    if not folder.history.exists():
        return RunSummary(path, config, _saved_history(folder, config))
    try:
        with folder.history.open(newline="", encoding="utf-8") as stream:
            return RunSummary(path, config, _rows(csv.DictReader(stream), config))
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise MsinetError(
            f"Could not read {folder.history}: {os_reason(error)}. Fix the file; or delete it: "
            f"the latest checkpoint holds the history, too."
        ) from error


def _saved_history(folder: RunFolder, config: TrainConfig) -> tuple[dict[str, float], ...]:
    """Return the history in the latest checkpoint, whose tensors are not read."""
    from msinet_core.checkpoint.guard import reading
    from msinet_core.checkpoint.native import open_archive

    if not folder.latest.exists():
        return ()
    with reading(folder.latest):
        training = open_archive(folder.latest).read_training()
        return _rows(training["position"]["history"], config) if training else ()


def _rows(rows: Iterable[Mapping[str, Any]], config: TrainConfig) -> tuple[dict[str, float], ...]:
    numbers = [{name: _number(name, value) for name, value in row.items()} for row in rows]
    for name in ("epoch", config.selection.column):
        if numbers and name not in numbers[0]:
            raise ValueError(f"it has no column {name}")
    return tuple(numbers)


def _number(column: str, value: Any) -> float:
    if value in ("", None):
        return math.nan
    return int(value) if column in ("epoch", "step") else float(value)
