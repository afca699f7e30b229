"""The weights that training starts from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.checkpoint import Checkpoint, published, save_checkpoint
from msinet_core.errors import CheckpointError, MsinetError, UsageError
from msinet_core.network.graph import Graph, GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import OptimizerState
from msinet_core.training.initial_weights import check_init, initial_state, random_state

GRAPH = msinet_graph(0.02)


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the caches of this machine from the tests; return the folder of Keras."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(
        "platformdirs.user_cache_path", lambda *_, **options: tmp_path / "cache" / "msinet"
    )
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].tobytes() == right[name].tobytes() for name in left
    )


def test_random_weights_fit_and_repeat() -> None:
    state = random_state(GRAPH, 5)
    assert state.mismatches(GRAPH) == []
    assert state.optimizer is None
    assert {tensor.dtype for tensor in state.weights.values()} == {np.dtype(np.float32)}
    assert same(state.weights, random_state(GRAPH, 5).weights)
    assert not same(state.weights, random_state(GRAPH, 6).weights)


def test_the_bits_are_the_same_on_every_machine_and_in_every_version() -> None:
    digest = hashlib.sha256()
    for name, tensor in random_state(GRAPH, 42).weights.items():
        digest.update(name.encode() + tensor.astype("<f4").tobytes())
    assert digest.hexdigest() == "8f64676122788d829513d127537580a48a09cd54a90aa8bf530a61d7b94b05e6"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64))
def test_a_tensor_depends_only_on_the_seed_and_its_name(seed: int) -> None:
    def chain(*names: str) -> Graph:
        net = GraphBuilder(4)
        x = net.input
        for name in names:
            x = net.add(name, Conv2D(4), x)
        return net.build()

    one, other = random_state(chain("a", "b"), seed), random_state(chain("c", "b", "a"), seed)
    np.testing.assert_array_equal(one.weights["a/kernel"], other.weights["a/kernel"])
    np.testing.assert_array_equal(one.weights["b/kernel"], other.weights["b/kernel"])
    assert not np.array_equal(one.weights["a/kernel"], one.weights["b/kernel"])


def test_variance_before_a_relu_is_he_and_elsewhere_glorot() -> None:
    net = GraphBuilder(32)
    x = net.add("relu", Conv2D(48), net.input)
    net.add("linear", Conv2D(64, activation="linear"), x)
    weights = random_state(net.build(), 0).weights
    relu, linear = weights["relu/kernel"], weights["linear/kernel"]
    assert relu.var() == pytest.approx(2 / (9 * 32), rel=0.03)
    assert linear.var() == pytest.approx(2 / (9 * 48 + 9 * 64), rel=0.03)
    for kernel in (relu, linear):
        assert abs(kernel.mean()) < 3 * kernel.std() / np.sqrt(kernel.size)
        assert np.abs(kernel).max() <= np.sqrt(3.03 * kernel.var())  # uniform, no tails
    assert not weights["relu/bias"].any()


def test_random_weights_are_announced_with_their_seed() -> None:
    state, sentence = initial_state(GRAPH, "random", 5)
    assert same(state.weights, random_state(GRAPH, 5).weights)
    assert "random" in sentence
    assert "seed 5" in sentence


def test_auto_without_vgg16_is_random_and_offers_the_download() -> None:
    state, sentence = initial_state(GRAPH, "auto", 5)
    assert same(state.weights, random_state(GRAPH, 5).weights)
    assert "seed 5" in sentence
    assert "--init vgg16" in sentence
    assert published.VGG16_ADDRESS in sentence


def test_a_failed_download_of_vgg16_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "VGG16_ADDRESS", "ftp://example.invalid/vgg16.h5")
    with pytest.raises(MsinetError) as error:
        initial_state(msinet_graph(), "vgg16", 5)
    target = tmp_path / "cache" / "msinet" / "weights" / published.VGG16_FILE
    assert published.VGG16_ADDRESS in str(error.value)
    assert str(target) in str(error.value)


def test_vgg16_is_downloaded_once_and_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "cache" / "msinet" / "weights" / published.VGG16_FILE
    requested: list[str] = []

    def download(url: str, path: Path, **options: object) -> Path:
        requested.append(url)
        assert options["checksum"] == "md5:6d6bbae143d832006294945121d1f1fc"
        path.parent.mkdir(parents=True)
        write_vgg16(path)
        return path

    monkeypatch.setattr("msinet_core.checkpoint.published.download", download)
    initial_state(msinet_graph(), "auto", 5)
    assert requested == []
    for _ in range(2):
        _, sentence = initial_state(msinet_graph(), "vgg16", 5)
        assert f"{target}" in sentence
    assert requested == [published.VGG16_ADDRESS]


def test_vgg16_is_not_downloaded_for_a_network_that_it_does_not_fit() -> None:
    with pytest.raises(CheckpointError, match=published.VGG16_FILE):
        initial_state(GRAPH, "vgg16", 5)


def write_vgg16(path: Path) -> None:
    encoder = msinet_graph().between("input", "pool5")
    with h5py.File(path, "w") as file:
        for parameter in encoder.parameters:
            block, layer = parameter.name.split("/")[1].removeprefix("conv").split("_")
            name = f"block{block}_conv{layer}"
            file[f"{name}/{name}_{parameter.role}:0"] = np.full(parameter.shape, 0.25, "<f4")


def test_vgg16_fills_the_encoder_and_the_rest_is_random(no_cache: Path) -> None:
    path = no_cache / published.VGG16_FILE
    write_vgg16(path)
    graph = msinet_graph()
    random = random_state(graph, 5).weights
    for init in ("vgg16", "auto", str(path)):
        state, sentence = initial_state(graph, init, 5, frozen=("encoder", "decoder"))
        assert state.mismatches(graph) == []
        assert str(path) in sentence
        assert sentence.endswith("The frozen decoder will stay random.")
        for name, tensor in state.weights.items():
            if name.startswith("conv"):
                assert (tensor == 0.25).all()
            else:
                np.testing.assert_array_equal(tensor, random[name])


def test_vgg16_fits_width_1_only(no_cache: Path) -> None:
    path = no_cache / published.VGG16_FILE
    write_vgg16(path)
    for init in ("vgg16", str(path)):
        with pytest.raises(CheckpointError, match=published.VGG16_FILE):
            initial_state(GRAPH, init, 5)
    state, sentence = initial_state(GRAPH, "auto", 5)
    assert same(state.weights, random_state(GRAPH, 5).weights)
    assert "width 1" in sentence


def test_another_network_has_no_encoder_for_vgg16(no_cache: Path) -> None:
    write_vgg16(no_cache / published.VGG16_FILE)
    net = GraphBuilder()
    net.add("only", Conv2D(1), net.input)
    with pytest.raises(CheckpointError, match=published.VGG16_FILE):
        initial_state(net.build(), "vgg16", 5)


def test_a_damaged_vgg16_file_is_an_error_even_for_auto(no_cache: Path) -> None:
    path = no_cache / published.VGG16_FILE
    write_vgg16(path)
    path.write_bytes(path.read_bytes()[:5000])
    for init in ("auto", "vgg16"):
        with pytest.raises(CheckpointError, match=published.VGG16_FILE):
            initial_state(msinet_graph(), init, 5)


def test_a_checkpoint_is_a_start_without_its_optimizer(tmp_path: Path) -> None:
    state = random_state(GRAPH, 7)
    trained = type(state)(state.weights, OptimizerState.zeros(state.weights))
    path = tmp_path / "best.msinet.h5"
    save_checkpoint(path, Checkpoint(GRAPH, trained))
    found, sentence = initial_state(GRAPH, str(path), 5)
    assert same(found.weights, state.weights)
    assert found.optimizer is None
    assert str(path) in sentence


def test_a_checkpoint_of_another_width_lists_its_mismatches(tmp_path: Path) -> None:
    other = msinet_graph(0.08)
    path = tmp_path / "best.msinet.h5"
    save_checkpoint(path, Checkpoint(other, random_state(other, 0)))
    with pytest.raises(CheckpointError) as error:
        initial_state(GRAPH, str(path), 5)
    assert "width" in str(error.value)
    assert "conv1/conv1_1/kernel" in str(error.value)
    assert "(3, 3, 3, 5)" in str(error.value)


def test_a_word_that_is_not_a_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        check_init("nothing")
    with pytest.raises(UsageError, match="vgg16"):
        check_init("vgg")
    with pytest.raises(UsageError, match="vgg19"):
        initial_state(GRAPH, "vgg19", 5)
    path = tmp_path / "notes.txt"
    path.write_text("not weights")
    with pytest.raises(CheckpointError, match=path.name):
        initial_state(GRAPH, str(path), 5)


@pytest.mark.parametrize(
    ("frozen", "random"),
    [((), ""), (("encoder",), "encoder"), (("encoder", "decoder"), "encoder and decoder")],
)
def test_frozen_parts_that_stay_random_are_named(frozen: tuple[str, ...], random: str) -> None:
    _, sentence = initial_state(GRAPH, "random", 5, frozen=frozen)
    assert sentence.endswith(f"The frozen {random} will stay random." if random else "(seed 5).")
