"""Files are read in threads, ahead of the loop over the results."""

from __future__ import annotations

import time

from msinet_core.system.threads import in_threads


def test_results_come_in_order() -> None:
    assert list(in_threads(lambda item: item * 2, range(50), "double")) == list(range(0, 100, 2))


def test_leaving_the_loop_stops_the_threads() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.005)

    results = in_threads(work, range(400), "wait")
    next(results)
    results.close()
    assert len(begun) < 200
