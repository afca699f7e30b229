"""The doctor of `tpu`, which also works on machines without a TPU."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from msinet_core import (
    DEFAULT_IMAGE_SIZE,
    DeviceSpec,
    DeviceUnavailableError,
    Finding,
    hardware,
    ops,
    run_python,
)
from msinet_tensorflow.probe import framework_version
from msinet_tpu import STEPS_PER_EXECUTION
from msinet_tpu.largest_batch import next_batch

CHECK_REQUIRES = ("jax>=0.10.2", "libtpu>=0.0.51")
"""What ``pip install "msinet[tpu-check]"`` installs in addition to TensorFlow.

jax 0.6.2 cannot read HLO, and its libtpu does not support the topology of a single v5e chip.
"""

CHECK_INSTALL = 'pip install "msinet[tpu-check]"'
TOPOLOGIES = ("v5e:1x1", "v5e:2x2", "v5e:2x4", "v6e:1x1", "v6e:2x2", "v4:2x2x1", "v5p:2x2x1")
"""Names that libtpu supports, each with the chips of one host or fewer."""

COMPILES = 10
"""The limit on compilations for the largest batch; those that fit take minutes, others seconds."""

TIMEOUT = 3600.0
"""The seconds after which a compiler is stopped."""

GIB = 2**30


@dataclass(frozen=True)
class Subject:
    """The training step to compile.

    Args:
        topology: The TPU, for example ``"v5e:1x1"``.
        precision: The dtype of convolutions.
        batch: The first batch size to compile, for one device.
        size: Height and width of the images in pixels.
        width: Scales the network's channels.
        search: Whether to search for the largest batch, starting with `batch`.
        steps: The number of training steps in one execution.
    """

    topology: str
    precision: str
    batch: int = 8
    size: ops.Size = DEFAULT_IMAGE_SIZE
    width: float = 1.0
    search: bool = True
    steps: int = 1


@dataclass(frozen=True)
class Compiled:
    """The result of compiling the training step for one batch size.

    Args:
        batch: The number of images.
        fits: Whether the program fits in memory.
        needed: The required bytes of HBM; None if libtpu does not report them.
        memory: The available bytes of HBM; None if libtpu does not report them.
        facts: All values that libtpu reported.
    """

    batch: int
    fits: bool
    needed: int | None
    memory: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Report memory and cost of the training step on a TPU, compiled without one.

    Args:
        spec: The device.
        arguments: ``topology``, without which nothing is compiled, and optionally ``precision``,
            ``batch-size``, ``image-size`` (``HxW``), ``width`` and ``steps-per-execution``. With
            ``batch-size`` only that size is compiled; otherwise the largest one is searched for.

    Raises:
        UsageError: The device does not support the precision or an option.
    """
    topology = arguments.get("topology")
    if topology is None:
        yield Finding(
            "ahead-of-time compilation",
            "note",
            "To compile the training step for a TPU without having one, run: "
            "msinet-run --device tpu doctor --topology v5e:1x1 (add --batch-size 8 to compile only "
            "that size)",
        )
        return
    if not _libtpu_exists():
        detail = "libtpu is only available for Linux x86-64 with Python 3.11 or later."
        fix = f"On a Linux x86-64 machine: {CHECK_INSTALL}"
        yield Finding("ahead-of-time compilation", "problem", detail, fix)
        return
    missing = hardware.missing_requirements(CHECK_REQUIRES)
    if framework_version() is None:
        missing.append("TensorFlow is not installed.")
    if missing:
        yield Finding("ahead-of-time compilation", "problem", " ".join(missing), CHECK_INSTALL)
        return
    yield from _compile(_subject(spec, topology, arguments))


def _libtpu_exists() -> bool:
    here = sys.platform, platform.machine()
    return here == ("linux", "x86_64") and sys.version_info >= (3, 11)


def _subject(spec: DeviceSpec, topology: str, arguments: Mapping[str, str]) -> Subject:
    precision = spec.check_precision(arguments.get("precision", "auto"))
    height, width = arguments.get("image-size", "{}x{}".format(*Subject.size)).split("x")
    return Subject(
        topology,
        precision,
        batch=int(arguments.get("batch-size", Subject.batch)),
        size=(int(height), int(width)),
        width=float(arguments.get("width", Subject.width)),
        search="batch-size" not in arguments,
        steps=int(spec.options_in(arguments)[STEPS_PER_EXECUTION]),
    )


def _compile(subject: Subject) -> Iterator[Finding]:
    """Compile for several batch sizes, and yield each result as soon as it is known."""
    versions = ", ".join(
        f"{name} {hardware.distribution_version(name)}" for name in ("jax", "libtpu")
    )
    most = COMPILES if subject.search else 1
    yield Finding(
        "ahead-of-time compilation",
        "note",
        f"The training step of MSI-Net ({subject.size[0]}x{subject.size[1]}, "
        f"{subject.precision}, {subject.steps} in one execution) is compiled for one device of "
        f"{subject.topology} with {versions}, without running it. At most {most} batch sizes are "
        "tried; each that fits takes some minutes.",
    )
    done: list[Compiled] = []
    batch: int | None = subject.batch
    while batch is not None and len(done) < most:
        result = compile_batch(subject, batch)
        if isinstance(result, Finding):
            yield result
            return
        done.append(result)
        yield _batch_finding(result, subject.steps, requested=batch == subject.batch)
        batch = next_batch({item.batch: (item.fits, item.needed) for item in done}, result.memory)
    if subject.search:
        yield _largest(subject, done)


def compile_batch(subject: Subject, batch: int) -> Compiled | Finding:
    """Compile the training step for one batch size; return a finding if that is impossible.

    Args:
        subject: The training step.
        batch: The number of images.
    """
    parameters = asdict(subject)
    del parameters["topology"], parameters["search"]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "step.hlo"
        _run("write_program", [str(program), json.dumps(parameters | {"batch": batch})])
        facts = json.loads(_run("compile_program", [subject.topology, str(program)]))
    if "unknown_topology" in facts:
        return Finding(
            "topology",
            "problem",
            f"libtpu does not support the topology '{subject.topology}': "
            f"{facts['unknown_topology']}",
            f"Supported topologies include {', '.join(TOPOLOGIES)}.",
        )
    if "refused" in facts:
        return Finding(
            "compilation", "problem", f"libtpu could not compile the step: {facts['refused']}"
        )
    if "shortage" in facts:
        return Compiled(batch, False, facts["shortage"], facts["memory"], facts)
    parts = ("arguments", "results", "temporaries", "program")
    return Compiled(batch, True, sum(facts[part] for part in parts), facts["memory"], facts)


def _run(function: str, arguments: Sequence[str]) -> str:
    """Run a function of `ahead_of_time` in a separate process and return what it prints.

    Raises:
        DeviceUnavailableError: It failed; the message has the last line of its output.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    code = f"from msinet_tpu.ahead_of_time import {function}; {function}(sys.argv[1:])"
    done = run_python(code, *arguments, timeout=TIMEOUT, env=environment)
    if done.code is None:
        raise DeviceUnavailableError(f"{function} {done.how}. Try a smaller batch size.")
    if done.code:
        raise DeviceUnavailableError(
            f"{function} {done.how}: {done.last_line}. If tensorflow-tpu is installed, use a "
            f"virtual environment without it: {CHECK_INSTALL}"
        )
    return done.output


def _batch_finding(item: Compiled, steps: int, requested: bool) -> Finding:
    title, available = f"batch of {item.batch}", _gib(item.memory)
    data = {"batch": item.batch, "fits": item.fits, "hbm_needed": item.needed, **item.facts}
    if not item.fits:
        detail = f"Does not fit: needs {_gib(item.needed)} of HBM, {available} available."
        fix = "Use a smaller --batch-size with --accumulate." if requested else ""
        return Finding(title, "problem" if requested else "note", detail, fix, data)
    facts = item.facts
    detail = (
        f"Fits: needs {_gib(item.needed)} of HBM, {available} available (weights, moments and "
        f"inputs {_gib(facts['arguments'])}, temporaries {_gib(facts['temporaries'])}, program "
        f"{_gib(facts['program'])}). The compiler counts {facts['flops'] / 1e9:,.1f} GFLOP and "
        f"{_gib(facts['bytes_accessed'])} of memory traffic"
    )
    if seconds := facts["optimal_seconds"]:
        rate = steps * item.batch / seconds
        data["estimated_images_per_s"] = rate
        detail += f", and estimates at best {1000 * seconds:.1f} ms, {rate:,.0f} images/s"
    return Finding(title, "ok", f"{detail}. Compiled in {facts['seconds']:.0f} s.", data=data)


def _largest(subject: Subject, done: Sequence[Compiled]) -> Finding:
    fitting = max((item.batch for item in done if item.fits), default=0)
    failing = min((item.batch for item in done if not item.fits), default=None)
    data = {"largest_fitting": fitting, "smallest_failing": failing}
    if not fitting:
        detail = f"No tried batch size fits one device of {subject.topology}."
        return Finding("largest batch", "problem", detail, data=data)
    detail = f"A batch of {fitting} fits one device of {subject.topology}; "
    detail += f"a batch of {failing} does not." if failing else "larger ones were not tried."
    return Finding("largest batch", "ok", detail, data=data)


def _gib(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / GIB:.2f} GiB"
