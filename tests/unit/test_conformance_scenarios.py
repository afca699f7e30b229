"""The list of rows: ids, tolerances, selection, and what the op settings cover."""

from __future__ import annotations

import dataclasses
import re

import pytest

from msinet_core.conformance.checker import Checker
from msinet_core.conformance.scenario import Subject
from msinet_core.conformance.scenarios import ALL_SCENARIOS, SCENARIOS, select
from msinet_core.conformance.scenarios.forward import shape_hint
from msinet_core.conformance.scenarios.gradients import gradient_case
from msinet_core.conformance.scenarios.layers import SETTINGS
from msinet_core.conformance.tolerances import TOLERANCES, Tolerances
from msinet_core.device import PRECISIONS, Program
from msinet_core.errors import UsageError
from msinet_core.network import ops
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from tests.faults.page import REASONS


def test_ids_are_unique_and_descriptions_are_sentences():
    ids = [scenario.id for scenario in ALL_SCENARIOS]
    assert len(set(ids)) == len(ids)
    for scenario in ALL_SCENARIOS:
        assert re.fullmatch(r"[a-z]+/[a-z0-9-]+", scenario.id)
        assert re.fullmatch(r"[A-Z].+\.", scenario.description), scenario.description


def test_rows_are_selected_by_patterns():
    assert [row.id for row in select(["forward/concat", "loss/*"])] == [
        row.id for row in ALL_SCENARIOS if row.id == "forward/concat" or row.group == "loss"
    ]
    with pytest.raises(UsageError, match=r"'training/\*'"):
        select(["loss/*", "training/*"])


def test_prediction_rows_do_not_need_training():
    predicts = [row for row in SCENARIOS if "training" not in row.needs]
    assert {"forward", "network", "state"} <= {row.group for row in predicts}
    assert not {"gradient", "loss", "adam", "train"} & {row.group for row in predicts}
    assert "state/weights-come-back" in {row.id for row in predicts}


def test_every_op_is_checked_forward_and_backward():
    for setting in SETTINGS:
        assert {f"forward/{setting.id}", f"gradient/{setting.id}"} <= {s.id for s in SCENARIOS}
    used = {type(node.op) for setting in SETTINGS for node in gradient_case(setting).graph.nodes}
    assert used == set(ops.OPS.values())


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.id)
def test_gradients_are_compared_where_the_loss_is_smooth(setting):
    case = gradient_case(setting)
    maps = SPEC.open().compile(case.graph, case.state).predict(case.images)
    assert maps.min() > 0.5 * maps.mean()
    assert maps.std() > 0


def test_every_precision_has_tolerances_and_every_tolerance_a_reason():
    assert set(TOLERANCES) == set(PRECISIONS)
    names = [field.name for field in dataclasses.fields(Tolerances)]
    assert list(REASONS) == names
    for name in set(names) - {"bits", "seconds", "memory"}:
        exact, coarse = (getattr(TOLERANCES[key], name) for key in ("float32", "bfloat16"))
        assert 0 < exact <= coarse < 1
    assert {scenario.measure for scenario in ALL_SCENARIOS} == set(names)


def test_a_wrong_shape_is_explained_in_the_data_format_of_the_device():
    subject = Subject(dataclasses.replace(SPEC, data_format="NCHW"), None)
    hint = shape_hint(subject, (2, 10, 5, 7), (2, 7, 10, 5))
    assert "(2, 7, 10, 5) instead of (2, 5, 7, 10)" in hint
    assert "NCHW" in hint
    assert shape_hint(subject, (2, 7), (2, 7)) == ""
    assert shape_hint(Subject(SPEC, None), (2, 10, 5, 7), (2, 7, 10, 5)) == ""


class GrowsOnce(ReferenceDevice):
    """Keeps the models of the first measurement, as an allocator grows for reasons of its own."""

    def __init__(self, kept: int) -> None:
        super().__init__(SPEC)
        self._built: list[ReferenceModel] = []
        self._kept = kept

    def build(self, program: Program) -> ReferenceModel:
        model = super().build(program)
        if len(self._built) < self._kept:
            self._built.append(model)
        return model


@pytest.mark.parametrize(("kept", "passes"), [(11, True), (1000, False)])
def test_memory_may_grow_once(kept: int, passes: bool) -> None:
    (row,) = select(["memory/models"])
    device = GrowsOnce(kept)
    assert (Checker(Subject(SPEC, device)).result(row).status == "passed") is passes
