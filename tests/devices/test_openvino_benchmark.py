"""The benchmark compares networks that compute the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "openvino_prediction.py"


def test_the_benchmark_runs_and_its_networks_agree(tmp_path: Path) -> None:
    file = tmp_path / "seconds.json"
    narrow = ["--width", "0.0625", "--image-size", "16", "24", "--images", "3", "--batch-size", "2"]
    command = [sys.executable, SCRIPT, *narrow, "--rounds", "2", "--precision", "float32"]
    done = subprocess.run([*command, "--json", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds = json.loads(file.read_text(encoding="utf-8"))
    assert set(seconds) == {
        f"float32 {hint} {who}" for hint in ("latency", "throughput") for who in ("device", "bare")
    }
    assert all(len(values) == 2 for values in seconds.values())
