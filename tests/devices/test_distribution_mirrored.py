"""Two devices of one machine train as one does: TensorFlow's logical processors stand for them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.slow

SCRIPT = """
import json
import numpy as np
from msinet_tensorflow.layers import tf
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)

from msinet_core.conformance.cases import narrow_network
from msinet_core.errors import UsageError
from msinet_core.network.loss import KLDivergence
from msinet_core.network.adam import Adam
from msinet_core.network.state import Batch
from msinet_cpu import SPEC

case = narrow_network(count=4)
# An uneven batch, a full one, one image for two devices, uneven batches accumulated, and again.
STEPS = [[(0, 3)], [(0, 4)], [(2, 3)], [(0, 3), (3, 4)], [(1, 4)], [(0, 4)]]


def train(distribute, half=False):
    device = SPEC.open(distribute=distribute)
    if half:
        device.precision = "float16"  # scales the loss; the processor still computes in float32
    model = device.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    losses = []
    for number, step in enumerate(STEPS[:3] if half else STEPS):
        if half and number == 1:
            model._scale.value.assign(3e38)
        batches = [Batch(*(part[first:last] for part in case.batch)) for first, last in step]
        losses.append(float(model.train_step(batches, 1e-3)))
    state = model.state()
    return {
        "replicas": device.processes.replicas,
        "losses": losses,
        "evaluated": np.asarray(model.eval_step(case.batch)).tolist(),
        "predicted": np.asarray(model.predict(case.images[:3])).tolist(),
        "step": state.optimizer.step,
        "weights": {name: value.ravel()[:8].tolist() for name, value in state.weights.items()},
        "scale": float(model._scale.value.numpy()) if half else None,
        "apart": apart(model),
    }


def apart(model):
    # The largest difference between two devices' copies of one weight.
    copies = [getattr(variable, "values", [variable]) for variable in model._weights.values()]
    return max(float(np.abs(each[0].numpy() - each[-1].numpy()).max()) for each in copies)


def refusal(action):
    try:
        action()
    except UsageError as error:
        return str(error)


def with_xla():
    device = SPEC.open(distribute="mirrored")
    device.jit_compile = True
    device.compile(case.graph, case.state)
"""


def run_script(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs() -> Any:
    return run_script(
        "runs = {'one': train('none'), 'auto': train('auto'), 'half': train('mirrored', True),\n"
        "        'half of one': train('none', True), 'xla': refusal(with_xla),\n"
        "        'devices': {size: SPEC.open(distribute='auto', batch_size=size)\n"
        "                    .processes.replicas for size in (1, 2, 8)}}\n"
        "print(json.dumps(runs))"
    )


def test_two_devices_are_found(runs: Any) -> None:
    assert [runs[name]["replicas"] for name in ("one", "auto", "half")] == [1, 2, 2]


def test_no_more_devices_are_chosen_than_a_batch_has_images(runs: Any) -> None:
    assert runs["devices"] == {"1": 1, "2": 2, "8": 2}


def test_losses_equal_those_of_one_device(runs: Any) -> None:
    assert runs["auto"]["losses"] == pytest.approx(runs["one"]["losses"], rel=1e-5)
    assert runs["one"]["losses"][-1] < runs["one"]["losses"][0]


def test_weights_equal_those_of_one_device_and_each_other(runs: Any) -> None:
    assert runs["auto"]["apart"] == 0
    assert runs["auto"]["step"] == runs["one"]["step"] == 6
    # The map is normalized: its last bias has no gradient but rounding, which Adam scales up.
    for name in runs["one"]["weights"].keys() - {"decoder/conv4/bias"}:
        values = [runs[run]["weights"][name] for run in ("auto", "one")]
        np.testing.assert_allclose(*values, atol=1e-4, err_msg=name)


def test_evaluation_and_prediction_keep_the_order_of_images(runs: Any) -> None:
    for kind, count in (("evaluated", 4), ("predicted", 3)):
        one, two = np.array(runs["one"][kind]), np.array(runs["auto"][kind])
        assert len(two) == count
        np.testing.assert_allclose(two, one, atol=1e-4)


def test_a_loss_scale_is_the_same_on_every_device(runs: Any) -> None:
    half, one = runs["half"], runs["half of one"]
    assert half["losses"] == pytest.approx(one["losses"], rel=1e-6)
    assert half["step"] == one["step"] < 3  # the overflow was skipped
    assert half["scale"] == one["scale"]
    assert half["apart"] == 0


def test_xla_is_refused_on_several_devices(runs: Any) -> None:
    assert "--distribute none" in runs["xla"]
