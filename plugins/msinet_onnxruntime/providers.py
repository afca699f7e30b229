"""ONNX Runtime's execution providers: their names, and how each computes in exact float32."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msinet_core import Availability, Probe
from msinet_onnxruntime.probe import distribution


@dataclass(frozen=True)
class Provider:
    """One execution provider.

    Args:
        runtime_name: ONNX Runtime's name.
        package: The distribution that has it.
        options: Its options; they turn off lower precisions that it would use for float32.
        static: Whether it takes only networks of one batch size; images are computed singly then.
        system: The only operating system that it exists on, as `platform.system` names it; empty
            if there are several.
    """

    runtime_name: str
    package: str
    options: Mapping[str, str] = field(default_factory=dict)
    static: bool = False
    system: str = ""


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", "onnxruntime"),
    "coreml": Provider(
        "CoreMLExecutionProvider",
        "onnxruntime",
        # Neural networks, the other model format, compute in float16.
        {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"},
        static=True,
        system="Darwin",
    ),
    "cuda": Provider("CUDAExecutionProvider", "onnxruntime-gpu", {"use_tf32": "0"}),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", "onnxruntime-gpu", {"trt_fp16_enable": "0"}, static=True
    ),
    "directml": Provider("DmlExecutionProvider", "onnxruntime-directml", system="Windows"),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino",
        {"device_type": "CPU", "precision": "FP32"},
    ),
    "qnn": Provider(
        "QNNExecutionProvider",
        "onnxruntime-qnn",
        {"backend_type": "htp", "enable_htp_fp16_precision": "0"},
        static=True,
    ),
}
"""Each provider by its name in the option ``provider``.

Source: https://onnxruntime.ai/docs/execution-providers
"""


def check_provider(name: str, available: Sequence[str]) -> Probe | None:
    """Return why the installed build cannot compute with a provider; None if it can.

    Args:
        name: The provider's name in the option.
        available: ``onnxruntime.get_available_providers()``.
    """
    provider, installed = PROVIDERS[name], distribution()
    if provider.runtime_name in available:
        return None
    fix = f"pip uninstall --yes {installed} && pip install {provider.package}"
    if provider.system not in ("", platform.system()):
        system = "macOS" if provider.system == "Darwin" else provider.system
        fix = f"Use another provider: {provider.package} has this one on {system} only."
    return Probe(
        Availability.NOT_HERE,
        reason=f"provider={name} needs {provider.runtime_name}, and this {installed} has only "
        f"{', '.join(available)}.",
        fix=fix,
    )
