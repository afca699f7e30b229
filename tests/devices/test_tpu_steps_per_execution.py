"""Several training steps in one execution, compiled with XLA on the processor; no TPU is here."""

from __future__ import annotations

import csv
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core.conformance.cases import Case, narrow_network
from msinet_core.device import DeviceSpec
from msinet_core.errors import InterruptedRunError, MsinetError, UsageError
from msinet_core.hardware.host import missing_requirements
from msinet_core.network.adam import Adam
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D, MinMaxNormalize
from msinet_core.network.state import Batch, State
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.training.config import TrainConfig
from msinet_core.training.run_folder import RunFolder
from msinet_core.training.start import start_training as train
from msinet_tpu import SPEC, STEPS_PER_EXECUTION
from msinet_tpu.doctor import CHECK_REQUIRES, Compiled, Subject, compile_batch

tf = pytest.importorskip("tensorflow")

RATES = (1e-3, 1e-3, 5e-4, 1e-3, 2e-3, 1e-3)
ON_THE_PROCESSOR = replace(SPEC, factory="msinet_tpu.device:XlaDevice")
"""The device `tpu`, with its graphs where XLA compiles them."""


@pytest.fixture(scope="module")
def case() -> Case:
    """Two convolutions, which XLA compiles in a second; the last is linear, so maps cross zero."""
    net = GraphBuilder(3)
    features = net.add("first", Conv2D(4), net.input)
    saliency = net.add("second", Conv2D(1, activation="linear"), features)
    net.add("map", MinMaxNormalize(), saliency)
    return Case(net.build(), (3, 16, 24), fixed={"second/bias": 0.1})


def compiled(case: Case, steps: int, state: State | None = None) -> Any:
    device = ON_THE_PROCESSOR.open("float32", {STEPS_PER_EXECUTION: str(steps)})
    return device.compile(case.graph, state or case.state, loss=KLDivergence(), optimizer=Adam())


def batches(case: Case) -> list[Batch]:
    """Six batches of two images and of one, which is filled up."""
    places = [slice(0, 2), slice(1, 3), slice(0, 1), slice(1, 3), slice(2, 3), slice(0, 2)]
    return [Batch(*(part[place] for part in case.batch)) for place in places]


def asked(model: Any, given: Sequence[Batch]) -> list[Any]:
    return [model.train_step([batch], rate) for batch, rate in zip(given, RATES, strict=False)]


def counted(model: Any) -> list[int]:
    """Record how many steps each execution makes."""
    counts: list[int] = []
    program = model._compiled_loop

    def execute(*arguments: Any) -> Any:
        counts.append(int(arguments[-1]))
        return program(*arguments)

    model._compiled_loop = execute
    return counts


def assert_same_bits(one: State, other: State) -> None:
    assert one.optimizer is not None and other.optimizer is not None
    assert one.optimizer.step == other.optimizer.step
    pairs = (
        (one.weights, other.weights),
        (one.optimizer.m, other.optimizer.m),
        (one.optimizer.v, other.optimizer.v),
    )
    for first, second in pairs:
        for name, tensor in first.items():
            np.testing.assert_array_equal(tensor, second[name], err_msg=name)


# --- what it computes ----------------------------------------------------------------------------


def test_steps_in_one_execution_are_single_steps(case: Case) -> None:
    losses = [float(loss) for loss in asked(compiled(case, 4), batches(case))]
    single = [float(loss) for loss in asked(compiled(case, 1), batches(case))]
    np.testing.assert_allclose(losses, single, rtol=1e-6)


@pytest.mark.slow
def test_steps_in_one_execution_are_the_references_steps() -> None:
    case = narrow_network(count=3)
    oracle = REFERENCE.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    expected = [float(loss) for loss in asked(oracle, batches(case))]
    model = compiled(case, 4)
    program, counts = model._compiled_loop, counted(model)
    lazy = asked(model, batches(case))
    assert counts == [4]
    losses = [float(loss) for loss in lazy]
    assert counts == [4, 2]
    assert program.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    state, wanted = model.state(), oracle.state()
    assert state.optimizer is not None
    assert state.optimizer.step == len(RATES)
    for name, weight in wanted.weights.items():
        np.testing.assert_allclose(state.weights[name], weight, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_how_steps_are_grouped_does_not_change_a_bit(case: Case) -> None:
    """Also when they go on from a state that was saved between two of one group."""
    whole = compiled(case, 2)
    losses = [float(loss) for loss in asked(whole, batches(case))]
    parts = compiled(case, 2)
    first = [float(loss) for loss in asked(parts, batches(case)[:3])]
    resumed = compiled(case, 2, parts.state())
    others = [
        float(resumed.train_step([batch], rate))  # one by one
        for batch, rate in zip(batches(case)[3:], RATES[3:], strict=True)
    ]
    assert first + others == losses
    assert_same_bits(resumed.state(), whole.state())


def test_one_core_runs_them_by_its_strategy(case: Case) -> None:
    """By ``strategy.run``, as a TPU does; that of several processors forbids a loop in it."""
    from msinet_tpu.device import TpuDevice, TpuDistribution

    class OneProcessor(TpuDevice):
        def make_distribution(self, distribute: str) -> TpuDistribution:
            return TpuDistribution(tf.distribute.OneDeviceStrategy("CPU:0"))

    device = OneProcessor(SPEC, "float32", {STEPS_PER_EXECUTION: "4"})
    model = device.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    oracle = REFERENCE.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    expected = [float(loss) for loss in asked(oracle, batches(case)[:3])]
    losses = [float(loss) for loss in asked(model, batches(case)[:3])]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


# --- when it computes, with the program pretended ------------------------------------------------


class Pretended:
    """In the program's place: gives each step a loss of its own.

    Attributes:
        counts: How many steps each execution made.
        shapes: Of its images.
    """

    def __init__(self, model: Any) -> None:
        self.counts: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.rates: list[np.float32] = []
        self.fails = False
        model._compiled_loop = self

    def __call__(self, images: Any, maps: Any, weights: Any, rates: Any, count: Any) -> Any:
        if self.fails:
            raise RuntimeError("the chip is asleep")
        before = sum(self.counts)
        self.counts.append(int(count))
        self.shapes.append(tuple(images.shape))
        self.rates += list(rates[: int(count)])
        return tf.range(before, before + len(rates), dtype=tf.float32)


@pytest.fixture
def model(case: Case) -> Any:
    return compiled(case, 4)


@pytest.fixture
def program(model: Any) -> Pretended:
    return Pretended(model)


def test_executions_hold_the_requested_number_of_steps(
    model: Any, program: Pretended, case: Case
) -> None:
    lazy = [model.train_step([batches(case)[0]], 1e-3) for _ in range(9)]
    assert program.counts == [4, 4]
    assert [float(loss) for loss in lazy] == list(range(9))
    assert program.counts == [4, 4, 1]
    assert set(program.shapes) == {(2, 4, 16, 24, 3)}
    assert model.unread_losses == 7


def test_each_step_has_its_own_rate_and_correction(
    model: Any, program: Pretended, case: Case
) -> None:
    asked(model, batches(case)[:4])
    adam = Adam()
    wanted = [
        rate * np.sqrt(1 - adam.beta_2**step) / (1 - adam.beta_1**step)
        for step, rate in enumerate(RATES[:4], 1)
    ]
    np.testing.assert_allclose(program.rates, wanted, rtol=1e-6)


def test_whatever_sees_results_runs_the_steps_that_wait(
    model: Any, program: Pretended, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_compiled_predict", "_compiled_losses"):
        monkeypatch.setattr(model, name, lambda images, *others: tf.zeros(len(images)))
    batch = batches(case)[0]
    for look in (
        model.state,
        lambda: model.predict(batch.images),
        lambda: model.eval_step(batch),
        lambda: float(model.train_step([batch], 1e-3)),
    ):
        executions = len(program.counts)
        model.train_step([batch], 1e-3)
        assert len(program.counts) == executions
        look()
        assert len(program.counts) == executions + 1
        look = model.state  # nothing waits any more
        look()
        assert len(program.counts) == executions + 1
    assert program.counts == [1, 1, 1, 2]


def test_another_image_size_begins_another_execution(
    model: Any, program: Pretended, case: Case
) -> None:
    batch = batches(case)[0]
    smaller = Batch(batch.images[:, :8], batch.maps[:, :8])
    lazy = [model.train_step([one], 1e-3) for one in (batch, batch, smaller)]
    assert program.counts == [2]
    assert [float(loss) for loss in lazy] == [0, 1, 2]
    assert program.shapes == [(2, 4, 16, 24, 3), (2, 4, 8, 24, 3)]


def test_a_step_over_several_batches_is_an_execution_of_its_own(
    model: Any, program: Pretended, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[list[int]] = []

    def accumulate(*arguments: Any) -> Any:
        before.append(list(program.counts))
        return tf.constant(0.25)

    monkeypatch.setattr(model, "_compiled_accumulate", accumulate)
    monkeypatch.setattr(model, "_compiled_finish", lambda rate: None)
    first, second = batches(case)[:2]
    waiting = model.train_step([first], 1e-3)
    assert float(model.train_step([first, second], 1e-3)) == 0.5
    assert before == [[1], [1]]
    assert float(waiting) == 0
    assert model.state().optimizer.step == 2


def test_batches_are_released_when_they_were_run(
    model: Any, program: Pretended, case: Case
) -> None:
    images = case.images.copy()
    reference = weakref.ref(images)
    loss = model.train_step([Batch(images, case.batch.maps)], 1e-3)
    del images
    assert reference() is not None
    model.state()
    assert reference() is None
    assert float(loss) == 0


def test_losses_of_a_failed_program_cannot_be_read(
    model: Any, program: Pretended, case: Case
) -> None:
    program.fails = True
    lazy = asked(model, batches(case)[:2])
    with pytest.raises(RuntimeError, match="asleep"):
        float(lazy[0])
    for loss in lazy:
        with pytest.raises(MsinetError, match="failed"):
            float(loss)


def test_one_step_per_execution_is_the_plain_step(case: Case) -> None:
    model = compiled(case, 1)
    program = Pretended(model)
    model._compiled_train = lambda *arguments: tf.constant(0.5)
    assert SPEC.check_options({})[STEPS_PER_EXECUTION] == "1"
    assert model.unread_losses == 1
    assert float(model.train_step([batches(case)[0]], 1e-3)) == 0.5
    assert program.counts == []


def test_other_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'steps-per-execution'.*'3'"):
        SPEC.check_options({STEPS_PER_EXECUTION: "3"})


# --- whole runs ----------------------------------------------------------------------------------


def losses(folder: Path) -> list[str]:
    with (folder / "steps.csv").open(newline="") as stream:
        return [row["loss"] for row in csv.DictReader(stream)]


def run_training(
    data: Path, folder: Path, spec: DeviceSpec, options: dict[str, str], **how: Any
) -> list[str]:
    """Train on five images for one epoch."""
    config = TrainConfig(
        data=str(data),
        device=spec.name,
        device_options=options,
        precision="float32",
        width=1 / 32,
        init="random",
        image_size=(16, 24),
        learning_rate=1e-3,
        epochs=1,
    )
    train(config, RunFolder(folder), spec, **how)
    return losses(folder)


@pytest.mark.slow
def test_a_run_that_was_interrupted_inside_an_execution_continues(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after three steps, where executions make two; then the other two are made."""
    from msinet_tpu.model import TpuModel

    expected = run_training(tiny_data, tmp_path / "reference", REFERENCE, {})
    flag = InterruptFlag()
    made: list[int] = []
    train_step = TpuModel.train_step

    def interrupt(self: TpuModel, *arguments: Any) -> Any:
        made.append(1)
        if len(made) == 3:
            flag.set()
        return train_step(self, *arguments)

    monkeypatch.setattr(TpuModel, "train_step", interrupt)
    folder, two = tmp_path / "parts", {STEPS_PER_EXECUTION: "2"}
    with pytest.raises(InterruptedRunError, match="step 3"):
        run_training(tiny_data, folder, ON_THE_PROCESSOR, two, interrupt=flag)
    assert len(losses(folder)) == 3
    found = run_training(tiny_data, folder, ON_THE_PROCESSOR, two, resume=True)
    np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-4)


# --- ahead of time -------------------------------------------------------------------------------


@pytest.mark.skipif(bool(missing_requirements(CHECK_REQUIRES)), reason="needs jax and libtpu")
def test_libtpu_compiles_the_loop_of_narrow_steps() -> None:
    single, four = (
        compile_batch(Subject("v5e:1x1", "bfloat16", 1, (16, 16), 1 / 16, steps=steps), 1)
        for steps in (1, 4)
    )
    assert isinstance(single, Compiled) and isinstance(four, Compiled), (single, four)
    assert four.fits
    # The body is compiled once, and weights are not copied for the loop.
    assert four.facts["program"] < 1.5 * single.facts["program"]
    assert four.facts["temporaries"] < 1.5 * single.facts["temporaries"]
