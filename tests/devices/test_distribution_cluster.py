"""Which devices and processes TensorFlow's variables and ``--distribute`` stand for."""

from __future__ import annotations

import json

import pytest

from msinet_core.errors import UsageError
from msinet_cpu import SPEC

pytest.importorskip("tensorflow")


def test_one_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--distribute mirrored .*'cpu'"):
        SPEC.open(distribute="mirrored")


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        (None, "not set"),
        ("{", "line 1 column 2"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "worker 1"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "ps 0"),
        ('{"task": {"type": "worker", "index": 0}}', "'cluster'"),
    ],
)
def test_an_invalid_cluster_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, reason: str
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if variable is not None:
        monkeypatch.setenv("TF_CONFIG", variable)
    with pytest.raises(UsageError, match=f"TF_CONFIG.*{reason}"):
        SPEC.open(distribute="multiworker")


@pytest.mark.parametrize(
    ("kind", "index", "position"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)]
)
def test_a_chief_comes_before_the_workers(
    monkeypatch: pytest.MonkeyPatch, kind: str, index: int, position: int
) -> None:
    from msinet_tensorflow.distribution import cluster

    named = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    document = {"cluster": named, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(document))
    assert cluster() == (position, 3)


def test_a_cluster_of_one_is_not_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(document))
    assert SPEC.open(distribute="auto").processes.count == 1
