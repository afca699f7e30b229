"""The seven data sets that MSI-Net was published with, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from msinet_core.ops import Size


@dataclass(frozen=True)
class PublishedDataset:
    """What is known about a published data set.

    Args:
        name: As it is typed after ``--data``; also the name of its folder.
        title: As its authors write it.
        image_size: Height and width of the network's input in pixels.
        train: The number of training images.
        valid: The number of validation images.
        observers: How many people looked at each image.
        seconds: For how long.
        sources: What is downloaded from where.
        categories: Groups of equal size, in the order of the files, that are each split alike.
        fixed_split: Whether its authors split it: ``stimuli/train`` and ``stimuli/val``.
    """

    name: str
    title: str
    image_size: Size
    train: int
    valid: int
    observers: int
    seconds: float
    sources: tuple[tuple[str, str], ...]
    categories: int = 1
    fixed_split: bool = False


_DRIVE = "https://drive.google.com/uc?export=download&id="
_JUDD = "https://people.csail.mit.edu/tjudd/WherePeopleLook/"
_OMRON = "http://saliencydetection.net/dut-omron/download/"

PUBLISHED = {
    dataset.name: dataset
    for dataset in (
        PublishedDataset(
            "salicon",
            "SALICON",
            (240, 320),
            train=10000,
            valid=5000,
            observers=16,
            seconds=5,
            sources=(
                ("images", _DRIVE + "1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5"),
                ("fixations", _DRIVE + "1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj"),
                ("maps", _DRIVE + "1PnO7szbdub1559LfjYHMy65EDC4VhJC8"),
            ),
            fixed_split=True,
        ),
        PublishedDataset(
            "mit1003",
            "MIT1003",
            (360, 360),
            train=803,
            valid=200,
            observers=15,
            seconds=3,
            sources=(
                ("images", _JUDD + "ALLSTIMULI.zip"),
                ("maps and fixations", _JUDD + "ALLFIXATIONMAPS.zip"),
            ),
        ),
        PublishedDataset(
            "cat2000",
            "CAT2000",
            (216, 384),
            train=1600,
            valid=400,
            observers=18,
            seconds=5,
            sources=(("everything", "http://saliency.mit.edu/trainSet.zip"),),
            categories=20,
        ),
        PublishedDataset(
            "dutomron",
            "DUT-OMRON",
            (360, 360),
            train=4168,
            valid=1000,
            observers=5,
            seconds=2,
            sources=(
                ("images", _OMRON + "DUT-OMRON-image.zip"),
                ("fixations", _OMRON + "DUT-OMRON-eye-fixations.zip"),
            ),
        ),
        PublishedDataset(
            "pascals",
            "PASCAL-S",
            (360, 360),
            train=650,
            valid=200,
            observers=8,
            seconds=2,
            sources=(("everything", "http://cbs.ic.gatech.edu/salobj/download/salObj.zip"),),
        ),
        PublishedDataset(
            "osie",
            "OSIE",
            (240, 320),
            train=500,
            valid=200,
            observers=15,
            seconds=3,
            sources=(
                (
                    "everything",
                    "https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/"
                    "master.zip",
                ),
            ),
        ),
        PublishedDataset(
            "fiwi",
            "FIWI",
            (216, 384),
            train=99,
            valid=50,
            observers=11,
            seconds=5,
            sources=(
                (
                    "everything",
                    "https://www.dropbox.com/s/30nxg2uwd1wpb80/webpage_dataset.zip?dl=1",
                ),
            ),
        ),
    )
}
"""Each published data set by its name."""


def split(count: int, n_train: int, seed: int = 42, categories: int = 1) -> tuple[list[int], ...]:
    """Divide a sorted list of files into training and validation.

    With the published numbers and seed 42 this is the published split.

    Args:
        count: The number of files.
        n_train: How many of them are for training.
        seed: Decides the order that is cut in two.
        categories: Groups of equal size, one after another, that are each split alike.

    Returns:
        The places of the training files and of the validation files in the sorted list.

    Source: The reference implementation's data.py.
    """
    import numpy as np

    each, train_each = count // categories, n_train // categories
    order = np.arange(each)
    np.random.RandomState(seed).shuffle(order)
    starts = [group * each for group in range(categories)]
    return tuple(
        [start + int(place) for start in starts for place in places]
        for places in (order[:train_each], order[train_each:])
    )
