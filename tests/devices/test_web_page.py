"""The web page in Chromium: the reference's maps, what goes wrong, and what everybody can use."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core import Checkpoint, OnnxSettings, convert, load, msinet_graph
from msinet_core.checkpoint import save_checkpoint
from msinet_core.training.initial_weights import random_state

WEB = Path(__file__).parents[2] / "examples" / "web"
PAGE = ("index.html", "style.css", "saliency.js", "runtime.js", "page.js", "sw.js", "bundle.mjs")
SIZE = (48, 64)
TIMEOUT = 60_000
"""Milliseconds; loading WebAssembly takes two seconds on an idle machine."""

READY = "document.body.classList.contains('ready')"
FILES = {"gray.jpg": (90, 120), "wide.png": (31, 200), "transparent.png": (100, 77)}
"""Images with their height and width."""

DROP = """
([name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the page with ONNX Runtime in it, as after ``npm install``."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("web")
    for name in (*PAGE, "package.json", "package-lock.json"):
        shutil.copy(WEB / name, folder / name)
    if (WEB / "vendor").is_dir():
        (folder / "vendor").mkdir()
        for file in (WEB / "vendor").iterdir():
            if file.name != "model.js":
                (folder / "vendor" / file.name).symlink_to(file)
    elif npm := shutil.which("npm"):
        command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=200, check=False)
        if done.returncode:
            pytest.skip("npm cannot install onnxruntime-web: no network?")
    else:
        pytest.skip("npm is not installed")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a checkpoint, and models made from it."""
    from PIL import Image

    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    for (name, (height, width)), mode in zip(FILES.items(), ("L", "RGB", "RGBA"), strict=True):
        blocks = random.integers(0, 256, (6, 8, 4)).astype(np.uint8)
        image = Image.fromarray(blocks).resize((width, height)).convert(mode)
        image.save(folder / name, quality=95)
    graph = msinet_graph(1 / 16)
    weights = folder / "narrow.msinet.h5"
    save_checkpoint(weights, Checkpoint(graph, random_state(graph, 0)))
    for name, settings in (
        ("fixed.onnx", OnnxSettings(image_size=SIZE)),
        ("bytes.onnx", OnnxSettings("float32", SIZE, "NCHW", "uint8")),
        ("any.onnx", OnnxSettings()),
    ):
        convert(weights, folder / name, settings=settings)
    (folder / "broken.onnx").write_bytes((folder / "fixed.onnx").read_bytes()[:5000])
    (folder / "notes.png").write_text("This is a text.", encoding="utf-8")
    return folder


def expected(files: Path, image: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    model = load(files / "narrow.msinet.h5", device="reference", image_size=size)
    return model.predict(files / image)


def open_page(browser: Any, address: str, **context: Any) -> Any:
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    page.wait_for_function("self.msinet?.backend")
    return page


def use_model(page: Any, file: Path) -> None:
    page.set_input_files("#model-file", file)
    page.wait_for_function(f"msinet.model?.name === '{file.name}' && {READY}")


def use_image(page: Any, file: Path) -> np.ndarray:
    page.evaluate("msinet.map = null")
    page.set_input_files("#image-file", file)
    page.wait_for_function(f"msinet.map && {READY}")
    height, width = page.evaluate("msinet.image.size")
    return np.array(page.evaluate("Array.from(msinet.map)")).reshape(height, width)


def drop(page: Any, file: Path) -> None:
    import base64

    page.evaluate(DROP, [file.name, base64.b64encode(file.read_bytes()).decode()])


def error_after(page: Any, name: str) -> str:
    page.wait_for_function(
        f"!document.getElementById('error').hidden && document.getElementById('error').textContent"
        f".includes('{name}')"
    )
    text: str = page.inner_text("[role=alert]")
    return text


@pytest.fixture(scope="module")
def page(browser: Any, site: Path, files: Path) -> Any:
    """The page opened as a file, with a model."""
    opened = open_page(browser, f"{(site / 'index.html').as_uri()}?backend=wasm")
    use_model(opened, files / "fixed.onnx")
    return opened


# --- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", FILES)
def test_the_map_is_the_reference_s(page: Any, files: Path, image: str) -> None:
    found = use_image(page, files / image)
    assert found.shape == FILES[image]
    np.testing.assert_allclose(found, expected(files, image), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "size", "tolerance"),
    [("any.onnx", (240, 320), 1e-3), ("bytes.onnx", SIZE, 0.02)],  # uint8 rounds the fitted image
)
def test_other_kinds_of_models(
    page: Any, files: Path, model: str, size: tuple[int, int], tolerance: float
) -> None:
    use_model(page, files / model)
    found = use_image(page, files / "wide.png")
    use_model(page, files / "fixed.onnx")
    np.testing.assert_allclose(found, expected(files, "wide.png", size), rtol=0, atol=tolerance)


def test_the_strongest_points_are_maxima(page: Any, files: Path) -> None:
    found = use_image(page, files / "gray.jpg")
    height, width = found.shape
    points = page.evaluate("msinet.points")
    y, x = (int(points[0]["y"] * height), int(points[0]["x"] * width))
    assert found[y, x] == pytest.approx(found.max(), abs=0.01)
    values = [point["value"] for point in points]
    assert len(values) == page.locator("#points li").count() > 1
    where = np.array([[point["y"] * height, point["x"] * width] for point in points])
    distances = np.linalg.norm(where[:, None] - where[None], axis=-1)
    assert distances[np.triu_indices(len(where), 1)].min() > 0.05 * np.hypot(height, width)


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_text_dropped_as_an_image(page: Any, files: Path) -> None:
    before = use_image(page, files / "wide.png")
    drop(page, files / "notes.png")
    assert "not an image" in error_after(page, "notes.png")
    assert page.evaluate("msinet.image.name") == "wide.png"  # the result stays
    drop(page, files / "gray.jpg")
    page.wait_for_function(f"msinet.image.name === 'gray.jpg' && {READY}")
    assert page.is_hidden("#error")
    assert page.evaluate("msinet.map.length") != before.size


def test_a_broken_model(page: Any, files: Path) -> None:
    drop(page, files / "broken.onnx")
    assert "msinet-run convert" in error_after(page, "broken.onnx")
    assert page.evaluate("msinet.model.name") == "fixed.onnx"
    assert "fixed.onnx" in page.inner_text("[role=status]")


def test_a_model_of_another_kind(page: Any, files: Path) -> None:
    onnx = pytest.importorskip("onnx")
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 10]) for name in "xy"
    ]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), files / "other.onnx"
    )
    drop(page, files / "other.onnx")
    assert "RGB" in error_after(page, "other.onnx")


def test_a_model_that_fails_keeps_the_last_result(page: Any, files: Path) -> None:
    use_image(page, files / "wide.png")
    page.evaluate("() => { self.whole = runModel; }")
    page.evaluate("() => { self.runModel = () => { throw new Error('no memory'); }; }")
    drop(page, files / "gray.jpg")
    assert "no memory" in error_after(page, "gray.jpg")
    page.evaluate("() => { self.runModel = whole; }")
    assert page.evaluate("[msinet.image.name, msinet.map.length]") == ["wide.png", 31 * 200]


def test_an_image_before_a_model(browser: Any, site: Path, files: Path) -> None:
    page = open_page(browser, f"{(site / 'index.html').as_uri()}?backend=wasm")
    drop(page, files / "wide.png")
    assert "convert" in error_after(page, "model")
    assert page.is_visible("#first-model") and page.is_hidden("#choose-image")
    use_model(page, files / "fixed.onnx")
    assert page.evaluate("[msinet.image.name, msinet.map.length]") == ["wide.png", 31 * 200]
    assert page.is_hidden("#error") and page.is_visible("#choose-model")


def test_a_page_without_onnx_runtime(browser: Any, site: Path, tmp_path: Path) -> None:
    for name in PAGE:
        shutil.copy(site / name, tmp_path / name)
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    assert "npm install" in error_after(page, "ONNX Runtime")


# --- use -----------------------------------------------------------------------------------------


def test_files_are_chosen_with_the_keyboard(page: Any, files: Path) -> None:
    use_image(page, files / "wide.png")
    page.evaluate(
        "self.opened = []; for (const input of document.querySelectorAll('input[type=file]'))"
        "input.addEventListener('click', (e) => { e.preventDefault(); opened.push(input.id); })"
    )
    for button, key in (("#choose-model", "Enter"), ("#another", "Space")):
        page.press(button, key)
    assert page.evaluate("opened") == ["model-file", "image-file"]


def test_views_change_with_the_keyboard_and_are_announced(page: Any, files: Path) -> None:
    use_image(page, files / "wide.png")
    page.focus("input[value=heat]")
    labels = [page.get_attribute("#stage", "aria-label")]
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        labels.append(page.get_attribute("#stage", "aria-label"))
    assert len(set(labels)) == 3 and all("wide.png" in label for label in labels)
    page.keyboard.press("ArrowRight")
    page.focus("#scan")
    page.keyboard.press("Space")
    assert page.is_hidden("#points") and page.is_hidden("#scan-path")
    page.keyboard.press("Space")
    assert page.is_visible("#points")


def test_the_download_is_a_png_of_the_image_s_size(page: Any, files: Path, tmp_path: Path) -> None:
    from PIL import Image

    found = use_image(page, files / "transparent.png")
    pictures = {}
    for scan in (True, False):
        page.set_checked("#scan", scan)
        page.check("input[value=map]", force=True)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "map.png")
        assert download.value.suggested_filename == "transparent_map.png"
        pictures[scan] = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    page.set_checked("#scan", True)
    page.check("input[value=heat]", force=True)
    assert np.abs(pictures[False][..., 0] / 255 - found).max() < 0.005
    assert (pictures[True] != pictures[False]).any()


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_is_cut_off(page: Any, files: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})
    use_image(page, files / "wide.png")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    sizes = page.evaluate("[...document.querySelectorAll('button')].map((b) => b.clientHeight)")
    assert all(size >= 40 for size in sizes if size)  # for fingers


# --- where it runs -------------------------------------------------------------------------------


def test_a_bundled_model_needs_no_choice(browser: Any, site: Path, files: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    subprocess.run([node, "bundle.mjs", str(files / "fixed.onnx")], cwd=site, check=True)
    try:
        page = open_page(browser, f"{(site / 'index.html').as_uri()}?backend=wasm")
        page.wait_for_function(READY)
        found = use_image(page, files / "wide.png")
    finally:
        (site / "vendor" / "model.js").unlink()
    np.testing.assert_allclose(found, expected(files, "wide.png"), rtol=0, atol=1e-3)


def test_on_a_static_host_it_uses_threads_and_then_works_offline(
    browser: Any, site: Path, files: Path
) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    shutil.copy(files / "fixed.onnx", site / "model.onnx")
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/index.html?backend=wasm"
        page = open_page(browser, address)
        page.wait_for_function(READY)
        assert page.evaluate("crossOriginIsolated")
        use_image(page, files / "wide.png")
    finally:
        server.shutdown()
        server.server_close()
        (site / "model.onnx").unlink()
    page.reload()
    page.wait_for_function(READY)
    found = use_image(page, files / "wide.png")
    np.testing.assert_allclose(found, expected(files, "wide.png"), rtol=0, atol=1e-3)
