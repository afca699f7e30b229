"""The matcher of nodes and kernels, and the table of metal's kernels; no framework."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from msinet_core.registry.kernel_audit import AuditProblem, AuditReport
from msinet_metal_nhwc import kernels
from msinet_metal_nhwc.kernels import metal_kernels, read_table
from msinet_tensorflow.audit import NodeTypes, examine_node, find_kernel

TABLE = """# made up
op\tsource\tdevice\tconstraints\thost_memory
Add\ttensorflow\tDEFAULT\tT=int32\tx,y,z
Add\ttensorflow-metal\tGPU\tT=float32,float16\t
Both\ttensorflow\tDEFAULT\tT=float32\tinput,output
Both\ttensorflow-metal\tGPU\tT=float32\t
Cast\ttensorflow-metal\tGPU\tDstT=float32;SrcT=bool\t
Pack\ttensorflow\tDEFAULT\tT=float32\tvalues,output
Reshape\ttensorflow\tGPU\tT=float32;Tshape=int32\tshape
Fill\ttensorflow-metal\tGPU\tT=float32\tdims,value
Call\ttensorflow\tDEFAULT\t\t
"""


def node(op: str, arguments: dict[str, str] | None = None, **types: str) -> NodeTypes:
    attributes = {name: tuple(value.split(",")) for name, value in types.items()}
    named = tuple((name, tuple(value.split(","))) for name, value in (arguments or {}).items())
    return NodeTypes(f"{op.lower()}_1", op, attributes, named)


def examine(tested: NodeTypes) -> AuditProblem | None:
    return examine_node(tested, read_table(TABLE), "train")


@pytest.mark.parametrize(
    "tested",
    [
        node("Add", T="float32"),
        node("Add", T="float16"),
        node("Add", {"x": "int32", "y": "int32", "z": "int32"}, T="int32"),
        node("Cast", SrcT="bool", DstT="float32"),
        node("Call", {"args": "float32,int32"}, Tin="float32,int32"),
        node("Reshape", {"tensor": "float32", "shape": "int32"}, T="float32", Tshape="int32"),
    ],
    ids=["one type", "another", "int32 on the host", "two attributes", "any type", "host shape"],
)
def test_node_that_the_gpu_computes(tested: NodeTypes) -> None:
    assert examine(tested) is None


def test_op_without_any_kernel() -> None:
    problem = examine(node("ResizeBilinearGrad", T="float32"))
    assert problem == AuditProblem(
        "train",
        "resizebilineargrad_1",
        "ResizeBilinearGrad",
        "T=float32",
        "no kernel",
        "ResizeBilinearGrad has no GPU kernel.",
    )


@pytest.mark.parametrize(
    ("tested", "dtype"),
    [
        (node("Add", T="bfloat16"), "T=bfloat16"),
        (node("Cast", SrcT="float64", DstT="float32"), "SrcT=float64, DstT=float32"),
        (node("Add", T="float32,bfloat16"), "T=float32|bfloat16"),
    ],
    ids=["one", "one of two attributes", "one of a list"],
)
def test_dtype_without_a_kernel(tested: NodeTypes, dtype: str) -> None:
    problem = examine(tested)
    assert problem is not None
    assert (problem.kind, problem.dtype) == ("no kernel", dtype)
    assert tested.op in problem.why and dtype in problem.why


def test_node_without_the_attribute_that_a_kernel_requires() -> None:
    problem = examine(node("Add"))
    assert problem is not None and (problem.kind, problem.dtype) == ("no kernel", "")


@pytest.mark.parametrize(
    ("tested", "hosted"),
    [
        (node("Pack", {"values": "float32", "output": "float32"}, T="float32"), "values, output"),
        (node("Fill", {"dims": "int32", "value": "float32"}, T="float32"), "value"),
    ],
)
def test_float_data_in_host_memory(tested: NodeTypes, hosted: str) -> None:
    problem = examine(tested)
    assert problem is not None
    assert problem.kind == "through the host"
    assert tested.op in problem.why and problem.why.endswith(f": {hosted}.")


def test_a_kernel_for_the_gpu_goes_before_one_for_every_device() -> None:
    found = find_kernel(node("Both", T="float32"), read_table(TABLE)["Both"])
    assert found is not None and found.device == "GPU"
    assert examine(node("Both", {"input": "float32", "output": "float32"}, T="float32")) is None


def test_a_report_of_nothing_does_not_pass() -> None:
    assert not AuditReport({}, 0, ()).passed
    assert AuditReport({"Add": 1}, 1, ()).passed


def test_report_as_json() -> None:
    problem = examine(node("Add", T="bfloat16"))
    assert problem is not None
    document = AuditReport({"B": 1, "Add": 2}, 1, (problem,)).to_dict()
    assert document["passed"] is False
    assert list(document["counts"]) == ["Add", "B"] and document["nodes"] == 3
    assert document["problems"][0]["node"] == "add_1"


# --- the table that the device ships -------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "op", ["Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MaxPoolGrad", "Relu"]
)
def test_table_has_what_a_network_needs(op: str, dtype: str) -> None:
    assert find_kernel(node(op, T=dtype), metal_kernels()[op]) is not None


@pytest.mark.parametrize(
    "tested",
    [
        node("ResizeBilinearGrad", T="float32"),
        node("SpaceToBatchND", T="float32", Tblock_shape="int32", Tpaddings="int32"),
        node("BatchToSpaceND", T="float32", Tblock_shape="int32", Tcrops="int32"),
        node("BatchMatMulV3", Ta="float32", Tb="float32", Tout="float32"),
        node("ResizeBilinear", T="bfloat16"),
        node("ResourceApplyAdam", T="float16"),
        node("Fill", T="float16", index_type="int32"),
        node("Pack", {"values": "float32", "output": "float32"}, T="float32"),
        node("Conv2D", T="float64"),
    ],
    ids=lambda tested: f"{tested.op}-{tested.dtypes}",
)
def test_table_lacks_what_metal_lacks(tested: NodeTypes) -> None:
    assert examine_node(tested, metal_kernels()) is not None


def test_table_says_where_it_comes_from() -> None:
    text = Path(kernels.__file__).with_name(kernels.TABLE).read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert kernels.TABLE_METAL in header[0]
    assert all(version in header[0] for version in kernels.TABLE_TENSORFLOW.split(" and "))
    rows = [line for line in text.splitlines()[len(header) + 1 :] if line]
    assert sum(map(len, metal_kernels().values())) == len(rows)


def test_table_is_the_recorded_one() -> None:
    shared = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared"))
    recorded = shared / "data" / kernels.TABLE
    if not recorded.is_file():
        pytest.skip(f"the recorded table is not at {recorded}; MSINET_SHARED says where it is")
    shipped = Path(kernels.__file__).with_name(kernels.TABLE)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (recorded, shipped)}
    assert len(digests) == 1
