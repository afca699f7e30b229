"""metal's steps hold nothing that tensorflow-metal would replace by a fused op of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.network.msinet import msinet_graph
from msinet_metal_nhwc import SPEC
from msinet_metal_nhwc.doctor import examine, trace
from msinet_metal_nhwc.fusion import examine_fusion, fusible

tf = pytest.importorskip("tensorflow")

from msinet_metal_nhwc.layers import MetalLayers  # noqa: E402  -- imports TensorFlow

NARROW = 1 / 16
CONVOLUTIONS = 23


def test_the_form_of_other_devices_would_be_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        MetalLayers, "add_bias", lambda _, features, bias: tf.nn.bias_add(features, bias)
    )
    steps = trace(SPEC, "float32", msinet_graph(NARROW))
    monkeypatch.setattr("msinet_metal_nhwc.doctor.trace", lambda *_: steps)
    found = fusible(steps)
    assert len([name for name in found if name.startswith("train: ")]) == CONVOLUTIONS
    finding = {item.title: item for item in examine(SPEC, {})}["fusion"]
    assert finding.status == "problem"
    assert "train: " in finding.detail


def test_both_forms_are_compared_with_the_processor() -> None:
    finding = examine_fusion("/CPU:0")
    assert finding.status == "ok", finding.detail
    assert set(finding.data) == {"fusible", "separate"}


def test_a_comparison_that_cannot_run_is_a_problem() -> None:
    finding = examine_fusion("/GPU:7")
    assert finding.status == "problem"
    assert "GPU:7" in finding.detail


@pytest.mark.parametrize("chosen", [None, "0"])
def test_the_rewriter_is_disabled_before_the_import(
    chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TURN_OFF_REMAPPER", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TURN_OFF_REMAPPER", chosen)
    fake = "import os\nprint(os.environ['TURN_OFF_REMAPPER'])\n"
    (tmp_path / "tensorflow.py").write_text(fake)
    code = "from msinet_tensorflow.loading import load_tensorflow; load_tensorflow()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [chosen or "1"]
