"""Processes that train together, as far as the core knows of them."""

from __future__ import annotations

import numpy as np
import pytest

from msinet_core.device import Processes, report_lost_processes
from msinet_core.device.processes import check_distribution
from msinet_core.errors import MsinetError, UsageError


def test_a_process_alone_is_the_chief_and_sums_nothing() -> None:
    alone = Processes()
    assert (alone.chief, alone.count, alone.replicas) == (True, 1, 1)
    values = np.arange(3.0)
    np.testing.assert_array_equal(alone.sum(values), values)
    assert not Processes(index=1, count=2).chief


def test_a_lost_process_becomes_a_message_and_other_errors_pass() -> None:
    with pytest.raises(MsinetError, match="--resume") as caught, report_lost_processes((OSError,)):
        raise ConnectionResetError("peer")
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert "ConnectionResetError" in str(caught.value)
    with pytest.raises(ValueError), report_lost_processes((OSError,)):
        raise ValueError


def test_a_lost_process_can_be_told_from_other_errors_of_its_type() -> None:
    def is_lost(error: Exception) -> bool:
        return "peer" in str(error)

    with pytest.raises(OSError, match="disk"), report_lost_processes((OSError,), is_lost):
        raise OSError("disk")
    with pytest.raises(MsinetError), report_lost_processes((OSError,), is_lost):
        raise OSError("peer")


@pytest.mark.parametrize(
    ("offered", "distribute", "expected"),
    [
        ((), "none", "none"),
        ((), "auto", "none"),
        (("mirrored",), "auto", "auto"),
        (("mirrored",), "none", "none"),
        (("mirrored", "multiworker"), "multiworker", "multiworker"),
    ],
)
def test_the_distribution_is_resolved(
    offered: tuple[str, ...], distribute: str, expected: str
) -> None:
    assert check_distribution("npu", offered, distribute) == expected


def test_a_distribution_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="--distribute none or mirrored"):
        check_distribution("npu", ("mirrored",), "multiworker")
