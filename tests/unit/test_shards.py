"""Several workers read together what one would read, and refuse to train different runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from msinet_core.data import BatchPipeline
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
    workers=st.integers(1, 5),
    epoch=st.integers(0, 3),
    start=st.integers(0, 2),
)
def test_the_shards_of_a_batch_are_the_batch(
    samples: int, batch_size: int, workers: int, epoch: int, start: int
) -> None:
    where = {"epoch": epoch, "start": start}
    whole = numbers(samples, batch_size, (0, 1), **where)
    shards = [numbers(samples, batch_size, (index, workers), **where) for index in range(workers)]
    assert all(len(shard) == len(whole) for shard in shards)
    for place, batch in enumerate(whole):
        parts = [shard[place] for shard in shards]
        assert [number for part in parts for number in part] == batch
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@given(samples=st.integers(1, 23), batch_size=st.integers(1, 7), group=st.integers(1, 4))
def test_images_are_counted_over_all_workers(samples: int, batch_size: int, group: int) -> None:
    pipeline = BatchPipeline([Numbered(0)] * samples, SIZE, batch_size, shard=(1, 2))  # type: ignore[list-item]
    counts = [pipeline.images_in(first, group) for first in range(0, len(pipeline), group)]
    assert sum(counts) == pipeline.image_count == samples
    assert all(count == batch_size * group for count in counts[:-1])


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_that_is_not_there_is_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=f"no shard {shard[0]} of {shard[1]}"):
        BatchPipeline([], SIZE, 1, shard=shard)


class OneOfTwo(Processes):
    """The first of two workers; the other one answers what it is told here."""

    def __init__(self, other: NDArray[np.float64]) -> None:
        super().__init__(0, 2, 2)
        self.other = other

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values + self.other


class Recorder(OneOfTwo):
    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        self.other = values[::-1].copy()
        return values + self.other


def test_workers_of_one_run_agree() -> None:
    facts = {"settings": (1, 2), "images": {"train": 5}}
    check_agreement(Processes(), facts)
    check_agreement(Recorder(np.zeros(0)), facts)


def test_workers_of_different_runs_are_told_what_differs() -> None:
    workers = Recorder(np.zeros(0))
    check_agreement(workers, {"settings": 1, "images": 2, "the network": 3})
    different = OneOfTwo(workers.other)
    with pytest.raises(UsageError, match=r"\bimages\b") as caught:
        check_agreement(different, {"settings": 1, "images": 7, "the network": 3})
    assert "--run" in str(caught.value)


def test_only_the_chief_writes(tmp_path: object) -> None:
    run = RunFolder(tmp_path / "run", writes=False)  # type: ignore[operator]
    run.log("text")
    run.keep_steps(0)
    run.append_step({"epoch": 1, "step": 1, "loss": "1"})
    run.write_history([])
    assert not run.path.exists()


def test_a_resumed_run_may_be_distributed_otherwise() -> None:
    config = TrainConfig(data="tiny", device="reference")
    assert config.distribute == "auto"
    assert config.resumed_with({"distribute": "none"}).distribute == "none"


@pytest.mark.parametrize("distribute", ["auto", "none"])
def test_a_device_that_does_not_distribute_is_not_asked_to(distribute: str) -> None:
    assert SPEC.open(distribute=distribute).processes.count == 1


def test_a_distribution_that_is_not_offered_is_refused() -> None:
    with pytest.raises(UsageError, match="--distribute none"):
        SPEC.open(distribute="mirrored")
    offers = replace(SPEC, capabilities=Capabilities(distribution=("multiworker",)))
    with pytest.raises(UsageError, match="--distribute none or multiworker"):
        offers.open(distribute="mirrored")


class Told(ReferenceDevice):
    """Remembers how it was opened."""

    def __init__(self, *given: object, distribute: str) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.distribute = distribute


@pytest.mark.parametrize("distribute", ["auto", "none", "multiworker"])
def test_a_device_that_distributes_is_told_how(
    monkeypatch: pytest.MonkeyPatch, distribute: str
) -> None:
    plugin = ModuleType("plugin_that_distributes")
    plugin.Told = Told  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    spec = replace(
        SPEC,
        capabilities=Capabilities(distribution=("multiworker",)),
        factory=f"{plugin.__name__}:Told",
    )
    device = spec.open(distribute=distribute)
    assert isinstance(device, Told)
    assert device.distribute == distribute
