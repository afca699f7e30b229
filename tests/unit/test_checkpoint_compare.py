from __future__ import annotations

from dataclasses import replace

import pytest

from msinet_core.checkpoint.compare import graph_differences
from msinet_core.network.graph import Graph, GraphBuilder, Node
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D, GlobalMean, MaxPool2D, MinMaxNormalize


def changed(graph: Graph, name: str, node: Node) -> Graph:
    return Graph(tuple(node if old.name == name else old for old in graph.nodes))


def test_equal_networks_do_not_differ() -> None:
    assert graph_differences(msinet_graph(0.1), msinet_graph(0.1)) == []


def test_width_is_one_line() -> None:
    assert graph_differences(msinet_graph(0.5), msinet_graph()) == [
        "width: 22 of 23 convolutions have other numbers of channels, 0.5 times as many in total"
    ]


def test_resize_coordinates_name_the_nodes() -> None:
    assert graph_differences(msinet_graph(0.1, resize="half_pixel"), msinet_graph(0.1)) == [
        "coordinates: 'half_pixel' instead of 'asymmetric' in "
        "aspp/resize, decoder/resize1, decoder/resize2 and 1 more"
    ]


def test_another_op_another_attribute_another_input() -> None:
    graph = msinet_graph(0.1)
    nodes = {node.name: node for node in graph.nodes}
    found = changed(graph, "output", replace(nodes["output"], op=MinMaxNormalize(epsilon=0.5)))
    found = changed(found, "pool4", replace(nodes["pool4"], op=Conv2D(51)))
    swapped = ("pool4", "pool3", "pool5")
    found = changed(found, "encoder/concat", replace(nodes["encoder/concat"], inputs=swapped))
    assert graph_differences(found, graph) == [
        "op: Conv2D instead of MaxPool2D in pool4",
        "inputs: ['pool4', 'pool3', 'pool5'] instead of ['pool3', 'pool4', 'pool5'] "
        "in encoder/concat",
        "epsilon: 0.5 instead of 1e-07 in output",
    ]


def chain(*names: str) -> Graph:
    net = GraphBuilder()
    x = net.input
    for name in names:
        x = net.add(name, MaxPool2D(1, 1), x)
    return net.build()


def test_nodes_too_many_and_too_few_are_named() -> None:
    assert graph_differences(chain("a", "c"), chain("a", "b")) == [
        "the file's network lacks b",
        "the file's network also has c",
    ]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_order_counts(order: tuple[str, str]) -> None:
    def branches(first: str, second: str) -> Graph:
        net = GraphBuilder()
        for name in (first, second):
            net.add(name, GlobalMean(), net.input)
        net.add("end", MaxPool2D(1, 1), "a")
        return net.build()

    differences = graph_differences(branches("a", "b"), branches(*order))
    assert differences == ([] if order == ("a", "b") else ["the nodes are in another order"])
