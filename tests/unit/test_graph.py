"""Graphs: what they refuse, what they know about themselves, and their text."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.errors import GraphError
from msinet_core.network.graph import Graph, GraphBuilder, Node
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import (
    OPS,
    Concat,
    Conv2D,
    GlobalMean,
    Input,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    ResizeLike,
    SubtractMean,
    same_padding,
)

coordinates = st.sampled_from(["asymmetric", "half_pixel"])
paddings = st.sampled_from(["SAME", "VALID"])
small = st.integers(1, 4)
convolutions = st.one_of(
    st.builds(
        Conv2D,
        small,
        small,
        small,
        padding=paddings,
        activation=st.sampled_from(["relu", "linear"]),
        use_bias=st.booleans(),
    ),
    st.builds(Conv2D, small, small, dilation=st.integers(2, 12), padding=paddings),
)
one_input_ops = st.one_of(
    convolutions,
    st.builds(MaxPool2D, small, small, paddings),
    st.builds(Resize, small, coordinates),
    st.just(GlobalMean()),
    st.builds(MinMaxNormalize, st.floats(1e-12, 1)),
)


@st.composite
def graphs(draw):
    net = GraphBuilder(channels=draw(small))
    names = [net.input]
    for index in range(draw(st.integers(1, 8))):
        op = draw(
            st.one_of(one_input_ops, st.just(Concat()), st.builds(ResizeLike, coordinates)),
        )
        count = op.arity or draw(st.integers(2, 4))
        inputs = [draw(st.sampled_from(names)) for _ in range(count)]
        names.append(net.add(f"scope{index % 2}/node {index} é", op, *inputs))
    return net.build()


def chain(*ops, channels=3):
    net = GraphBuilder(channels=channels)
    name = net.input
    for index, op in enumerate(ops):
        name = net.add(f"node{index}", op, name)
    return net.build()


@settings(deadline=None)
@given(graph=graphs())
def test_json_there_and_back(graph):
    again = Graph.from_json(graph.to_json())
    assert again == graph
    assert again.fingerprint == graph.fingerprint
    assert again.parameters == graph.parameters


def test_every_op_has_a_changed_attribute_below():
    changed = {type(first) for first, _ in CHANGES}
    assert changed == set(OPS.values()) - {Concat, GlobalMean}  # these two have no attribute
    for op in OPS.values():
        fields = {field.name for field in dataclasses.fields(op)}
        seen = {
            name
            for first, second in CHANGES
            for name in fields
            if type(first) is op and getattr(first, name) != getattr(second, name)
        }
        assert seen == fields, op.__name__


CHANGES = [
    (Input(3), Input(1)),
    (SubtractMean((1.0, 2.0, 3.0)), SubtractMean((3.0, 2.0, 1.0))),
    (Conv2D(8), Conv2D(9)),
    (Conv2D(8), Conv2D(8, kernel_size=1)),
    (Conv2D(8), Conv2D(8, strides=2)),
    (Conv2D(8), Conv2D(8, dilation=2)),
    (Conv2D(8), Conv2D(8, padding="VALID")),
    (Conv2D(8), Conv2D(8, activation="linear")),
    (Conv2D(8), Conv2D(8, use_bias=False)),
    (MaxPool2D(), MaxPool2D(pool_size=3)),
    (MaxPool2D(), MaxPool2D(strides=1)),
    (MaxPool2D(), MaxPool2D(padding="SAME")),
    (Resize(), Resize(3)),
    (Resize(), Resize(coordinates="half_pixel")),
    (ResizeLike(), ResizeLike("half_pixel")),
    (MinMaxNormalize(), MinMaxNormalize(1e-6)),
]


@pytest.mark.parametrize(("first", "second"), CHANGES, ids=lambda op: str(op))
def test_the_fingerprint_changes_with_each_attribute(first, second):
    def graph(op):
        if isinstance(op, Input):
            return Graph((Node("input", op), Node("mean", GlobalMean(), ("input",))))
        inputs = ("input",) * op.arity
        return Graph((Node("input", Input(3)), Node("op", op, inputs)))

    assert graph(first).fingerprint != graph(second).fingerprint
    assert graph(first).fingerprint == graph(dataclasses.replace(first)).fingerprint


def test_the_fingerprint_changes_with_names_and_edges():
    def graph(name, *inputs):
        net = GraphBuilder()
        net.add("first", Conv2D(2), net.input)
        net.add("second", Conv2D(2), net.input)
        net.add(name, Concat(), *inputs)
        return net.build()

    same = graph("joined", "first", "second")
    others = [graph("other", "first", "second"), graph("joined", "second", "first")]
    assert len({g.fingerprint for g in (same, *others)}) == 3
    assert len(same.fingerprint) == 16


def test_the_fingerprint_of_the_network_is_part_of_checkpoints():
    # Checkpoints name it: when this value changes, files written before no longer fit.
    assert msinet_graph().fingerprint == "f629ea7eae93bf4f"


@pytest.mark.parametrize(
    ("make", "attribute"),
    [
        (lambda: Conv2D(0), "Conv2D.filters"),
        (lambda: Conv2D(1, 0), "Conv2D.kernel_size"),
        (lambda: Conv2D(1, strides=0), "Conv2D.strides"),
        (lambda: Conv2D(1, dilation=-1), "Conv2D.dilation"),
        (lambda: Conv2D(1, padding="same"), "Conv2D.padding"),
        (lambda: Conv2D(1, activation="tanh"), "Conv2D.activation"),
        (lambda: Conv2D(1, strides=2, dilation=2), "Conv2D.strides"),
        (lambda: MaxPool2D(0), "MaxPool2D.pool_size"),
        (lambda: MaxPool2D(2, 0), "MaxPool2D.strides"),
        (lambda: MaxPool2D(padding="FULL"), "MaxPool2D.padding"),
        (lambda: Resize(0), "Resize.scale"),
        (lambda: Resize(2, "corners"), "Resize.coordinates"),
        (lambda: ResizeLike("corners"), "ResizeLike.coordinates"),
        (lambda: MinMaxNormalize(0), "MinMaxNormalize.epsilon"),
        (lambda: Input(0), "Input.channels"),
    ],
)
def test_ops_refuse_invalid_attributes(make, attribute):
    with pytest.raises(GraphError, match=attribute):
        make()


INPUT = Node("input", Input(3))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((), "Input"),
        ((Node("a", Conv2D(1), ("input",)), INPUT), "Input"),
        ((INPUT, Node("", Conv2D(1), ("input",))), "''"),
        ((INPUT, Node("input", Conv2D(1), ("input",))), "'input'"),
        ((INPUT, Node("b", Input(3))), "'b'"),
        ((INPUT, Node("b", Conv2D(1), ("c",))), "'b'.*'c'"),
        ((INPUT, Node("b", Conv2D(1), ("b",))), "'b'.*'b'"),
        ((INPUT, Node("b", Conv2D(1))), "'b': Conv2D takes 1 .*0"),
        ((INPUT, Node("b", Concat(), ("input",))), "'b': Concat .*1"),
        ((INPUT, Node("b", ResizeLike(), ("input",))), "'b': ResizeLike .*2 .*1"),
        ((INPUT, Node("b", SubtractMean((1.0,)), ("input",))), "'b': SubtractMean .*1 .*3"),
    ],
)
def test_invalid_graphs_are_refused_and_name_the_node(nodes, words):
    with pytest.raises(GraphError, match=words):
        Graph(nodes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "JSON"),
        ("[]", "JSON"),
        ("{}", "'format'"),
        ('{"format": 99, "nodes": []}', "format 99"),
        ('{"format": 1, "nodes": []}', "Input"),
        ('{"format": 1, "nodes": [{"name": "a", "op": "Attention"}]}', "'a'.*Attention"),
    ],
)
def test_text_that_is_not_a_graph_is_refused(text, words):
    with pytest.raises(GraphError, match=words):
        Graph.from_json(text)


def test_an_unknown_attribute_is_refused():
    document = json.loads(chain(Conv2D(2)).to_json())
    document["nodes"][1]["attributes"]["groups"] = 2
    with pytest.raises(GraphError, match="groups"):
        Graph.from_json(json.dumps(document))


def test_parameters_are_in_the_order_of_computation():
    graph = chain(Conv2D(4), MaxPool2D(), Conv2D(5, 1, use_bias=False))
    assert [(p.name, p.role, p.shape, p.size) for p in graph.parameters] == [
        ("node0/kernel", "kernel", (3, 3, 3, 4), 108),
        ("node0/bias", "bias", (4,), 4),
        ("node2/kernel", "kernel", (1, 1, 4, 5), 20),
    ]
    assert graph.parameter_count == 132


def test_flops_count_two_for_each_multiply_add():
    graph = chain(Conv2D(4), MaxPool2D(), Conv2D(5, 1))
    assert graph.flops((4, 6)) == 2 * (9 * 3 * 4) * 24 + 2 * (4 * 5) * 6


@given(size=st.integers(1, 50), extent=st.integers(1, 25), strides=st.integers(1, 4))
def test_same_padding_is_just_enough(size, extent, strides):
    before, after = same_padding(size, extent, strides)
    outputs = -(-size // strides)
    assert 0 <= after - before <= 1
    assert (outputs - 1) * strides + extent <= size + before + after
    if before + after:
        assert (outputs - 1) * strides + extent == size + before + after


def test_shapes_of_every_node():
    net = GraphBuilder(channels=2)
    net.add("conv", Conv2D(4, strides=2), net.input)
    net.add("valid", Conv2D(3, padding="VALID", dilation=2), net.input)
    net.add("pool", MaxPool2D(), net.input)
    net.add("pool3", MaxPool2D(3, 2, "SAME"), net.input)
    net.add("mean", GlobalMean(), "conv")
    net.add("like", ResizeLike(), "mean", "pool")
    net.add("joined", Concat(), "like", "pool")
    net.add("output", Resize(3), "joined")
    assert net.build().shapes((5, 7, 9, 2)) == {
        "input": (5, 7, 9, 2),
        "conv": (5, 4, 5, 4),
        "valid": (5, 3, 5, 3),
        "pool": (5, 3, 4, 2),
        "pool3": (5, 4, 5, 2),
        "mean": (5, 1, 1, 4),
        "like": (5, 3, 4, 4),
        "joined": (5, 3, 4, 6),
        "output": (5, 9, 12, 6),
    }


def test_an_invalid_size_names_the_node():
    with pytest.raises(GraphError, match=r"'node0': MaxPool2D.* 2 .*1x5"):
        chain(MaxPool2D()).sizes((1, 5))
    with pytest.raises(GraphError, match=r"'node0': Conv2D.* 9 .*8x20"):
        chain(Conv2D(1, dilation=4, padding="VALID")).sizes((8, 20))
    net = GraphBuilder()
    net.add("pool", MaxPool2D(), net.input)
    net.add("joined", Concat(), "pool", net.input)
    with pytest.raises(GraphError, match="'joined': Concat"):
        net.build().sizes((4, 4))


def test_images_with_other_channels_are_refused():
    with pytest.raises(GraphError, match="3 channels"):
        chain(Conv2D(1)).shapes((1, 4, 4, 1))


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ((Conv2D(1),), 1),
        ((MaxPool2D(),), 2),
        ((MaxPool2D(), MaxPool2D(), Resize(2)), 4),
        ((Resize(2), MaxPool2D()), 1),
        ((MaxPool2D(strides=1, padding="SAME"),), 1),
        ((Conv2D(1, strides=3), MaxPool2D()), 6),
        ((MaxPool2D(), GlobalMean()), 2),
    ],
)
def test_size_multiple_is_the_strongest_reduction(ops, expected):
    assert chain(*ops).size_multiple == expected


def test_size_multiple_through_a_global_branch():
    net = GraphBuilder()
    net.add("pool", MaxPool2D(), net.input)
    net.add("mean", GlobalMean(), "pool")
    net.add("like", ResizeLike(), "mean", "pool")
    net.add("joined", Concat(), "like", "pool")
    net.add("output", MaxPool2D(), "joined")
    assert net.build().size_multiple == 4


def test_between_cuts_out_what_computes_stop_from_start():
    tail = msinet_graph().between("aspp/concat", "output")
    assert [node.name for node in tail.nodes] == [
        "aspp/concat",
        "aspp/conv2",
        "decoder/resize1",
        "decoder/conv1",
        "decoder/resize2",
        "decoder/conv2",
        "decoder/resize3",
        "decoder/conv3",
        "decoder/conv4",
        "output",
    ]
    assert tail.input.op == Input(1280)
    assert {p.name for p in tail.parameters} < {p.name for p in msinet_graph().parameters}
    assert tail.shapes((1, 2, 3, 1280))["output"] == (1, 16, 24, 1)
    assert tail.size_multiple == 1


def test_between_keeps_branches():
    aspp = msinet_graph().between("encoder/concat", "aspp/concat")
    assert aspp.shapes((1, 4, 5, 1280))["aspp/concat"] == (1, 4, 5, 1280)
    assert len(aspp.parameters) == 10


@pytest.mark.parametrize(
    ("start", "stop", "words"),
    [
        ("nowhere", "output", "'nowhere'"),
        ("input", "nowhere", "'nowhere'"),
        ("aspp/conv1_1", "aspp/concat", "'aspp/concat'.*'aspp/conv1_1'"),
        ("output", "aspp/conv2", "'aspp/conv2'.*'output'"),
    ],
)
def test_between_refuses_unknown_nodes_and_incomplete_parts(start, stop, words):
    with pytest.raises(GraphError, match=words):
        msinet_graph().between(start, stop)


def test_apply_calls_builders_in_order_with_their_own_parameters():
    net = GraphBuilder(channels=1)
    net.add("one", Conv2D(1, 1), net.input)
    net.add("two", Conv2D(1, 1, use_bias=False), "one")
    net.add("joined", Concat(), "two", "one")
    calls = []

    def build(op, inputs, parameters):
        calls.append((type(op).__name__, list(inputs), dict(parameters)))
        return f"result {len(calls)}"

    parameters = {"one/kernel": "k1", "one/bias": "b1", "two/kernel": "k2"}
    result = net.build().apply({Conv2D: build, Concat: build}, "images", parameters)
    assert result == "result 3"
    assert calls == [
        ("Conv2D", ["images"], {"kernel": "k1", "bias": "b1"}),
        ("Conv2D", ["result 1"], {"kernel": "k2"}),
        ("Concat", ["result 2", "result 1"], {}),
    ]


def test_apply_names_every_op_without_a_builder():
    with pytest.raises(GraphError, match="Conv2D, MaxPool2D"):
        chain(Conv2D(1), MaxPool2D()).apply({}, "images", {})
