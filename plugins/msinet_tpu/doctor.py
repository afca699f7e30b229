"""The doctor of `tpu`, which also works on machines without a TPU."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msinet_core import (
    DEFAULT_IMAGE_SIZE,
    DeviceSpec,
    DeviceUnavailableError,
    Finding,
    UsageError,
    hardware,
    ops,
    python_command,
)
from msinet_tensorflow.probe import framework_version
from msinet_tpu import STEPS_PER_EXECUTION
from msinet_tpu.largest_batch import next_batch

CHECK_REQUIRES = ("jax>=0.10.2", "libtpu>=0.0.51")
"""What ``pip install "msinet[tpu-check]"`` installs in addition to TensorFlow.

jax 0.6.2 has no way to read HLO, and its libtpu does not know the topology of a single v5e chip.
"""

CHECK_INSTALL = 'pip install "msinet[tpu-check]"'
TOPOLOGIES = ("v5e:1x1", "v5e:2x2", "v5e:2x4", "v6e:1x1", "v6e:2x2", "v4:2x2x1", "v5p:2x2x1")
"""Names that libtpu was seen to know; the chips of one host, or of a part of it."""

COMPILES = 10
"""The most programs to find the largest batch with; those that fit take minutes, others seconds."""

TIMEOUT = 3600.0
"""Seconds after which a compiler counts as hanging."""

GIB = 2**30

Value = TypeVar("Value")


@dataclass(frozen=True)
class Subject:
    """What is compiled.

    Args:
        topology: The TPU, for example ``"v5e:1x1"``.
        precision: The dtype of convolutions.
        batch: The batch that is compiled first, for one device.
        size: Height and width of the images in pixels.
        width: Scales the network's channels.
        search: Whether the largest batch is looked for, beginning with `batch`.
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
    """What libtpu said about the training step with one batch size.

    Args:
        batch: The number of images.
        fits: Whether the program fits into the memory.
        needed: Bytes of HBM; None where libtpu does not tell.
        memory: Bytes of HBM that are there; None where libtpu does not tell.
        facts: All that it said.
    """

    batch: int
    fits: bool
    needed: int | None
    memory: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what can be shown about the device without a TPU.

    Args:
        spec: The device.
        arguments: ``topology``, without which nothing is compiled; ``precision``, ``batch-size``,
            ``image-size`` (``HxW``), ``width`` and ``steps-per-execution`` where others than the
            defaults are wanted. With a ``batch-size`` only that one is compiled; otherwise the
            largest is looked for.

    Raises:
        UsageError: An argument cannot be used.
    """
    yield Finding(
        "proven so far",
        "note",
        "This device has not been run on a TPU. Its steps were compiled with XLA on a CPU and "
        "compared with the reference, and compiled for TPUs without being executed.",
    )
    topology = arguments.get("topology")
    if topology is None:
        yield Finding(
            "ahead-of-time compilation",
            "note",
            "The training step can be compiled for a TPU without having one: "
            "msinet-run --device tpu doctor --topology v5e:1x1 (--batch-size 8: that one only)",
        )
        return
    if not _libtpu_exists():
        detail = "libtpu is only available for Linux x86-64 with Python 3.11 or later."
        yield Finding("ahead-of-time compilation", "problem", detail, "Use such a machine.")
        return
    lacking = hardware.missing_requirements(CHECK_REQUIRES)
    if framework_version() is None:
        lacking.append("TensorFlow is not installed.")
    if lacking:
        yield Finding("ahead-of-time compilation", "problem", " ".join(lacking), CHECK_INSTALL)
        return
    yield from _compile(_subject(spec, topology, arguments))


def _libtpu_exists() -> bool:
    here = sys.platform, platform.machine()
    return here == ("linux", "x86_64") and sys.version_info >= (3, 11)


def _subject(spec: DeviceSpec, topology: str, arguments: Mapping[str, str]) -> Subject:
    precision = spec.check_precision(arguments.get("precision", "auto"))
    given = {item.name: arguments[item.name] for item in spec.options if item.name in arguments}
    return Subject(
        topology,
        precision,
        batch=_parsed(arguments, "batch-size", _positive, Subject.batch),
        size=_parsed(arguments, "image-size", _size, Subject.size),
        width=_parsed(arguments, "width", float, Subject.width),
        search="batch-size" not in arguments,
        steps=int(spec.check_options(given)[STEPS_PER_EXECUTION]),
    )


def _parsed(
    arguments: Mapping[str, str], name: str, parse: Callable[[str], Value], default: Value
) -> Value:
    if name not in arguments:
        return default
    try:
        return parse(arguments[name])
    except ValueError as error:
        raise UsageError(f"invalid {name}: {arguments[name]}") from error


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _size(text: str) -> ops.Size:
    height, width = map(_positive, text.split("x"))
    return height, width


def _compile(subject: Subject) -> Iterator[Finding]:
    """Compile for several batch sizes, and tell each result as soon as it is there."""
    versions = ", ".join(
        f"{name} {hardware.distribution_version(name)}" for name in ("jax", "libtpu")
    )
    most = COMPILES if subject.search else 1
    yield Finding(
        "ahead-of-time compilation",
        "note",
        f"The training step of MSI-Net ({subject.size[0]}x{subject.size[1]}, "
        f"{subject.precision}, {subject.steps} in one execution) is compiled for one device of "
        f"{subject.topology} with {versions}; nothing is executed. Batch sizes to try: at most "
        f"{most}; each that fits takes some minutes.",
    )
    done: list[Compiled] = []
    batch: int | None = subject.batch
    while batch is not None and len(done) < most:
        answer = compile_batch(subject, batch)
        if isinstance(answer, Finding):
            yield answer
            return
        done.append(answer)
        yield _told(answer, asked=batch == subject.batch)
        batch = next_batch({item.batch: (item.fits, item.needed) for item in done}, answer.memory)
    if subject.search:
        yield _largest(subject, done)


def compile_batch(subject: Subject, batch: int) -> Compiled | Finding:
    """Compile the training step for one batch size; a finding where that is not possible.

    Args:
        subject: What is compiled.
        batch: The number of images.
    """
    parameters = asdict(subject)
    del parameters["topology"], parameters["search"]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "step.hlo"
        _run("msinet_tpu.lowering", [str(program), json.dumps(parameters | {"batch": batch})])
        facts = json.loads(_run("msinet_tpu.ahead_of_time", [subject.topology, str(program)]))
    if "unknown_topology" in facts:
        return Finding(
            "topology",
            "problem",
            f"libtpu knows no topology '{subject.topology}': {facts['unknown_topology']}",
            f"Names that are known to work: {', '.join(TOPOLOGIES)}.",
        )
    if "refused" in facts:
        return Finding("compilation", "problem", f"libtpu refused the step: {facts['refused']}")
    if "shortage" in facts:
        return Compiled(batch, False, facts["shortage"], facts["memory"], facts)
    parts = ("arguments", "results", "temporaries", "program")
    return Compiled(batch, True, sum(facts[part] for part in parts), facts["memory"], facts)


def _run(module: str, arguments: Sequence[str]) -> str:
    """Run a module in a process of its own: a TensorFlow for another libtpu aborts beside it.

    Raises:
        DeviceUnavailableError: It failed; tells the last line that it wrote.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        done = subprocess.run(
            python_command(f"from {module} import main; main(sys.argv[1:])", *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceUnavailableError(
            f"{module} did not finish within {TIMEOUT:.0f} s. Try a smaller batch size."
        ) from error
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise DeviceUnavailableError(
            f"{module} ended with exit code {done.returncode}: {last}. If tensorflow-tpu is "
            f"installed here, use a virtual environment without it: {CHECK_INSTALL}"
        )
    return done.stdout


def _told(item: Compiled, asked: bool) -> Finding:
    title, there = f"batch of {item.batch}", _gib(item.memory)
    data = {"batch": item.batch, "fits": item.fits, "hbm_needed": item.needed, **item.facts}
    if not item.fits:
        detail = f"It does not fit: it needs {_gib(item.needed)} of HBM, and there are {there}."
        fix = "Train with a smaller --batch-size, and --accumulate." if asked else ""
        return Finding(title, "problem" if asked else "note", detail, fix, data)
    facts = item.facts
    detail = (
        f"It fits: {_gib(item.needed)} of HBM needed, {there} there (weights, moments and inputs "
        f"{_gib(facts['arguments'])}, temporaries {_gib(facts['temporaries'])}, program "
        f"{_gib(facts['program'])}). A step takes {facts['flops'] / 1e9:,.1f} GFLOP. "
        f"Compiled in {facts['seconds']:.0f} s."
    )
    return Finding(title, "ok", detail, data=data)


def _largest(subject: Subject, done: Sequence[Compiled]) -> Finding:
    fitting = max((item.batch for item in done if item.fits), default=0)
    failing = min((item.batch for item in done if not item.fits), default=None)
    data = {"largest_fitting": fitting, "smallest_failing": failing}
    if not fitting:
        detail = f"No batch that was tried fits one device of {subject.topology}."
        return Finding("largest batch", "problem", detail, data=data)
    detail = f"A batch of {fitting} fits one device of {subject.topology}"
    detail += f", one of {failing} does not." if failing else "; none was found that does not."
    return Finding("largest batch", "ok", detail, data=data)


def _gib(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / GIB:.2f} GiB"
