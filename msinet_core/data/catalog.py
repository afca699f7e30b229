"""List the named datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msinet_core.data.dataset import DEMO, find_folder
from msinet_core.data.demo import DEMO_TRAIN, DEMO_VALID, demo_folder
from msinet_core.data.published import PUBLISHED, PublishedDataset
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE


def list_datasets(root: Path | None = None) -> list[dict[str, Any]]:
    """Return a JSON document for each named dataset; ``folder`` is None if it is missing.

    Args:
        root: The folder that contains named datasets; None for ``data``.
    """
    demo = PublishedDataset(
        DEMO, "Demo", DEFAULT_IMAGE_SIZE, DEMO_TRAIN, DEMO_VALID, None, None, sources=()
    )
    folders = {name: find_folder(name, root) for name in (DEMO, *PUBLISHED)}
    drawn = demo_folder()
    if folders[DEMO] is None and drawn.is_dir():
        folders[DEMO] = drawn
    shown = ("name", "title", "image_size", "train", "valid", "observers", "seconds")
    return [
        {
            **{name: getattr(known, name) for name in shown},
            "folder": folders[known.name] and str(folders[known.name]),
            "sources": [{"what": one.what, "address": one.address} for one in known.sources],
        }
        for known in (demo, *PUBLISHED.values())
    ]
