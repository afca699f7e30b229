"""The network against the published model's own graph, and its published figures."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from msinet_core.errors import UsageError
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.msinet import IMAGE_MEAN, msinet_graph
from msinet_core.network.ops import (
    Concat,
    Conv2D,
    GlobalMean,
    MaxPool2D,
    MinMaxNormalize,
    Resize,
    ResizeLike,
    SubtractMean,
)
from msinet_core.network.state import State
from msinet_core.reference import SPEC

DATA = Path(__file__).parent / "data"
SHARED = Path(os.environ.get("MSINET_SHARED", Path(__file__).parents[3] / "shared"))
PUBLISHED = SHARED / "data" / "msinet_published_tail"

PAPER_DILATIONS = {"aspp/conv1_2": 4, "aspp/conv1_3": 8, "aspp/conv1_4": 12}
"""Kroner et al. 2020, section 3.1. The published graph holds each as a constant of its own whose
value is not at hand; conv5's is."""


class PublishedGraph:
    """Reads the published nodes as ops of ours by walking their edges back from the output."""

    def __init__(self, entries):
        self.entries = {entry["name"]: entry for entry in entries}
        self.read = set()
        self.builder = GraphBuilder(channels=self.take("input_1", "Placeholder")["shape"][3])
        self.names = {"input_1": self.builder.input}
        (output,) = self.take("Identity", "Identity")["inputs"]
        self.add(output)

    def take(self, name, op):
        self.read.add(name)
        entry = self.entries[name]
        assert entry["op"] == op, f"{name} is a {entry['op']}, not a {op}"
        return entry

    def add(self, name):
        """Add what computes `name`, inputs first; return our name for it."""
        if name not in self.names:
            entry = self.take(name, self.entries[name]["op"])
            ours, op, inputs = getattr(self, f"read_{entry['op'].strip('_').lower()}")(entry)
            self.names[name] = self.builder.add(ours, op, *[self.add(source) for source in inputs])
        return self.names[name]

    def read_sub(self, entry):
        (mean,) = entry["constants"].values()
        assert mean["shape"] == [1, 1, 1, 3]
        return "subtract_mean", SubtractMean(IMAGE_MEAN), entry["inputs"]

    def read_fusedconv2d(self, entry):
        assert entry["fused_ops"] in (["BiasAdd", "Relu"], ["BiasAdd"])
        activation = "relu" if "Relu" in entry["fused_ops"] else "linear"
        return self.convolution(entry, 1, entry["padding"], activation, entry["inputs"])

    def read_relu(self, entry):
        """Read a dilated convolution: Keras rearranges the image instead of dilating the kernel."""
        bias = self.take(entry["inputs"][0], "BiasAdd")
        back = self.take(bias["inputs"][0], "BatchToSpaceND")
        conv = self.take(back["inputs"][0], "Conv2D")
        space = self.take(conv["inputs"][0], "SpaceToBatchND")
        assert back["constants"] == space["constants"]  # one rate, there and back
        ((rate_name, rate),) = space["constants"].items()
        assert rate["shape"] == [2]
        scope = conv["name"].removesuffix("/Conv2D")
        if "value" in rate:
            dilation, dilation_again = rate["value"]
            assert dilation == dilation_again
            assert space["total_padding"] == [2 * dilation] * 2  # SAME for 3x3
        else:
            assert rate_name == f"{scope}/dilation_rate"  # not shared with another branch
            dilation = PAPER_DILATIONS[scope]
        assert conv["padding"] == "VALID"  # the zeros are there already
        merged = {**conv, "constants": conv["constants"] | bias["constants"]}
        return self.convolution(merged, dilation, "SAME", "relu", space["inputs"])

    def convolution(self, entry, dilation, padding, activation, inputs):
        assert entry["data_format"] == "NHWC"
        assert entry["dilations"] == [1, 1, 1, 1]
        assert entry["strides"] == [1, 1, 1, 1]
        shapes = {name: constant["shape"] for name, constant in entry["constants"].items()}
        scope = entry["name"].rpartition("/")[0]
        height, width, _, filters = shapes[f"{scope}/kernel"]
        assert height == width
        assert shapes[f"{scope}/bias"] == [filters]
        op = Conv2D(filters, height, 1, dilation, padding, activation, use_bias=True)
        return scope, op, inputs

    def read_maxpool(self, entry):
        assert entry["data_format"] == "NHWC"
        (one, pool, pool_again, another), strides = entry["ksize"], entry["strides"]
        assert (one, another, strides[0], strides[3]) == (1, 1, 1, 1)
        assert (pool, strides[1]) == (pool_again, strides[2])
        return entry["name"], MaxPool2D(pool, strides[1], entry["padding"]), entry["inputs"]

    def read_concatv2(self, entry):
        assert [constant["value"] for constant in entry["constants"].values()] == [3]
        return entry["name"], Concat(), entry["inputs"]

    def read_mean(self, entry):
        assert entry["keep_dims"]
        assert [constant["shape"] for constant in entry["constants"].values()] == [[2]]
        return entry["name"], GlobalMean(), entry["inputs"]

    def read_resizebilinear(self, entry):
        assert entry["align_corners"] is False
        coordinates = "half_pixel" if entry["half_pixel_centers"] else "asymmetric"
        size = entry["size"]
        assert size["axes"] == [1, 2]
        assert size["of"][0] == size["of"][1]
        assert size["times"][0] == size["times"][1]
        if size["of"][0] == entry["inputs"][0]:
            return entry["name"], Resize(size["times"][0], coordinates), entry["inputs"]
        assert size["times"] == [1, 1]
        return entry["name"], ResizeLike(coordinates), [*entry["inputs"], size["of"][0]]

    def read_realdiv(self, entry):
        shifted = self.take(entry["inputs"][0], "Sub")
        divisor = self.take(entry["inputs"][1], "Add")
        highest = self.take(divisor["inputs"][0], "Max")
        lowest = self.take(shifted["inputs"][1], "Min")
        assert highest["inputs"] == [shifted["name"]]
        assert lowest["inputs"] == shifted["inputs"][:1]
        for extreme in (highest, lowest):
            assert extreme["keep_dims"]
            assert [axes["value"] for axes in extreme["constants"].values()] == [[1, 2, 3]]
        assert [epsilon["shape"] for epsilon in divisor["constants"].values()] == [[]]
        return "output", MinMaxNormalize(), lowest["inputs"]


def pair_nodes(ours: Graph, theirs: Graph) -> dict[str, str]:
    """Walk both graphs from their outputs together; fail where they part."""
    nodes = [{node.name: node for node in graph.nodes} for graph in (ours, theirs)]
    pairs: dict[str, str] = {}
    waiting = [(ours.output.name, theirs.output.name)]
    while waiting:
        one, other = waiting.pop()
        if pairs.setdefault(one, other) != other:
            pytest.fail(f"{one} is both {pairs[one]} and {other}")
        first, second = nodes[0][one], nodes[1][other]
        assert first.op == second.op, (one, other)
        assert len(first.inputs) == len(second.inputs), (one, other)
        waiting += [
            pair
            for pair in zip(first.inputs, second.inputs, strict=True)
            if pairs.get(pair[0]) != pair[1]
        ]
    assert len(set(pairs.values())) == len(pairs)
    return pairs


@pytest.fixture(scope="module")
def topology():
    return json.loads((DATA / "published_topology.json").read_text())


@pytest.fixture
def published(topology):
    return PublishedGraph(topology)


def test_every_op_agrees_with_the_published_graph(published):
    ours, theirs = msinet_graph(), published.builder.build()
    pairs = pair_nodes(ours, theirs)
    assert set(pairs) == {node.name for node in ours.nodes}
    assert set(pairs.values()) == {node.name for node in theirs.nodes}
    assert published.read == set(published.entries)  # nothing published was left out
    assert {p.name: p.shape for p in ours.parameters} == {
        p.name: p.shape for p in theirs.parameters
    }


def test_the_three_dilated_branches_have_rates_of_their_own(topology):
    rates = [
        next(iter(entry["constants"])) for entry in topology if entry["op"] == "SpaceToBatchND"
    ]
    conv5, aspp = rates[:3], rates[3:]
    assert set(conv5) == {"conv5/conv5_1/dilation_rate"}  # equal constants were merged
    assert len(set(aspp)) == 3


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"op": Conv2D(256, dilation=4)}, "aspp/conv1_3"),
        ({"op": Conv2D(256, dilation=8, activation="linear")}, "aspp/conv1_3"),
        ({"op": Conv2D(256, dilation=8, padding="VALID")}, "aspp/conv1_3"),
    ],
)
def test_the_comparison_sees_a_changed_convolution(published, change, word):
    nodes = tuple(
        dataclasses.replace(node, **change) if node.name == word else node
        for node in msinet_graph().nodes
    )
    with pytest.raises(AssertionError, match=word):
        pair_nodes(Graph(nodes), published.builder.build())


def test_the_comparison_sees_a_changed_order(published):
    nodes = tuple(
        dataclasses.replace(node, inputs=node.inputs[::-1]) if node.name == "aspp/concat" else node
        for node in msinet_graph().nodes
    )
    with pytest.raises(AssertionError):
        pair_nodes(Graph(nodes), published.builder.build())


def test_the_extract_is_that_of_the_full_file(topology):
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published model is not at {PUBLISHED}")
    path = DATA / "extract_published_topology.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.extract(PUBLISHED) == topology


def test_published_tail_makes_a_map():
    """The published weights of the ASPP fusion and the decoder fit the part that they are for."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published weights are not at {PUBLISHED}")
    tail = msinet_graph().between("aspp/concat", "output")
    with np.load(PUBLISHED / "tensors_f16.npz") as tensors:
        weights = {
            parameter.name: tensors[parameter.name.replace("/", "__")].astype(np.float32)
            for parameter in tail.parameters
        }
    for parameter in tail.parameters:
        assert weights[parameter.name].shape == parameter.shape
    features = np.random.default_rng(0).gamma(0.5, 1.0, (1, 6, 8, 1280)).astype(np.float32)
    maps = SPEC.open().compile(tail, State(weights)).predict(features)
    assert maps.shape == (1, 48, 64, 1)
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1)
    assert maps.std() > 0.05


def test_published_figures():
    graph = msinet_graph()
    convolutions = [node for node in graph.nodes if isinstance(node.op, Conv2D)]
    assert len(convolutions) == 23
    assert len(graph.parameters) == 46
    assert graph.parameter_count == 24_934_209
    assert graph.flops((240, 320)) == pytest.approx(91.06e9, rel=1e-4)
    assert graph.size_multiple == 8
    encoder = [p for p in graph.parameters if p.name.startswith("conv")]
    assert len(encoder) == 26  # VGG16's thirteen kernels and biases


def test_published_sizes_come_back():
    graph = msinet_graph()
    for size in ((240, 320), (216, 384), (360, 360)):
        graph.check_image_size(size)
        sizes = graph.sizes(size)
        assert sizes["output"] == size
        assert sizes["encoder/concat"] == (size[0] // 8, size[1] // 8)
    assert graph.channels["encoder/concat"] == 1280
    assert graph.channels["aspp/concat"] == 1280


def test_every_resize_follows_the_choice():
    for choice in ("asymmetric", "half_pixel"):
        resizes = [
            n.op for n in msinet_graph(resize=choice).nodes if isinstance(n.op, Resize | ResizeLike)
        ]
        assert [op.coordinates for op in resizes] == [choice] * 4
    assert msinet_graph().fingerprint == msinet_graph(resize="asymmetric").fingerprint
    assert msinet_graph().fingerprint != msinet_graph(resize="half_pixel").fingerprint


def test_width_scales_every_channel_but_the_output():
    narrow, full = msinet_graph(width=1 / 16), msinet_graph()
    assert [node.name for node in narrow.nodes] == [node.name for node in full.nodes]
    for name, channels in full.channels.items():
        expected = (
            channels if name in ("input", "subtract_mean") or channels == 1 else channels / 16
        )
        assert narrow.channels[name] == expected, name
    assert min(msinet_graph(width=1e-6).channels.values()) == 1


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf")])
def test_an_invalid_width_is_refused(width):
    with pytest.raises(UsageError, match=f"width.*{width}"):
        msinet_graph(width=width)


@pytest.mark.parametrize(
    ("size", "suggested"),
    [
        ((241, 320), "240x320 or 248x320"),
        ((240, 325), "240x320 or 240x328"),
        ((7, 100), "8x96 or 8x104"),
        ((0, 8), "8x8"),
    ],
)
def test_invalid_image_sizes_are_refused_and_valid_ones_suggested(size, suggested):
    with pytest.raises(UsageError, match=f"{size[0]}x{size[1]}.*{suggested}"):
        msinet_graph().check_image_size(size)
