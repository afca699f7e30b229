"""MSI-Net, one saliency network, trained and run on any device through plugins.

This is the front door: everything that users and plugin authors import is a name of this package.
Every other module is private and may change. Names are imported on first use, so that
``import msinet_core`` takes about a millisecond and loads neither NumPy nor a framework.

Example:
    >>> import msinet_core as msinet
    >>> model = msinet.load("best.msinet.h5", device="cpu")
    >>> saliency = model.predict("photo.jpg")
"""

_MODULES = {
    # For users.
    "benchmark.bench": ("bench",),
    "checkpoint.convert": ("Conversion", "convert"),
    "checkpoint.inspect": ("Description", "inspect"),
    "conformance.same_weights": ("Verification", "verify_conversion"),
    "evaluation.compare": ("Comparison", "Difference", "compare"),
    "evaluation.evaluate": ("evaluate",),
    "network.export": ("OnnxSettings",),
    "evaluation.result": ("Evaluation", "ImageScores", "Summary"),
    "prediction.predictor": ("Predictor", "load"),
    "registry.inventory": ("DeviceEntry", "devices"),
    "system.version": ("__version__",),
    "training.runs": ("RunComparison", "RunSummary", "compare_runs", "read_runs"),
    "training.train": ("train",),
    "errors": (
        "CheckpointError",
        "DataError",
        "DeviceUnavailableError",
        "DivergenceError",
        "GraphError",
        "InterruptedRunError",
        "MsinetError",
        "PluginError",
        "UsageError",
    ),
    # For plugin authors.
    "checkpoint.archive": ("Archive", "Checkpoint", "StoredTensor"),
    "checkpoint.catalog": ("Format",),
    "checkpoint.formats.keras_archive": ("write_keras_archive",),
    "checkpoint.formats.onnx": ("onnx_model",),
    "checkpoint.formats.onnx_ops": ("OnnxLayers",),
    "conformance.suite": ("DeviceConformance",),
    "conformance.walk": ("Walk",),
    "device": (
        "Availability",
        "Capabilities",
        "Deferred",
        "Device",
        "DeviceOption",
        "DeviceSpec",
        "Hardware",
        "Model",
        "Probe",
        "Processes",
        "Program",
        "Recent",
        "report_lost_processes",
    ),
    "device.layers": ("Inputs", "Layers", "Parameters"),
    "network.adam": ("Adam",),
    "network.graph": ("Graph", "GraphBuilder", "LayerBuilder", "Parameter"),
    "network.interpolation": ("interpolation_matrix",),
    "network.layout": ("permutation",),
    "network.loss": (
        "Correlation",
        "KLDivergence",
        "Loss",
        "ScanpathSaliency",
        "Similarity",
        "WeightedSum",
        "parse_loss",
    ),
    "network.loss_scale": ("LossScale",),
    "network.msinet": ("DEFAULT_IMAGE_SIZE", "msinet_graph"),
    "network.state": ("Batch", "OptimizerState", "State", "Tensors"),
    "registry.doctor": ("Finding",),
    "registry.kernel_audit": (
        "AuditProblem",
        "AuditReport",
        "ProblemKind",
        "untrained_program",
    ),
    "registry.hookspecs": ("Register", "hookimpl"),
    "system.child_process": ("ChildResult", "run_python"),
    "system.native_output": ("suppress_native_stderr",),
}
"""Where each public name is defined."""

_SUBMODULES = {
    "apple": "hardware.apple",
    "hardware": "hardware",
    "nvidia": "hardware.nvidia",
    "ops": "network.ops",
}
"""The public names that are modules."""

_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_HOME, *_SUBMODULES])


def __getattr__(name: str) -> object:
    import importlib

    value: object
    if name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{_SUBMODULES[name]}")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
