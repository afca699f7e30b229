"""Processes that train together share each batch, and refuse to train different runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from msinet_core.data.pipeline import BatchPipeline
from msinet_core.device import Capabilities
from msinet_core.device.processes import Processes, check_agreement
from msinet_core.errors import UsageError
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder

SIZE = (8, 8)


@dataclass(frozen=True)
class Numbered:
    """A sample whose pixels are its number."""

    number: int
    name: str = ""

    def load(self, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.full((*size, 3), self.number, np.float32), np.zeros((*size, 1), np.float32)


def numbers(samples: int, batch_size: int, shard: tuple[int, int], **where: int) -> list[list[int]]:
    pipeline = BatchPipeline(
        [Numbered(number) for number in range(samples)],  # type: ignore[misc]
        SIZE,
        batch_size,
        shuffle=True,
        workers=1,
        shard=shard,
    )
    return [batch.images[:, 0, 0, 0].astype(int).tolist() for batch in pipeline.batches(**where)]


@given(
    samples=st.integers(1, 23),
    batch_size=st.integers(1, 7),
    processes=st.integers(1, 5),
    epoch=st.integers(0, 3),
    start=st.integers(0, 2),
)
def test_the_shards_of_a_batch_are_the_batch(
    samples: int, batch_size: int, processes: int, epoch: int, start: int
) -> None:
    where = {"epoch": epoch, "start": start}
    whole = numbers(samples, batch_size, (0, 1), **where)
    shards = [
        numbers(samples, batch_size, (index, processes), **where) for index in range(processes)
    ]
    assert all(len(shard) == len(whole) for shard in shards)
    for index, batch in enumerate(whole):
        parts = [shard[index] for shard in shards]
        assert [number for part in parts for number in part] == batch
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@given(samples=st.integers(1, 23), batch_size=st.integers(1, 7), group=st.integers(1, 4))
def test_images_are_counted_over_all_processes(samples: int, batch_size: int, group: int) -> None:
    pipeline = BatchPipeline([Numbered(0)] * samples, SIZE, batch_size, shard=(1, 2))  # type: ignore[list-item]
    batches = -(-samples // batch_size)
    counts = [pipeline.images_in(first, group) for first in range(0, batches, group)]
    assert sum(counts) == pipeline.image_count == samples
    assert all(count == batch_size * group for count in counts[:-1])


class OneOfTwo(Processes):
    """The first of two processes; the other one contributes a given array."""

    def __init__(self, other: NDArray[np.float64]) -> None:
        super().__init__(0, 2, 2)
        self.other = other

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values + self.other


class Recorder(OneOfTwo):
    """The first of two processes; the other one contributes the same values."""

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        self.other = values[::-1].copy()
        return values + self.other


def test_processes_of_one_run_agree() -> None:
    facts = {"settings": (1, 2), "images": {"train": 5}}
    check_agreement(Processes(), facts)
    check_agreement(Recorder(np.zeros(0)), facts)


def test_processes_of_different_runs_learn_what_differs() -> None:
    recorder = Recorder(np.zeros(0))
    check_agreement(recorder, {"settings": 1, "images": 2, "the network": 3})
    different = OneOfTwo(recorder.other)
    with pytest.raises(UsageError, match="images") as error:
        check_agreement(different, {"settings": 1, "images": 7, "the network": 3})
    assert "settings" not in str(error.value)
    assert "network" not in str(error.value)


def test_only_the_chief_writes(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", writes=False)
    with run.locked():
        run.begin(TrainConfig("tiny", "reference"), 0, [])
    run.log("text")
    run.append_step({"epoch": 1, "step": 1, "loss": "1"})
    run.write_history([])
    assert not run.path.exists()


@pytest.mark.parametrize("distribute", ["auto", "none"])
def test_a_device_that_does_not_distribute_trains_alone(distribute: str) -> None:
    assert SPEC.open(distribute=distribute).processes.count == 1


def test_a_distribution_that_is_not_offered_is_refused() -> None:
    with pytest.raises(UsageError, match="none"):
        SPEC.open(distribute="mirrored")
    offers = replace(SPEC, capabilities=Capabilities(distribution=("multiworker",)))
    with pytest.raises(UsageError, match="none or multiworker"):
        offers.open(distribute="mirrored")


class Recording(ReferenceDevice):
    """Record how it was opened."""

    def __init__(self, *given: object, distribute: str) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.distribute = distribute


@pytest.mark.parametrize("distribute", ["auto", "none", "multiworker"])
def test_a_device_that_distributes_receives_the_choice(
    monkeypatch: pytest.MonkeyPatch, distribute: str
) -> None:
    plugin = ModuleType("plugin_that_distributes")
    plugin.Recording = Recording  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    spec = replace(
        SPEC,
        capabilities=Capabilities(distribution=("multiworker",)),
        factory=f"{plugin.__name__}:Recording",
    )
    device = spec.open(distribute=distribute)
    assert isinstance(device, Recording)
    assert device.distribute == distribute
