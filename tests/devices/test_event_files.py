"""TensorFlow reads the event files that are written without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from msinet_core.training.loggers import EventFile


def test_tensorflow_reads_the_losses(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from msinet_tensorflow.loading import load_tensorflow

    iterate = load_tensorflow().compat.v1.train.summary_iterator
    file = EventFile(tmp_path, 3)
    for step, loss in ((4, "0.5"), (5, "0.25")):
        file.step({"step": step, "loss": loss, "images_per_s": "8"})
    file.close()
    (path,) = tmp_path.iterdir()
    version, start, *steps = iterate(str(path))
    assert version.file_version == "brain.Event:2"
    assert start.session_log.status == start.session_log.START
    assert start.step == 4
    told = [(event.step, event.summary.value[0].simple_value) for event in steps]
    assert told == [(4, 0.5), (5, 0.25)]
    assert steps[0].summary.value[0].tag == "train/loss"
    assert steps[0].wall_time > 1.7e9
