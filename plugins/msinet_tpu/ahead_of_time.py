"""Compile a step for a TPU without having one, in two separate processes.

`write_program` traces the step with TensorFlow and writes it as serialized HLO; `compile_program`
compiles that with jax and libtpu. The second process does not import TensorFlow, because a build
for another libtpu would abort.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # do not look for a TPU; nothing is executed
    "TPU_SKIP_MDS_QUERY": "1",  # waiting for Google's metadata server takes minutes
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # ignore the lock file of the chip, which is not used
}

TOO_LARGE = (2**20, 2**18)
"""The shape of a float32 array of one tebibyte, more memory than any chip has."""

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_AMOUNT = r"([\d.]+)([KMGT])"
_SHORTAGES = (
    rf"\({_AMOUNT}\) exceeds available HBM \({_AMOUNT}\)",
    rf"Used {_AMOUNT} of {_AMOUNT} hbm",
)
"""libtpu's messages with the required and the available memory; newer releases first."""


def write_program(arguments: Sequence[str]) -> None:
    """Write the program of a step to a file, on any machine with TensorFlow, without running it.

    Args:
        arguments: The path, and the arguments of `lower` as JSON.
    """
    path, parameters = arguments
    Path(path).write_bytes(lower(**json.loads(parameters)))


def lower(precision: str, width: float, size: tuple[int, int], batch: int, steps: int = 1) -> bytes:
    """Return the training program of MSI-Net as serialized HLO.

    Weights and moments are its arguments, which it updates in place.

    Args:
        precision: The dtype of convolutions.
        width: Scales the channels.
        size: Height and width of the images in pixels.
        batch: The number of images in a step.
        steps: The number of steps per execution.
    """
    from msinet_core import msinet_graph, untrained_program
    from msinet_tpu import SPEC, STEPS_PER_EXECUTION
    from msinet_tpu.device import XlaDevice

    graph = msinet_graph(width)
    device = XlaDevice(SPEC, precision, {STEPS_PER_EXECUTION: str(steps)})
    model = device.build(untrained_program(graph))
    return model.training_program((batch, *size, graph.channels[graph.input.name]))


def shortage(message: str) -> tuple[int, int] | None:
    """Parse the required and available bytes in libtpu's message; None for other messages.

    Args:
        message: The message of the compilation error.
    """
    for pattern in _SHORTAGES:
        if found := re.search(pattern, message):
            needed, needed_unit, available, available_unit = found.groups()
            return (
                round(float(needed) * UNITS[needed_unit]),
                round(float(available) * UNITS[available_unit]),
            )
    return None


def compile_step(topology: str, path: Path) -> dict[str, Any]:
    """Compile for one device of a topology, a chip or a core, and return libtpu's results.

    Args:
        topology: For example ``"v5e:1x1"``.
        path: The serialized HLO.
    """
    import jax
    from jax.errors import JaxRuntimeError
    from jax.experimental.topologies import get_topology_desc

    try:
        devices = get_topology_desc(platform="tpu", topology_name=topology).devices
    except JaxRuntimeError as error:
        return {"unknown_topology": str(error)}
    chip = jax.sharding.SingleDeviceSharding(devices[0])
    answer = {"chip": devices[0].device_kind, "devices": len(devices), "memory": _capacity(chip)}
    lowered = _lowered(path.read_bytes(), chip)
    started = time.monotonic()
    try:
        compiled = lowered.compile()
    except JaxRuntimeError as error:
        found = shortage(str(error))
        return answer | ({"shortage": found[0]} if found else {"refused": str(error)})
    sizes = compiled.memory_analysis()
    cost = compiled.cost_analysis()
    return answer | {
        "seconds": time.monotonic() - started,
        "flops": cost["flops"],
        "bytes_accessed": cost["bytes accessed"],
        "optimal_seconds": _positive(cost.get("optimal_seconds")),
        "arguments": sizes.argument_size_in_bytes,
        "results": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        "temporaries": sizes.temp_size_in_bytes,
        "program": sizes.generated_code_size_in_bytes,
    }


def _positive(seconds: float | None) -> float | None:
    """Return libtpu's estimate; None if it is negative, as for the full-size network."""
    return seconds if seconds and seconds > 0 else None


def _capacity(chip: Any) -> int | None:
    """Find a chip's memory in the error that a too large program raises."""
    import jax
    import numpy as np

    array = jax.ShapeDtypeStruct(TOO_LARGE, np.float32, sharding=chip)
    try:
        jax.jit(lambda values: values + 1).lower(array).compile()
    except jax.errors.JaxRuntimeError as error:
        found = shortage(str(error))
        return found[1] if found else None
    return None


def _lowered(hlo: bytes, chip: Any) -> Any:
    """Wrap a program in a jax function with the same inputs, some of which it updates in place."""
    import jax
    from jax.extend.core import Primitive
    from jax.extend.mlir import hlo_to_stablehlo, ir
    from jax.extend.mlir.dialects import func
    from jax.interpreters import mlir

    program = hlo_to_stablehlo(hlo)
    with mlir.make_ir_context():
        module = ir.Module.parse(program)
        function_type = _function_type(module, ir)
        arguments = _arrays(function_type.inputs, ir, chip)
        results = _arrays(function_type.results, ir, chip)
        updated = _updated(module)

    def lower(context: Any, *values: Any) -> Any:
        step = ir.Module.parse(program)
        _drop_copies(step.operation)
        types = list(_function_type(step, ir).results)
        module = context.module_context
        name = mlir.merge_mlir_modules(module.module, "step", step, dst_symtab=module.symbol_table)
        return func.CallOp(types, ir.FlatSymbolRefAttr.get(name), values).results

    step = Primitive("step")
    step.multiple_results = True
    step.def_abstract_eval(
        lambda *_: [jax.core.ShapedArray(array.shape, array.dtype) for array in results]
    )
    mlir.register_lowering(step, lower)
    return jax.jit(lambda *values: step.bind(*values), donate_argnums=updated).lower(*arguments)


def _function_type(module: Any, ir: Any) -> Any:
    for function in module.body.operations:
        if ir.StringAttr(function.attributes["sym_name"]).value == "main":
            return ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
    raise ValueError("The program has no function 'main'.")


def _arrays(types: Sequence[Any], ir: Any, chip: Any) -> list[Any]:
    import jax

    dtypes = {"f32": "float32", "bf16": "bfloat16", "i32": "int32", "i64": "int64", "i1": "bool"}
    tensors = [ir.RankedTensorType(kind) for kind in types]
    return [
        jax.ShapeDtypeStruct(tensor.shape, dtypes[str(tensor.element_type)], sharding=chip)
        for tensor in tensors
    ]


def _updated(module: Any) -> tuple[int, ...]:
    """List the arguments that are updated in place: weights and moments."""
    alias = str(module.operation.attributes["mhlo.input_output_alias"])
    return tuple(sorted({int(number) for number in re.findall(r"parameter_number = (\d+)", alias)}))


def _drop_copies(operation: Any) -> None:
    """Remove copies that TensorFlow adds to returned values; StableHLO has no such op."""
    for region in operation.regions:
        for block in region.blocks:
            for inner in list(block.operations):
                _drop_copies(inner.operation)
                if inner.operation.name == "mhlo.copy":
                    inner.results[0].replace_all_uses_with(inner.operands[0])
                    inner.operation.erase()


def compile_program(arguments: Sequence[str]) -> None:
    """Compile a program and print the result as JSON.

    Args:
        arguments: The topology, and the path of the HLO.
    """
    os.environ |= ENVIRONMENT
    topology, path = arguments
    print(json.dumps(compile_step(topology, Path(path))))
