"""Rows about the device's description and its probe, examined in a fresh process."""

from __future__ import annotations

import json
import pickle
import sys
import weakref
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from msinet_core.conformance.comparison import Outcome
from msinet_core.conformance.scenario import NotApplicable, Rows, Subject
from msinet_core.conformance.scenarios.fresh_process import STAGES
from msinet_core.conformance.tolerances import TOLERANCES
from msinet_core.device import DeviceSpec
from msinet_core.errors import PluginError
from msinet_core.hardware.host import parse_requirements
from msinet_core.registry.plugin import spec_problems
from msinet_core.registry.registry import load_registry
from msinet_core.system.child_process import run_python

FRAMEWORKS = (
    *("tensorflow", "keras", "torch", "torchvision", "jax", "jaxlib", "mlx", "openvino"),
    *("onnx", "onnxruntime", "cupy", "paddle", "mindspore", "tvm", "tinygrad", "tensorrt"),
    *("scipy", "PIL", "matplotlib", "pandas", "sklearn", "cv2", "h5py", "rich"),
)
"""Packages that a light module must not import, besides those that the device requires."""

LIGHT = ("msinet", "numpy", "click", "pluggy", "packaging")
"""Distributions that a device may require and its light module may import."""

TIMEOUT = 120.0
"""Seconds for the fresh process."""

ROWS = Rows()


@ROWS.row("description/valid", "bits")
def _is_valid(subject: Subject) -> Outcome:
    """The device's description can be registered."""
    problems = spec_problems(subject.spec) or parse_requirements(subject.spec.requires)[1]
    return Outcome(len(problems), 0.0, "; ".join(problems))


_findings: weakref.WeakKeyDictionary[Subject, Mapping[str, Any]] = weakref.WeakKeyDictionary()


def finding(subject: Subject, key: str) -> Any:
    """Return something that the fresh process found; it runs once for each subject.

    Args:
        subject: The device.
        key: A key of what `fresh_process.examine` returns.

    Raises:
        PluginError: The light module, the probe or opening ended or blocked the process, or the
            description cannot be pickled.
    """
    if subject not in _findings:
        _findings[subject] = _examine(subject.spec)
    found = _findings[subject]
    if key not in found:
        raise PluginError(found["failure"])
    return found[key]


def _examine(spec: DeviceSpec) -> Mapping[str, Any]:
    try:
        pickled: str | None = pickle.dumps(spec).hex()
    except (pickle.PicklingError, AttributeError, TypeError):
        pickled = None  # the probe is a lambda, for example
    request = {
        "path": sys.path,
        "modules": _light_modules(spec),
        "spec": pickled,
        "hidden": sorted(required_packages(spec)),
    }
    done = run_python(
        "from msinet_core.conformance.scenarios.fresh_process import main; main()",
        timeout=TIMEOUT,
        text=json.dumps(request),
    )
    found: dict[str, Any] = {}
    for document in done.documents:
        found |= document
    if done.code != 0:
        last = f": {done.last_line}" if done.errors else "."
        stage = next((text for key, text in STAGES.items() if key not in found), "its end")
        found["failure"] = f"In a fresh process, {stage} {done.how}{last}"
    elif pickled is None:
        found["failure"] = (
            "The device's description cannot be pickled. Define its probe at the top level of a "
            "module."
        )
    return found


def _light_modules(spec: DeviceSpec) -> list[str]:
    """List the modules that define the probe and register the device."""
    registered = [
        registration.plugin.module.partition(":")[0]
        for registration in load_registry().registrations
        if registration.spec.name == spec.name and registration.spec.factory == spec.factory
    ]
    defined = getattr(spec.probe, "__module__", None)
    return sorted({*registered, *([defined] if defined else [])} - {"__main__"})


def required_packages(spec: DeviceSpec) -> set[str]:
    """Return the top-level packages of the distributions that a device requires.

    Args:
        spec: The device.
    """
    from packaging.utils import canonicalize_name

    required = {
        canonicalize_name(requirement.name) for requirement in parse_requirements(spec.requires)[0]
    } - set(LIGHT)
    installed = {
        package
        for package, distributions in metadata.packages_distributions().items()
        if required & {canonicalize_name(name) for name in distributions}
    }
    return installed | {name.replace("-", "_") for name in required}


def imported_frameworks(subject: Subject, key: str) -> list[str]:
    """List the frameworks that the fresh process imported.

    Args:
        subject: The device.
        key: ``"imported"`` with the light module, or ``"probed"`` after the probe.
    """
    heavy = set(FRAMEWORKS) | required_packages(subject.spec)
    return sorted(set(finding(subject, key)) & heavy)


def _no_framework(subject: Subject, heavy: Sequence[str], hint: str) -> Outcome:
    """Fail for each imported framework, and name the module and line that imports it."""
    if not heavy:
        return Outcome(0.0, 0.0)
    importers = finding(subject, "importers")
    known = [(importers[name], name) for name in heavy if name in importers]
    own = [(by, name) for by, name in known if by["package"] not in heavy] or known
    lines = [f"{by['location']}, imports {name}" for by, name in own]
    return Outcome(len(heavy), 0.0, f"{'; '.join(lines) or ', '.join(heavy)}. {hint}")


@ROWS.row("description/imports", "bits")
def _light_module(subject: Subject) -> Outcome:
    """Importing the plugin's light module imports no framework."""
    return _no_framework(
        subject,
        imported_frameworks(subject, "imported"),
        "Every command imports the light module. Import the framework in the function that needs "
        "it, or in the module of the factory, which is imported when the device opens.",
    )


@ROWS.row("description/probe-imports", "bits")
def _probe_imports(subject: Subject) -> Outcome:
    """The probe imports no framework."""
    before = imported_frameworks(subject, "imported")
    heavy = [name for name in imported_frameworks(subject, "probed") if name not in before]
    if before and not heavy:
        raise NotApplicable("the light module imports a framework; see description/imports")
    return _no_framework(
        subject,
        heavy,
        "Look for it with importlib.util.find_spec, and read its version with "
        "importlib.metadata.version.",
    )


@ROWS.row("description/probe-result", "bits")
def _probe_result(subject: Subject) -> Outcome:
    """The probe never raises; for an unavailable device it returns a reason and a fix."""
    calls = zip(("", " with an empty PATH"), finding(subject, "problems"), strict=True)
    problems = [f"Called{where}, {problem}." for where, problem in calls if problem]
    return Outcome(len(problems), 0.0, " ".join(problems))


@ROWS.row("description/probe-time", "seconds")
def _probe_is_quick(subject: Subject) -> Outcome:
    """The probe takes less than two seconds."""
    seconds = float(finding(subject, "seconds"))
    return Outcome(seconds, TOLERANCES["float32"].seconds, f"The probe takes {seconds:.1f} s.")
