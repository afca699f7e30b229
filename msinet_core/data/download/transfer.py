"""Download one file: resumed, retried, checked, and renamed when it is whole."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from msinet_core.data.download.part import Origin, Part, open_part
from msinet_core.data.download.web import Answer, PermanentError, TransientError, ask
from msinet_core.errors import InterruptedRunError, MsinetError, os_reason
from msinet_core.system.progress import Progress

LARGEST = 2**34
"""Bytes that are taken from a server when nothing is known about the file."""

_READ = 2**20


@dataclass(frozen=True)
class Patience:
    """How long a server that does not answer is waited for.

    Args:
        timeout: Seconds of silence until a connection counts as broken.
        attempts: Tries in a row that bring nothing new.
        pause: Seconds between the first two; each next pause is twice as long.
    """

    timeout: float = 30
    attempts: int = 4
    pause: float = 1


def download(
    url: str,
    target: Path,
    *,
    checksum: str = "",
    size: int | None = None,
    limit: int = LARGEST,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download a file unless it is there.

    What came is kept in ``NAME.part`` beside the target until it is whole, so that a broken
    transfer is resumed, by this call or by a later one, if the server can and still has the same
    file. Two processes never write the same file: the second waits.

    Args:
        url: https, or http if a checksum is known or the server is on this machine.
        target: Where to.
        checksum: ``"md5:..."`` or ``"sha256:..."`` in hexadecimal; empty if none is published.
        size: The exact number of bytes, if it is known.
        limit: The most bytes to take.
        progress: Shows what happens.
        patience: How long to try.

    Returns:
        `target`.

    Raises:
        MsinetError: The file cannot be had or is not the right one; says how to get it by hand.
        InterruptedRunError: Ctrl-C; says what is kept.
    """
    progress, patience = progress or Progress(), patience or Patience()
    order = _Order(url, target, checksum, size, limit, progress, patience)
    if target.exists():
        order.check_existing()
        return target
    try:
        with open_part(target, progress) as part:
            if not target.exists():  # another process may have brought it in the meantime
                order.carry_out(part)
    except (PermanentError, TransientError) as error:
        raise MsinetError(order.explain(str(error))) from error
    except OSError as error:
        reason = f"the disk refuses ({os_reason(error)})"
        raise MsinetError(order.explain(reason)) from error
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"Interrupted. {order.kept() or 'Nothing had come yet.'}"
        ) from error
    return target


@dataclass(frozen=True)
class _Order:
    url: str
    target: Path
    checksum: str
    size: int | None
    limit: int
    progress: Progress
    patience: Patience

    def carry_out(self, part: Part) -> None:
        failures, reached = 0, part.size
        while True:
            try:
                self._receive(part)
                break
            except TransientError as error:
                failures = 1 if part.size > reached else failures + 1
                reached = max(reached, part.size)
                if failures >= self.patience.attempts:
                    raise
                pause = error.pause
                if pause is None:
                    pause = self.patience.pause * 2 ** (failures - 1)
                self.progress.message(f"{self.target.name}: {error}. Trying again in {pause:g} s.")
                time.sleep(pause)
        self._check(part)
        part.publish(self.target)

    def _receive(self, part: Part) -> None:
        start, validator = self._resume_from(part)
        if start and part.origin is not None and start == part.origin.total:
            return  # all had come, and a kill kept it from its name
        with ask(
            self.url,
            start=start,
            validator=validator,
            verified=bool(self.checksum),
            timeout=self.patience.timeout,
        ) as answer:
            self._check_length(answer.total)
            if start and not answer.start:
                self.progress.message(
                    f"{self.target.name}: the server does not continue what was begun; from the "
                    f"beginning again."
                )
            if not answer.start:
                part.begin(Origin(self.url, answer.validator, answer.total))
            self._take(part, answer)
        if answer.total is not None and part.size < answer.total:
            raise TransientError(
                f"the connection broke off after {in_megabytes(part.size)} of "
                f"{in_megabytes(answer.total)}"
            )

    def _resume_from(self, part: Part) -> tuple[int, str]:
        """Say where to go on; without a version or a checksum two files could be mixed up."""
        origin = part.origin
        if origin is None or origin.url != self.url:
            return 0, ""
        if not (origin.validator or self.checksum):
            return 0, ""
        return part.size, origin.validator

    def _take(self, part: Part, answer: Answer) -> None:
        left = max((answer.total or 0) - answer.start, 0)
        free = shutil.disk_usage(part.path.parent).free
        if left > free:
            raise PermanentError(
                f"{in_megabytes(left)} are to come and only {in_megabytes(free)} are free in "
                f"{part.path.parent}"
            )
        what = f"{self.target.name}, the rest" if answer.start else self.target.name
        with self.progress.task(what, left, "bytes") as task:
            for chunk in answer.chunks():
                self._check_length(part.size + len(chunk))
                part.append(chunk)
                task.advance(len(chunk))

    def _check_length(self, length: int | None) -> None:
        most = self.size if self.size is not None else self.limit
        if length is not None and length > most:
            raise PermanentError(
                f"the server sends more ({in_megabytes(length)}) than this file can have "
                f"({in_megabytes(most)})"
            )

    def _check(self, part: Part) -> None:
        problem = self._problem(part.path)
        if problem:
            part.discard()
            raise PermanentError(
                f"what came is not the file that was published: {problem}. It was removed"
            )

    def check_existing(self) -> None:
        """Refuse to call a file downloaded that is another one."""
        problem = self._problem(self.target)
        if problem:
            raise MsinetError(
                f"{self.target} is not the file that was published: {problem}. Remove it, and it "
                f"is downloaded from {self.url}."
            )

    def _problem(self, path: Path) -> str:
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes and not {self.size:,}"
        if not self.checksum:
            return ""
        algorithm, _, expected = self.checksum.partition(":")
        found = _digest(path, algorithm)
        return "" if found == expected else f"its {algorithm} is {found} and not {expected}"

    def kept(self) -> str:
        """Say what a later call finds."""
        part = self.target.with_name(f"{self.target.name}.part")
        size = part.stat().st_size if part.exists() else 0
        if not size:
            return ""
        return (
            f"{in_megabytes(size)} are kept in {part}; the same command goes on from there where "
            f"the server can."
        )

    def explain(self, reason: str) -> str:
        """Put a reason, what is kept, and the way by hand into sentences."""
        sentences = (
            f"{self.target.name} could not be downloaded: {reason}.",
            self.kept(),
            f"Or download {self.url} by other means and put it at {self.target}",
        )
        return " ".join(sentence for sentence in sentences if sentence)


def in_megabytes(size: int) -> str:
    """Write a number of bytes as people read it.

    Args:
        size: The number.
    """
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_READ):
            digest.update(chunk)
    return digest.hexdigest()
