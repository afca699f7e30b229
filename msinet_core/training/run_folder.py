"""The folder of a training run: its settings, tables, learning curve, log and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from msinet_core.errors import MsinetError, UsageError, command, os_reason
from msinet_core.system.files import write_text
from msinet_core.training.config_file import write_config
from msinet_core.training.csv_table import csv_text, rows_until
from msinet_core.training.loggers import Logger

if TYPE_CHECKING:
    from msinet_core.training.config import TrainConfig

HISTORY_FIELDS = (
    *("epoch", "step", "learning_rate", "train_loss", "valid_loss"),
    *("images_per_s", "seconds", "data_wait"),
)
"""The columns of ``history.csv``, before those of the metrics."""

STEP_FIELDS = ("epoch", "step", "learning_rate", "loss", "images_per_s", "data_wait")


class RunFolder:
    """The files of one run.

    Args:
        path: The folder; `locked` creates it.
        writes: Whether this process writes; of several processes only the chief does.

    Attributes:
        loggers: Receive every step and every epoch too.
        config: The settings.
        history: A row for each epoch.
        steps: A row for each optimizer step.
        curve: The learning curve.
        latest: The checkpoint to resume from.
        best: The weights of the best epoch, by the validation loss or ``best_by``.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.loggers: tuple[Logger, ...] = ()
        self.config = path / "config.toml"
        self.history = path / "history.csv"
        self.steps = path / "steps.csv"
        self.curve = path / "curve.png"
        self.latest = path / "checkpoints" / "latest.msinet.h5"
        self.best = path / "checkpoints" / "best.msinet.h5"

    @property
    def resume_command(self) -> str:
        """The command that continues the run."""
        return command("train", "--resume", run=self.path)

    def check_new(self) -> None:
        """Refuse to start a run in the folder of another one.

        Raises:
            UsageError: The folder holds a run.
        """
        if self.latest.exists() or self.best.exists():
            raise UsageError(
                f"{self.path} already contains a run. Continue it with --resume, or choose "
                f"another folder with --run."
            )

    def checkpoint_identity(self) -> tuple[int, ...] | None:
        """Identify the latest checkpoint without reading it; None if there is none."""
        try:
            status = self.latest.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def check_checkpoint_identity(self, before: tuple[int, ...] | None) -> None:
        """Refuse to write to a folder in which another process has trained meanwhile.

        Args:
            before: What `checkpoint_identity` returned earlier.

        Raises:
            UsageError: The latest checkpoint is another one now.
        """
        if self.writes and self.checkpoint_identity() != before:
            raise UsageError(
                f"Another process trained in {self.path} while this one was starting. Run the "
                f"command again with --resume to continue from there, or choose another folder "
                f"with --run."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the folder.

        The system releases the lock when the process ends, however it ends.

        Raises:
            UsageError: Another process is training in the folder.
            MsinetError: The folder cannot be created or locked.
        """
        if not self.writes:
            yield
            return
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"Another process is training in {self.path}. Wait until it has finished, or "
                f"choose another folder with --run."
            ) from error
        except OSError as error:
            raise MsinetError(
                f"Could not lock {self.path}: {os_reason(error)}. Choose another folder with --run."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def begin(self, config: TrainConfig, step: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the settings and tables of a run that starts or resumes.

        Args:
            config: The settings.
            step: The step to continue after; later ones, which are repeated, are dropped.
            history: The finished epochs.
        """
        if not self.writes:
            return
        write_config(config, self.config)
        write_text(self.steps, csv_text(STEP_FIELDS, rows_until(self.steps, step)))
        write_text(self.history, csv_text(_history_fields(history), history))

    def check_exists(self) -> None:
        """Refuse to continue in a folder that was deleted or unmounted since `begin`.

        Raises:
            MsinetError: The folder is gone.
        """
        if not self.config.exists():
            raise MsinetError(
                f"The run folder {self.path} has disappeared: {self.config} does not exist. "
                f"Start a new run, or restore the folder and continue with: {self.resume_command}"
            )

    @contextmanager
    def continued(self) -> Iterator[None]:
        """Say how the run continues if one of its files cannot be written.

        Raises:
            MsinetError: What was raised, with the command if the file system refused.
        """
        try:
            yield
        except MsinetError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            # "Run the command again" is no advice for a folder that holds a run.
            raise MsinetError(
                f"{error} In the same folder, continue the run with: {self.resume_command}"
            ) from error

    def log(self, text: str) -> None:
        """Append a line with the time to ``log.txt``.

        Args:
            text: One or several lines.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._append(self.path / "log.txt", f"{now} {text}\n")

    def epochs_finished(self) -> int:
        """Count the epochs in the history."""
        if not self.history.exists():
            return 0
        return max(0, len(self.history.read_text(encoding="utf-8").splitlines()) - 1)

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the table of epochs.

        Args:
            rows: With the keys ``HISTORY_FIELDS`` and the metrics.
        """
        if self.writes:
            self.check_exists()
            write_text(self.history, csv_text(_history_fields(rows), rows))

    def draw_curve(self, rows: Sequence[Mapping[str, Any]], config: TrainConfig) -> None:
        """Replace the learning curve, or log why that is impossible.

        Args:
            rows: All epochs.
            config: The settings.
        """
        from msinet_core.training.curve import draw_curve

        try:
            draw_curve(rows, self.curve, self.path.name, config.loss, config.selection)
        except Exception as error:  # a picture is not worth a training run
            self.log(f"Could not draw the learning curve: {error}")

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Pass an epoch to the loggers.

        Args:
            row: With the keys ``HISTORY_FIELDS`` and the metrics.
        """
        for logger in self.loggers:
            logger.epoch(row)

    def append_step(self, row: Mapping[str, Any]) -> None:
        """Add a row to the table of steps.

        Args:
            row: With the keys ``STEP_FIELDS``.
        """
        self._append(self.steps, csv_text(STEP_FIELDS, [row], header=False))
        for logger in self.loggers:
            logger.step(row)

    def _append(self, path: Path, text: str) -> None:
        if not self.writes:
            return
        self.check_exists()
        try:
            with path.open("a", encoding="utf-8", newline="") as stream:
                stream.write(text)
        except OSError as error:
            raise MsinetError(
                f"Could not write {path}: {os_reason(error)}. The last checkpoint is intact. "
                f"Fix the problem and continue with: {self.resume_command}"
            ) from error


RUNS = Path("runs")
"""The folder of runs that were not given one."""


def new_run_path(data: str, device: str, *, create: bool = True) -> Path:
    """Return a folder for a new run, named after dataset, device and local time.

    Args:
        data: The dataset's name or folder.
        device: The device's name.
        create: Whether to create it, so that no other process takes the same name.

    Raises:
        MsinetError: The folder cannot be created.
    """
    stem = f"{Path(data).resolve().name}-{device}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = RUNS / stem, 2
    try:
        while not (_make(path) if create else not path.exists()):
            path, number = RUNS / f"{stem}-{number}", number + 1
    except OSError as error:
        raise MsinetError(
            f"Could not create {path}: {os_reason(error)}. Choose another folder with --run."
        ) from error
    return path


def _make(path: Path) -> bool:
    """Create a folder; return False if it exists, perhaps since a moment ago."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def newest_run_path() -> Path:
    """Return the run in `RUNS` that was written to last.

    Raises:
        UsageError: There is none.
    """
    configs = sorted(RUNS.glob("*/config.toml"), key=_last_written)
    if not configs:
        raise UsageError(
            f"No run to resume in {RUNS.resolve()}. Name the folder of the run with --run."
        )
    return configs[-1].parent


def _last_written(config: Path) -> float:
    return max(
        path.stat().st_mtime for path in (config, config.parent / "log.txt") if path.exists()
    )


def _history_fields(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*HISTORY_FIELDS, *(name for row in rows for name in row)]))
