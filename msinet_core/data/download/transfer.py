"""Download one file: resumed, retried, checked, and renamed when it is complete."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from msinet_core.data.download.part import Origin, Part, open_part
from msinet_core.data.download.web import PermanentError, Response, TransientError, request
from msinet_core.errors import InterruptedRunError, MsinetError, os_reason
from msinet_core.system.progress import Progress

LARGEST = 2**34
"""The maximum number of bytes to accept if nothing is known about the file."""

ATTEMPTS = 4
"""Attempts in a row without new data."""

PAUSE = 1.0
"""Seconds between the first two attempts; doubled each time."""


def download(
    url: str,
    target: Path,
    *,
    checksum: str = "",
    limit: int = LARGEST,
    progress: Progress | None = None,
) -> Path:
    """Download a file unless it exists.

    Data are kept in ``NAME.part`` beside the target until they are complete, so that a broken
    transfer is resumed, by this call or a later one, if the server supports it and still has the
    same file. If two processes download the same file, the second waits.

    Args:
        url: https; or http if a checksum is known or the server is on this machine.
        target: The file to create.
        checksum: ``"md5:..."`` or ``"sha256:..."`` in hexadecimal; empty if none is published.
        limit: The maximum number of bytes to accept.
        progress: Shows progress.

    Returns:
        `target`.

    Raises:
        MsinetError: The download failed or is not the right file; says how to get it by hand.
        InterruptedRunError: Ctrl-C; says what was kept.
    """
    transfer = _Transfer(url, target, checksum, limit, progress or Progress())
    if target.exists():
        transfer.check_existing()
        return target
    try:
        with open_part(target, transfer.progress) as part:
            if not target.exists():  # another process may have downloaded it in the meantime
                transfer.run(part)
    except (PermanentError, TransientError, OSError) as error:
        raise MsinetError(transfer.explain(os_reason(error))) from error
    except KeyboardInterrupt as error:
        kept = transfer.kept() or "Nothing was downloaded yet."
        raise InterruptedRunError(f"Interrupted. {kept}") from error
    return target


@dataclass(frozen=True)
class _Transfer:
    url: str
    target: Path
    checksum: str
    limit: int
    progress: Progress

    def run(self, part: Part) -> None:
        failures, reached = 0, part.size
        while True:
            try:
                self._receive(part)
                break
            except TransientError as error:
                failures = 1 if part.size > reached else failures + 1
                reached = max(reached, part.size)
                if failures >= ATTEMPTS:
                    raise
                pause = error.pause
                if pause is None:
                    pause = PAUSE * 2 ** (failures - 1)
                self.progress.message(f"{self.target.name}: {error}; retrying in {pause:g} s")
                time.sleep(pause)
        problem = checksum_problem(part.path, self.checksum)
        if problem:
            part.discard()
            raise PermanentError(f"the download is not the published file: {problem}")
        part.publish(self.target)

    def _receive(self, part: Part) -> None:
        start, validator = self._resume_from(part)
        if start and part.origin is not None and start == part.origin.total:
            return  # complete, but killed before it was renamed
        with request(
            self.url,
            start=start,
            validator=validator,
            verified=bool(self.checksum),
            warn=lambda text: self.progress.message(f"{self.target.name}: {text}"),
        ) as response:
            self._check_length(response.total)
            if not response.first and not response.total:
                raise PermanentError("the server sent an empty file")
            if start and not response.start:
                self.progress.message(
                    f"{self.target.name}: the server does not support resuming; starting over"
                )
            if not response.start:
                part.begin(Origin(self.url, response.validator, response.total))
            self._copy(response, part)
        if response.total is not None and part.size < response.total:
            raise TransientError(
                f"the connection broke after {in_megabytes(part.size)} of "
                f"{in_megabytes(response.total)}"
            )

    def _resume_from(self, part: Part) -> tuple[int, str]:
        """Return where to continue; without a version or a checksum two files could be mixed."""
        origin = part.origin
        if origin is None or origin.url != self.url or not (origin.validator or self.checksum):
            return 0, ""
        return part.size, origin.validator

    def _copy(self, response: Response, part: Part) -> None:
        left = max((response.total or 0) - response.start, 0)
        free = shutil.disk_usage(part.path.parent).free
        if left > free:
            raise PermanentError(
                f"not enough disk space in {part.path.parent}: {in_megabytes(left)} needed, "
                f"{in_megabytes(free)} free"
            )
        description = f"{self.target.name}, the rest" if response.start else self.target.name
        with self.progress.task(description, left, "bytes") as task:
            for chunk in response.chunks():
                length = part.size + len(chunk)
                self._check_length(length)
                if response.total is not None and length > response.total:
                    part.discard()
                    raise PermanentError("the server sent more bytes than it announced")
                part.append(chunk)
                task.advance(len(chunk))

    def _check_length(self, length: int | None) -> None:
        if length is not None and length > self.limit:
            raise PermanentError(
                f"the server sends {in_megabytes(length)}, but the file has at most "
                f"{in_megabytes(self.limit)}"
            )

    def check_existing(self) -> None:
        """Refuse an existing file that is not the published one."""
        problem = checksum_problem(self.target, self.checksum)
        if problem:
            raise MsinetError(
                f"{self.target} is not the published file: {problem}. Remove it to download it "
                f"from {self.url}."
            )

    def kept(self) -> str:
        """Return a sentence about what a later call will resume; empty if nothing was kept."""
        part = self.target.with_name(f"{self.target.name}.part")
        size = part.stat().st_size if part.exists() else 0
        if not size:
            return ""
        return f"{in_megabytes(size)} were kept in {part}; run the same command again to resume."

    def explain(self, reason: str) -> str:
        """Return the message of a failure: the reason, what was kept, and the way by hand.

        Args:
            reason: A part of a sentence.
        """
        sentences = (
            f"Could not download {self.target.name}: {reason}.",
            self.kept(),
            f"Or download {self.url} by hand and save it as {self.target}",
        )
        return " ".join(filter(None, sentences))


def checksum_problem(path: Path, checksum: str) -> str:
    """Return how a file's checksum differs, as a part of a sentence; empty if it does not.

    Args:
        path: The file.
        checksum: ``"md5:..."`` or ``"sha256:..."`` in hexadecimal; empty if none is published.
    """
    if not checksum:
        return ""
    algorithm, _, expected = checksum.partition(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    found = digest.hexdigest()
    return "" if found == expected else f"its {algorithm} is {found}, expected {expected}"


def in_megabytes(size: int) -> str:
    """Format a number of bytes.

    Args:
        size: The number.
    """
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"
