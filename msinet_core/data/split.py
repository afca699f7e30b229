"""Record which images a run trains on by their content, so that no other run scores them."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msinet_core.data.dataset import SPLIT_NAMES, Dataset, SplitName
from msinet_core.data.images import content_digest
from msinet_core.data.sample import Sample
from msinet_core.errors import CheckpointError
from msinet_core.system.progress import Progress
from msinet_core.system.settings import SPLIT_SEED
from msinet_core.system.threads import in_threads

_BYTES = 6
"""Of each image's SHA-256 that are kept: among 15,000 images, two are equal by chance once in
2.5 million datasets."""


@dataclass(frozen=True)
class StoredSplit:
    """The images of a training run by the content of their files.

    Args:
        seed: The seed of the split.
        train: Digests of the images that the weights were trained on.
        valid: Digests of the images that chose the best epoch.
        test: Digests of the images that were kept for a final test.
        earlier: Digests of the images that the initial weights were trained on before.
        complete: Whether all images that the weights have ever been trained on are recorded.
    """

    seed: int = SPLIT_SEED
    train: frozenset[bytes] = frozenset()
    valid: frozenset[bytes] = frozenset()
    test: frozenset[bytes] = frozenset()
    earlier: frozenset[bytes] = frozenset()
    complete: bool = True

    @property
    def trained(self) -> frozenset[bytes]:
        """Digests of all images that the weights have ever been trained on."""
        return self.train | self.earlier

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        seed: int,
        initial: StoredSplit | None = None,
        progress: Progress | None = None,
    ) -> StoredSplit:
        """Read every image of a dataset once, and record its split.

        Args:
            dataset: The images that are really used.
            seed: The seed of the split.
            initial: The split that the weights were trained with before; None: random or VGG16.
            progress: Shows progress.

        Raises:
            DataError: An image cannot be read.
        """
        digests = digest_samples(dataset.samples, progress)
        parts = {
            name: frozenset(digests[sample] for sample in dataset.part(name))
            for name in SPLIT_NAMES
        }
        initial = initial or cls()
        earlier = initial.trained - parts["train"]
        return cls(seed, **parts, earlier=earlier, complete=initial.complete)

    def to_dict(self) -> dict[str, Any]:
        """Return the split as JSON: for each part its digests, sorted, 8 characters each."""
        parts = {name: _encode(getattr(self, name)) for name in (*SPLIT_NAMES, "earlier")}
        return {"seed": self.seed, "complete": self.complete, **parts}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> StoredSplit | None:
        """Read the split from a checkpoint's metadata; None if it records none.

        Args:
            metadata: Of the checkpoint.

        Raises:
            CheckpointError: The entry is damaged.
        """
        entry = metadata.get("split")
        if entry is None:
            return None
        try:
            parts = {name: _decode(entry.get(name, "")) for name in (*SPLIT_NAMES, "earlier")}
            return cls(int(entry["seed"]), **parts, complete=bool(entry.get("complete")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint's record of its training images is damaged ({error!r}). Use "
                f"another copy of the checkpoint."
            ) from error


@dataclass(frozen=True)
class ScoredPart:
    """The images of one split that may be scored.

    Args:
        samples: The images, in the dataset's order.
        left_out: How many of the split were left out because the weights were trained on them.
        moved: How many of the dataset's split were left out because the run had them in another.
        added: How many are not in the dataset's split, but were in the run's.
        known: How many images of the dataset have the split that they had in the run.
        earlier: How many others the weights were trained on before the run.
    """

    samples: tuple[Sample, ...]
    left_out: int = 0
    moved: int = 0
    added: int = 0
    known: int = 0
    earlier: int = 0


def select(
    dataset: Dataset, name: SplitName, stored: StoredSplit, digests: Mapping[Sample, bytes]
) -> ScoredPart:
    """Choose the images of a split as the checkpoint was trained, never a training image by chance.

    An image that the checkpoint knows belongs to the part that it had in training; any other
    belongs to the part that it has in the dataset.

    Args:
        dataset: The images.
        name: The split.
        stored: The split of the training run.
        digests: From `digest_samples`.
    """
    samples: list[Sample] = []
    counts: Counter[str] = Counter()
    for part in SPLIT_NAMES:
        for sample in dataset.part(part):
            digest = digests[sample]
            parts = [one for one in SPLIT_NAMES if digest in getattr(stored, one)]
            counts["known"] += bool(parts)
            counts["earlier"] += not parts and digest in stored.earlier
            chosen = name in (parts or [part])
            trained = name != "train" and digest in stored.trained
            if chosen and not trained:
                samples.append(sample)
                counts["added"] += part != name
            elif chosen or part == name:
                counts["left_out" if trained else "moved"] += 1
    return ScoredPart(tuple(samples), **counts)


def digest_samples(
    samples: Sequence[Sample], progress: Progress | None = None
) -> dict[Sample, bytes]:
    """Return a short digest of the content of each image's file.

    Args:
        samples: The images.
        progress: Shows progress.

    Raises:
        DataError: An image cannot be read.
    """
    found = in_threads(
        lambda sample: content_digest(sample.stimulus)[:_BYTES], samples, "read images", progress
    )
    return dict(zip(samples, found, strict=True))


def _encode(digests: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(digests))).decode("ascii")


def _decode(text: str) -> frozenset[bytes]:
    data = base64.b64decode(text, validate=True)
    if len(data) % _BYTES:
        raise ValueError(f"{len(data)} bytes")
    return frozenset(data[start : start + _BYTES] for start in range(0, len(data), _BYTES))
