"""List the named datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msinet_core.data.dataset import DEMO, find_folder
from msinet_core.data.demo import DEMO_TRAIN, DEMO_VALID, demo_folder
from msinet_core.data.published import PUBLISHED
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.system.files import cache_folder


def list_datasets(root: Path | None = None) -> list[dict[str, Any]]:
    """Return a JSON document for each named dataset; ``folder`` is None if it is missing.

    Args:
        root: The folder that contains named datasets; None for ``data``.
    """
    demo = find_folder(DEMO, root) or demo_folder(cache_folder())
    rows: list[dict[str, Any]] = [
        {
            "name": DEMO,
            "title": "Demo",
            "image_size": list(DEFAULT_IMAGE_SIZE),
            "train": DEMO_TRAIN,
            "valid": DEMO_VALID,
            "observers": None,
            "seconds": None,
            "folder": str(demo) if demo.is_dir() else None,
            "sources": [],
        }
    ]
    for known in PUBLISHED.values():
        folder = find_folder(known.name, root)
        rows.append(
            {
                "name": known.name,
                "title": known.title,
                "image_size": list(known.image_size),
                "train": known.train,
                "valid": known.valid,
                "observers": known.observers,
                "seconds": known.seconds,
                "folder": None if folder is None else str(folder),
                "sources": [{"what": one.what, "address": one.address} for one in known.sources],
            }
        )
    return rows
