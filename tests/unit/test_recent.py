"""Values for recent keys: made once, and the oldest forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from msinet_core import Recent


def test_values_are_made_once_and_the_least_recent_is_forgotten() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key.upper()

    recent = Recent(make, limit=2)
    assert [recent[key] for key in "abab"] == ["A", "B", "A", "B"]
    assert recent["a"] and recent["c"] == "C"  # b is the least recent
    assert "b" not in recent and "a" in recent
    assert made == ["a", "b", "c"]
    assert recent["b"] == "B" and made[-1] == "b"


def test_threads_share_one_value() -> None:
    made: list[int] = []
    recent = Recent(lambda key: made.append(key))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: recent[1], range(100)))
    assert made == [1]
