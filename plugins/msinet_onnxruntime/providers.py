"""ONNX Runtime's execution providers: their names, and how each computes in exact float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Provider:
    """One execution provider.

    Args:
        runtime_name: ONNX Runtime's name.
        package: The distribution that has it.
        options: Its options; they turn off lower precisions that it would use for float32.
        static: Whether it takes only networks of one batch size; images are computed singly then.
        sequential: Whether it supports neither memory patterns nor parallel execution.
    """

    runtime_name: str
    package: str
    options: Mapping[str, str] = field(default_factory=dict)
    static: bool = False
    sequential: bool = False


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", "onnxruntime"),
    "coreml": Provider(
        "CoreMLExecutionProvider",
        "onnxruntime",
        # Neural networks, the other model format, compute in float16.
        {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"},
        static=True,
    ),
    "cuda": Provider("CUDAExecutionProvider", "onnxruntime-gpu", {"use_tf32": "0"}),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", "onnxruntime-gpu", {"trt_fp16_enable": "0"}, static=True
    ),
    "directml": Provider("DmlExecutionProvider", "onnxruntime-directml", sequential=True),
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
