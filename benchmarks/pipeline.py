"""Measure how many images a second one thread reads, with and without the cache.

Usage: python benchmarks/pipeline.py DATA [--data-root DIR] [--images N]
Prints the processor time of an epoch without the cache, of one that fills it, and of one from it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from msinet_core.data.cache import FittedCache
from msinet_core.data.dataset import open_dataset
from msinet_core.data.pipeline import BatchPipeline


def main() -> None:
    """Print the three rates and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data, arguments.data_root)
    samples = dataset.train[: arguments.images]

    def epoch(cache: FittedCache | None) -> float:
        pipeline = BatchPipeline(samples, dataset.image_size, 8, workers=1, cache=cache)
        begin = time.process_time()
        for _ in pipeline.batches():
            pass
        return len(samples) / (time.process_time() - begin)

    with tempfile.TemporaryDirectory() as folder:
        cache = FittedCache(Path(folder))
        epoch(None)  # draws maps, and warms the caches of the operating system
        rates = {"no cache": epoch(None), "fills the cache": epoch(cache), "cache": epoch(cache)}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} images a second of processor time")
    print(f"ratio: {rates['cache'] / rates['no cache']:.1f}")


if __name__ == "__main__":
    main()
