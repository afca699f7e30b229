"""`Deferred`: a result that is read once, when it is needed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from msinet_core.device import Deferred


def test_it_is_read_when_it_is_used_and_only_once() -> None:
    reads = []

    def read() -> list[float]:
        reads.append(1)
        return [1.5, 2.5]

    result = Deferred(read, (2,))
    assert result.shape == (2,)
    assert reads == []
    np.testing.assert_array_equal(np.asarray(result), [1.5, 2.5])
    assert len(result) == 2
    assert reads == [1]


def test_what_it_holds_is_released_after_reading() -> None:
    import gc
    import weakref

    class Buffer:
        pass

    buffer = Buffer()
    held = weakref.ref(buffer)
    result = Deferred(lambda buffer=buffer: [id(buffer)])  # type: ignore[misc]
    del buffer
    gc.collect()
    assert held() is not None
    np.asarray(result)
    gc.collect()
    assert held() is None


def test_a_single_value_is_a_float() -> None:
    assert float(Deferred(lambda: np.float32(0.25))) == 0.25
    with pytest.raises(ValueError):
        float(Deferred(lambda: [1.0, 2.0]))


def test_the_shape_is_unknown_unless_given() -> None:
    assert not hasattr(Deferred(lambda: 1.0), "shape")


def test_a_copy_can_be_written_to_and_the_result_does_not_change() -> None:
    result = Deferred(lambda: [1.0, 2.0])
    copy = np.array(result)
    copy[0] = 9.0
    np.testing.assert_array_equal(np.asarray(result, dtype=np.float32), [1, 2])


def test_a_read_that_fails_is_repeated() -> None:
    answers = [RuntimeError("lost"), 3.0]

    def read() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    result = Deferred(read)
    with pytest.raises(RuntimeError):
        float(result)
    assert float(result) == 3.0


def test_several_threads_share_one_read() -> None:
    reads = []

    def read() -> list[float]:
        reads.append(1)
        time.sleep(0.05)
        return [1.5]

    result = Deferred(read)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(float, [result] * 4)) == [1.5] * 4
    assert reads == [1]
