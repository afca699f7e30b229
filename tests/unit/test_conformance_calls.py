"""Random walks over a device: what they compare, how they are shortened, and their script."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from msinet_core.conformance.scenario import Subject
from msinet_core.conformance.scenarios import calls
from msinet_core.conformance.scenarios.calls import Call, run_calls, script, shorten
from msinet_core.conformance.walk import GRAPHS, DisagreementError, Walk
from msinet_core.device import Capabilities
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice
from tests.faults import FAULTS

SHAPE = (2, 8, 10)


def reference() -> Subject:
    return Subject(SPEC, SPEC.open())


def faulty(name: str) -> Subject:
    return next(fault for fault in FAULTS if fault.name == name).subject()


def authored(count: int = 300, **capabilities: bool) -> list[Call]:
    return calls._CallGenerator(7, Capabilities(**capabilities), trains=True).calls(count)


def test_the_reference_agrees_with_the_oracle_in_every_call() -> None:
    walk = Walk("reference")
    for name, graph in enumerate(GRAPHS):
        walk.compile(model=str(name), graph=graph, seed=name, loss="other", optimizer="other")
        walk.train(model=str(name), shapes=[SHAPE, (1, 6, 14)], seed=1, rate=0.01, later=2)
        walk.predict(model=str(name), shape=SHAPE, seed=3, later=4)
        walk.evaluate(model=str(name), shape=SHAPE, seed=5)
        walk.read(result=4)
        walk.read(result=2)
        walk.state(model=str(name))
        walk.restore(model="copy", source=str(name))
        walk.train(model="copy", shapes=[SHAPE], seed=6, rate=0.01)
        walk.drop(model=str(name))
    walk.finish()


def test_a_random_walk_makes_every_kind_of_call() -> None:
    methods = {call.method for call in authored()}
    assert methods == {
        *("compile", "restore", "drop", "predict", "evaluate", "train", "read", "state", "finish")
    }
    assert authored() == authored()


def shapes_by_model(written: list[Call]) -> Iterator[tuple[object, ...]]:
    life = 0
    for call in written:
        life += call.method in ("compile", "restore")
        for shape in [call.arguments.get("shape"), *call.arguments.get("shapes", ())]:
            if shape:
                yield life, call.arguments["model"], shape


def test_a_device_for_one_shape_gets_one_shape_for_each_model() -> None:
    class OneShape(ReferenceDevice):
        def build(self, program):
            model = super().build(program)
            shapes = set()
            forward, losses = model.forward, model.losses
            update = model.update
            model.forward = lambda images: (shapes.add(images.shape), forward(images))[1]
            model.losses = lambda batch: (shapes.add(batch.images.shape), losses(batch))[1]

            def checked(batches, rate):
                shapes.update(batch.images.shape for batch in batches)
                assert len(shapes) == 1
                return update(batches, rate)

            model.update = checked
            return model

    written = authored(dynamic_shapes=False)
    assert len({shape for _, _, shape in shapes_by_model(written)}) > 1
    assert run_calls(Subject(SPEC, OneShape(SPEC)), written) is None


def test_a_walk_is_shortened_to_the_calls_that_matter() -> None:
    left, outcome = shorten(faulty("Predictions use the weights of compile"), authored())
    assert [call.method for call in left] == ["compile", "train", "predict"]
    assert not outcome.passed


def test_the_script_of_a_failed_walk_repeats_it() -> None:
    subject = faulty("A loss that is read late is the latest one")
    left, outcome = shorten(subject, authored())
    code = script(subject, left)
    assert "later=" in code
    exec(code)  # of a correct device
    wrong = code.replace("Walk('reference', 'float32')", "Walk(subject)")
    with pytest.raises(DisagreementError, match=re.escape(outcome.reason)):
        exec(wrong, {"subject": subject})


def test_a_call_whose_model_or_result_was_removed_is_skipped() -> None:
    lost = [
        Call("predict", {"model": "a", "shape": SHAPE, "seed": 1}),
        Call("read", {"result": 1}),
        Call("restore", {"model": "b", "source": "a"}),
        Call("compile", {"model": "a", "graph": "plain", "seed": 1, "use": "predict"}),
        Call("train", {"model": "a", "shapes": [SHAPE], "seed": 1, "rate": 0.01}),
        Call("evaluate", {"model": "a", "shape": SHAPE, "seed": 1}),
        Call("finish", {}),
    ]
    assert run_calls(reference(), lost) is None


def test_an_exception_of_the_device_ends_the_walk_with_its_line() -> None:
    outcome = run_calls(faulty("A third model is refused"), authored())
    assert outcome is not None
    assert "RuntimeError: no free context" in outcome.reason
