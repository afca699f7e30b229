"""The seven datasets that MSI-Net was published with.

The checksums are those that pysaliency (https://github.com/matthias-k/pysaliency) publishes; they
were not compared with the files here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from msinet_core.network.ops import Size


@dataclass(frozen=True)
class Source:
    """An archive of a published dataset.

    Args:
        what: Its content.
        address: Its URL.
        checksum: ``"md5:..."``; empty if none is published.
        name: Its name on this machine; empty for that in the address.
    """

    what: str
    address: str
    checksum: str = ""
    name: str = ""

    @property
    def file(self) -> str:
        """The name of the file on this machine."""
        return self.name or PurePosixPath(urlsplit(self.address).path).name


@dataclass(frozen=True)
class PublishedDataset:
    """A published dataset.

    Args:
        name: The value of ``--data``; also the name of its folder.
        title: Its name as its authors write it.
        image_size: Height and width of the network's input in pixels.
        train: The number of training images.
        valid: The number of validation images.
        observers: The number of people who looked at each image; None if nobody did.
        seconds: How long they looked.
        sources: Its archives.
        categories: The number of consecutive groups of equal size, each split in the same way.
        fixed_split: Whether it was published with ``stimuli/train`` and ``stimuli/val``.
        sigma: Standard deviation in pixels of the Gaussian at each fixation of the maps that are
            created while it is unpacked; None for others.
    """

    name: str
    title: str
    image_size: Size
    train: int
    valid: int
    observers: int | None
    seconds: float | None
    sources: tuple[Source, ...]
    categories: int = 1
    fixed_split: bool = False
    sigma: float | None = None


DRIVE = "https://drive.google.com/uc?export=download&id="
"""The address of a file on Google Drive, but for its identifier."""

_JUDD = "https://people.csail.mit.edu/tjudd/WherePeopleLook/"
_OMRON = "http://saliencydetection.net/dut-omron/download/"

_SOURCES = {
    "salicon": (
        Source(
            "images",
            DRIVE + "1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5",
            "md5:eb2a1bb706633d1b31fc2e01422c5757",
            "salicon-images.zip",
        ),
        Source(
            "fixations",
            DRIVE + "1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj",
            "md5:462b70f4f9e8ea446ac628e46cea8d3d",
            "salicon-fixations.zip",
        ),
        Source("maps", DRIVE + "1PnO7szbdub1559LfjYHMy65EDC4VhJC8", name="salicon-maps.zip"),
    ),
    "mit1003": (
        Source("images", _JUDD + "ALLSTIMULI.zip", "md5:0d7df8b954ecba69b6796e77b9afe4b6"),
        Source("maps and fixations", _JUDD + "ALLFIXATIONMAPS.zip"),
    ),
    "cat2000": (
        Source(
            "everything",
            "http://saliency.mit.edu/trainSet.zip",
            "md5:56ad5c77e6c8f72ed9ef2901628d6e48",
        ),
    ),
    "dutomron": (
        Source("images", _OMRON + "DUT-OMRON-image.zip", "md5:a8951db9297afacf78bc0e5079103cf1"),
        Source(
            "fixations",
            _OMRON + "DUT-OMRON-eye-fixations.zip",
            "md5:d9f4f83fcc78b1e5efb579ae9fb0edc2",
        ),
    ),
    "pascals": (
        Source(
            "everything",
            "http://cbs.ic.gatech.edu/salobj/download/salObj.zip",
            "md5:e48b4e5deac08bddcaec55ce56e4d420",
        ),
    ),
    "osie": (
        Source(
            "everything",
            "https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/master.zip",
            name="predicting-human-gaze-beyond-pixels-master.zip",
        ),
    ),
    "fiwi": (
        Source("everything", "https://www.dropbox.com/s/30nxg2uwd1wpb80/webpage_dataset.zip?dl=1"),
    ),
}

_SIGMAS = {"dutomron": 16.0, "fiwi": 30.0}

PUBLISHED = {
    name: PublishedDataset(
        name,
        title,
        size,
        train,
        valid,
        observers,
        seconds,
        sources=_SOURCES[name],
        categories=20 if name == "cat2000" else 1,
        fixed_split=name == "salicon",
        sigma=_SIGMAS.get(name),
    )
    for name, title, size, train, valid, observers, seconds in (
        # name, title, image size, training images, validation images, observers, seconds
        ("salicon", "SALICON", (240, 320), 10000, 5000, 16, 5),
        ("mit1003", "MIT1003", (360, 360), 803, 200, 15, 3),
        ("cat2000", "CAT2000", (216, 384), 1600, 400, 18, 5),
        ("dutomron", "DUT-OMRON", (360, 360), 4168, 1000, 5, 2),
        ("pascals", "PASCAL-S", (360, 360), 650, 200, 8, 2),
        ("osie", "OSIE", (240, 320), 500, 200, 15, 3),
        ("fiwi", "FIWI", (216, 384), 99, 50, 11, 5),
    )
}
"""Each published dataset by its name."""


def split(count: int, n_train: int, seed: int = 42, categories: int = 1) -> tuple[list[int], ...]:
    """Divide a sorted list of files into training and validation.

    With the published numbers and seed 42 this is the published split.

    Args:
        count: The number of files.
        n_train: The number of training files.
        seed: Determines the order that is cut in two.
        categories: The number of consecutive groups of equal size, each split in the same way.

    Returns:
        The indices of the training files and of the validation files.

    Source: The reference implementation's data.py.
    """
    import numpy as np

    each, train_each = count // categories, n_train // categories
    order = np.arange(each)
    np.random.RandomState(seed).shuffle(order)
    starts = [group * each for group in range(categories)]
    return tuple(
        [start + int(index) for start in starts for index in indices]
        for indices in (order[:train_each], order[train_each:])
    )
