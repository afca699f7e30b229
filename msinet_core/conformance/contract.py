"""Scenarios of the door: the description, the light module, the probe, and opening."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from msinet_core.conformance.cases import narrow_network
from msinet_core.conformance.gradients import same_gradients
from msinet_core.conformance.scenario import (
    Check,
    NotApplicable,
    Outcome,
    Scenario,
    Subject,
    compare,
)
from msinet_core.conformance.tolerances import TOLERANCES
from msinet_core.device import PRECISIONS, Device, DeviceSpec, Probe
from msinet_core.errors import DeviceUnavailableError, MsinetError
from msinet_core.registry.plugin import spec_problems
from msinet_core.registry.registry import load_registry
from msinet_core.system.child_process import python_command

FRAMEWORKS = (
    *("tensorflow", "keras", "torch", "torchvision", "jax", "jaxlib", "mlx", "openvino"),
    *("onnx", "onnxruntime", "cupy", "paddle", "mindspore", "tvm", "tinygrad", "tensorrt"),
    *("scipy", "PIL", "matplotlib", "pandas", "sklearn", "cv2", "h5py", "rich"),
)
"""Packages that a light module never imports, beside those that the device requires."""

LIGHT = ("msinet", "numpy", "click", "pluggy", "packaging")
"""Distributions that a device may require and its light module import."""

LOOK_TIMEOUT = 120.0


def _description(subject: Subject) -> Outcome:
    problems = spec_problems(subject.spec)
    return Outcome(len(problems), 0.0, "; ".join(problems))


_looks: weakref.WeakKeyDictionary[Subject, Mapping[str, Any]] = weakref.WeakKeyDictionary()


def _look(subject: Subject) -> Mapping[str, Any]:
    if subject not in _looks:
        _looks[subject] = _ask(subject.spec)
    return _looks[subject]


def _ask(spec: DeviceSpec) -> Mapping[str, Any]:
    try:
        pickled: str | None = pickle.dumps(spec).hex()
    except (pickle.PicklingError, AttributeError, TypeError):
        pickled = None  # a probe that is no function of a module, for example
    request = {
        "path": sys.path,
        "modules": _light_modules(spec),
        "spec": pickled,
        "hidden": sorted(_required_packages(spec)),
    }
    done = subprocess.run(
        python_command("from msinet_core.conformance.look import main; main()"),
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=LOOK_TIMEOUT,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"failure": f"The light module cannot be imported in a fresh process: {last}"}
    found: Mapping[str, Any] = json.loads(lines[-1])
    return found


def _light_modules(spec: DeviceSpec) -> list[str]:
    """List where the probe is defined, and what is imported to register the device."""
    registered = [
        registration.plugin.module.partition(":")[0]
        for registration in load_registry().registrations
        if registration.spec.name == spec.name and registration.spec.factory == spec.factory
    ]
    defined = getattr(spec.probe, "__module__", None)
    return sorted({*registered, *([defined] if defined else [])} - {"__main__"})


def _required_packages(spec: DeviceSpec) -> set[str]:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = {
        canonicalize_name(requirement.name)
        for requirement in map(Requirement, spec.requires)
        if requirement.marker is None or requirement.marker.evaluate()
    } - set(LIGHT)
    installed = metadata.packages_distributions()
    found = {
        package
        for package, distributions in installed.items()
        if wanted & {canonicalize_name(name) for name in distributions}
    }
    return found | {name.replace("-", "_") for name in wanted}


def _heavy(subject: Subject, key: str) -> list[str]:
    """List the frameworks among the packages that a look found imported."""
    return sorted(set(_seen(key)(subject)) & (set(FRAMEWORKS) | _required_packages(subject.spec)))


def _no_framework(subject: Subject, heavy: Sequence[str], fix: str) -> Outcome:
    """Count imported frameworks, and say which module imports each of them first."""
    if not heavy:
        return Outcome(0.0, 0.0)
    importers = _seen("importers")(subject)
    told = [(importers[name], name) for name in heavy if name in importers]
    own = [(by, name) for by, name in told if by["package"] not in heavy] or told
    lines = [f"{by['place']}, imports {name}" for by, name in own]
    return Outcome(len(heavy), 0.0, f"{'; '.join(lines) or ', '.join(heavy)}. {fix}")


def _seen(key: str) -> Callable[[Subject], Any]:
    def read(subject: Subject) -> Any:
        look = _look(subject)
        if "failure" in look:
            raise RuntimeError(look["failure"])
        if key not in look:
            raise NotApplicable(
                "the device's description cannot be handed to another process; make its probe a "
                "function of a module"
            )
        return look[key]

    return read


def _light_module(subject: Subject) -> Outcome:
    return _no_framework(
        subject,
        _heavy(subject, "imported"),
        "Every command imports the light module. Import it in the function that needs it, or in "
        "the module of the factory, which is imported when the device opens.",
    )


def _probe_imports(subject: Subject) -> Outcome:
    before = _heavy(subject, "imported")
    heavy = [name for name in _heavy(subject, "probed") if name not in before]
    if before and not heavy:
        raise NotApplicable("the light module imports a framework already; see light/imports")
    return _no_framework(
        subject,
        heavy,
        "Look for it with importlib.util.find_spec, and read its version with "
        "importlib.metadata.version.",
    )


def _probe_is_quick(subject: Subject) -> Outcome:
    seconds = float(_seen("seconds")(subject))
    tolerance = TOLERANCES["float32"].seconds
    return Outcome(seconds, tolerance, f"The probe takes {seconds:.1f} s.")


def _probe_answers(subject: Subject) -> Outcome:
    calls = zip(("", " where no command is found"), _seen("answers")(subject), strict=True)
    told = [(where, answer) for where, answer in calls if answer]
    reason = "".join(f"Called{where}, {answer}. " for where, answer in told)
    return Outcome(len(told), 0.0, reason.strip())


def _opens(subject: Subject) -> Outcome:
    assert subject.device is not None
    return Outcome(0.0, 0.0)


def _keeps_to_the_probe(subject: Subject) -> Outcome:
    if not _answers(subject.spec):
        raise NotApplicable("the probe does not answer; see light/probe-answers")
    if subject.probe.ready:
        raise NotApplicable("the device is here")
    if subject.opened is not None:
        return Outcome(1.0, 0.0, f"It opened, though its probe says: {subject.probe.reason}")
    return _refused(type(subject.failure).__name__)


def _answers(spec: DeviceSpec) -> bool:
    try:
        return isinstance(spec.probe(), Probe)
    except Exception:
        return False


def _needs_its_framework(subject: Subject) -> Outcome:
    if not _required_packages(subject.spec):
        raise NotApplicable("the device requires no framework")
    early = set(_heavy(subject, "probed")) & _required_packages(subject.spec)
    if early:
        raise NotApplicable(
            f"{', '.join(sorted(early))} cannot be hidden, since it is imported before the device "
            "opens; see light/imports and light/probe-imports"
        )
    found = str(_seen("without_framework")(subject))
    if not found:
        return Outcome(1.0, 0.0, "It opened, with everything hidden that it requires.")
    return _refused(found)


def _refused(error: str) -> Outcome:
    wanted = DeviceUnavailableError.__name__
    return Outcome(float(error != wanted), 0.0, f"Opening raised {error}, should raise {wanted}.")


def _open_device(subject: Subject) -> Device:
    if subject.opened is None:
        raise NotApplicable("the device did not open")
    return subject.opened


def _computes_in(precision: str) -> Check:
    def check(subject: Subject) -> Outcome:
        device = _open_device(subject)
        if device.precision != precision:
            try:
                device = subject.spec.open(precision, subject.options)
            except MsinetError as error:  # offered, but not by this machine's hardware
                raise NotApplicable(str(error)) from error
        if device.precision != precision:
            reason = f"Opened in {precision}, it says that it computes in {device.precision}."
            return Outcome(1.0, 0.0, reason)
        case = narrow_network()
        actual = device.compile(case.graph, case.state).predict(case.images)
        expected = np.asarray(subject.oracle.compile(case.graph, case.state).predict(case.images))
        outcome = compare(actual, expected, TOLERANCES[precision].network)
        if precision == "float32" or not outcome.difference <= TOLERANCES["float32"].network:
            return outcome
        reason = (
            f"Opened in {precision}, the map is only {outcome.difference:.1e} from the exact one. "
            f"So near comes float32, which {precision} does not: its roundings alone make more. "
            "The device computes in float32 whatever is asked for."
        )
        return Outcome(np.inf, TOLERANCES[precision].network, reason)

    return check


def _distributes(subject: Subject) -> Outcome:
    precision = _open_device(subject).precision
    device = subject.spec.open(precision, subject.options, distribute="auto")
    opened = Subject(subject.spec, device)
    case = narrow_network()
    return same_gradients(opened, case, [case.batch], opened.tolerances.network_gradient)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "light/description",
        "The device's description can be registered.",
        _description,
        "bits",
    ),
    Scenario(
        "light/imports",
        "Importing the plugin's light module imports no framework.",
        _light_module,
        "bits",
    ),
    Scenario("light/probe-imports", "The probe imports no framework.", _probe_imports, "bits"),
    Scenario(
        "light/probe-answers",
        "The probe never raises, and says why and what to do where the device is not here.",
        _probe_answers,
        "bits",
    ),
    Scenario("light/probe-quick", "The probe is quick.", _probe_is_quick, "seconds"),
    Scenario(
        "device/opens", "The device opens with its framework and its hardware.", _opens, "bits"
    ),
    Scenario(
        "device/not-here",
        "A device whose probe says that it is not here does not open.",
        _keeps_to_the_probe,
        "bits",
    ),
    Scenario(
        "device/no-fallback",
        "Without its framework the device does not open, and nothing takes its place.",
        _needs_its_framework,
        "bits",
    ),
    *(
        Scenario(
            f"device/{precision}",
            f"Opened in {precision}, the device computes a narrow MSI-Net in it.",
            _computes_in(precision),
            "network",
            needs=(precision,),
        )
        for precision in PRECISIONS
    ),
    Scenario(
        "device/distribute",
        "Opened to distribute as it can here, the device has the reference's gradients.",
        _distributes,
        "network_gradient",
        needs=("training", "distributed", "dilated_gradient"),
    ),
)
