"""The steps of metal still have Metal kernels after TensorFlow's graph rewriting.

Grappler, TensorFlow's rewriter, optimizes the graphs for a GPU that this machine need not have.
"""

from __future__ import annotations

import pytest

from msinet_core.conformance.cases import narrow_network
from msinet_core.device import Program
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_metal_nhwc import SPEC
from msinet_metal_nhwc.kernels import metal_kernels
from msinet_tensorflow.audit import audit_graphs

tf = pytest.importorskip("tensorflow")

from tensorflow.core.protobuf import (  # noqa: E402
    config_pb2,
    device_properties_pb2,
    meta_graph_pb2,
    rewriter_config_pb2,
)
from tensorflow.python.grappler import cluster, tf_optimizer  # noqa: E402

from msinet_metal_nhwc.device import NhwcDevice  # noqa: E402

TASK = "/job:localhost/replica:0/task:0/device:"
WITH_EFFECTS = ("ResourceApplyAdam", "AssignVariableOp", "AssignAddVariableOp")


def rewritten(step):
    """Return the graph of a concrete function as TensorFlow would run it on a GPU."""
    graph = meta_graph_pb2.MetaGraphDef(graph_def=step.graph.as_graph_def())
    for node in graph.graph_def.node:
        node.device = f"{TASK}GPU:0"
    wanted = [tensor.op.name for tensor in step.graph.outputs]
    wanted += [op.name for op in step.graph.get_operations() if op.type in WITH_EFFECTS]
    graph.collection_def["train_op"].node_list.value.extend(wanted)
    devices = [
        device_properties_pb2.NamedDevice(
            name=f"{TASK}{kind}:0",
            properties=device_properties_pb2.DeviceProperties(
                type=kind, frequency=1000, num_cores=80, memory_size=2**34
            ),
        )
        for kind in ("CPU", "GPU")
    ]
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options  # as the device sets them
    options.layout_optimizer = options.remapping = rewriter_config_pb2.RewriterConfig.OFF
    return tf_optimizer.OptimizeGraph(config, graph, cluster=cluster.Cluster(devices=devices))


@pytest.mark.parametrize("precision", SPEC.capabilities.precisions)
def test_rewritten_steps_have_kernels(precision: str) -> None:
    case = narrow_network()
    device = NhwcDevice(SPEC, precision)
    model = device.build(Program(case.graph, case.state, KLDivergence(), Adam()))
    steps = model.concrete_steps((1, 40, 56, 3))
    graphs = {name: rewritten(step) for name, step in steps.items()}
    traced = len(steps["train"].graph.as_graph_def().node)
    assert len(graphs["train"].node) < traced  # constants were folded, so it did rewrite
    report = audit_graphs(graphs, metal_kernels())
    assert report.problems == ()
    assert report.counts["ResourceApplyAdam"] == 2 * 46
    assert "Transpose" not in report.counts
