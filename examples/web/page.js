// The page: what is dropped, what is shown, and what went wrong.
"use strict";

const DEFAULT_SIZE = [240, 320];
const MAX_PIXELS = 2 ** 24; // the largest canvas of some phones
const LOOK_SIZE = 320; // pixels of the map in which points are searched
const BACKENDS = { webgpu: "WebGPU", wasm: "WebAssembly" };

const element = (id) => document.getElementById(id);
const page = { backend: null, model: null, image: null, waiting: null, map: null, points: [] };
self.msinet = page; // for the console and for tests

function setStatus(text, state) {
  element("status-text").textContent = text;
  document.body.classList.toggle("busy", state === "busy");
  document.body.classList.toggle("ready", state === "ready");
}

function showReady() {
  if (!page.backend) return;
  const isFirst = !page.model; // without a model, an image is of no use yet
  element("drop-title").textContent = `Drop ${isFirst ? "a model" : "an image"} here`;
  for (const id of ["need-image", "choose-image", "choose-model"]) element(id).hidden = isFirst;
  for (const id of ["need-model", "first-model"]) element(id).hidden = !isFirst;
  if (isFirst) return setStatus("No model yet");
  const threads = ort.env.wasm.numThreads;
  const how = page.backend === "wasm" ? `${BACKENDS.wasm}, ${threads} thread${threads > 1 ? "s" : ""}`
    : BACKENDS.webgpu;
  setStatus(`Ready: ${page.model.name} with ${how}`, "ready");
}

function showError(error) {
  const isExpected = error instanceof PageError;
  if (!isExpected) console.error(error);
  element("error").textContent = isExpected
    ? error.message
    : `Something unexpected happened: ${error.message ?? error}. Reload the page.`;
  element("error").hidden = false;
  showReady();
}

/** Run one task after the other, and show what goes wrong. */
let queue = Promise.resolve();
function enqueue(task) {
  queue = queue.then(async () => {
    element("error").hidden = true;
    try {
      await task();
    } catch (error) {
      showError(error);
    }
  });
  return queue;
}

/** Let the browser draw before the processor is busy. */
const nextFrame = () =>
  new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

async function start() {
  setStatus("Loading ONNX Runtime…", "busy");
  page.backend = await loadRuntime();
  const found = await findModel();
  if (found) await useModel(found.bytes, found.name);
  showReady();
}

async function useModel(bytes, name) {
  if (!page.backend) throw new PageError("ONNX Runtime did not load; reload the page.");
  setStatus(`Loading ${name}…`, "busy");
  await nextFrame();
  const model = await openModel(bytes, name, page.backend);
  await page.model?.session.release();
  page.model = model;
  const image = page.waiting ?? page.image;
  page.waiting = null;
  if (image) await predict(image);
  else showReady();
}

const useModelFile = async (file) => useModel(new Uint8Array(await file.arrayBuffer()), file.name);

/** Decode an image file into RGBA at its own size, upright and over white. */
async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new PageError(
      `${file.name} is not an image that this browser can read. Use a JPEG, PNG or WebP file.`,
    );
  }
  const shrink = Math.min(1, Math.sqrt(MAX_PIXELS / (bitmap.width * bitmap.height)));
  const width = Math.max(1, Math.floor(bitmap.width * shrink));
  const height = Math.max(1, Math.floor(bitmap.height * shrink));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  return { name: file.name, size: [height, width], rgba };
}

async function useImage(file) {
  const image = await decode(file);
  if (!page.model) {
    page.waiting = image;
    throw new PageError(
      `${image.name} waits for a model: a file *.onnx, written with: ` +
        "msinet-run convert best.msinet.h5 model.onnx",
    );
  }
  await predict(image);
}

async function predict(image) {
  const { model } = page;
  setStatus(`Looking at ${image.name}…`, "busy");
  await nextFrame();
  const size = model.size ?? DEFAULT_SIZE;
  const begin = performance.now();
  let output;
  try {
    output = await runModel(model, fit(withoutAlpha(image.rgba), image.size, size), size);
  } catch (error) {
    throw new PageError(`ONNX Runtime failed on ${image.name}: ${error.message ?? error}`);
  }
  const seconds = (performance.now() - begin) / 1000;
  page.image = image; // only now: if the model fails, the last result stays
  page.map = restoreMap(output, size, image.size);
  page.points = findPoints(page.map, image.size);
  element("drop").hidden = true;
  element("result").hidden = false;
  listPoints();
  draw();
  drawScan();
  element("facts").textContent =
    `${image.name}, ${image.size[1]} × ${image.size[0]} pixels; seen by the network at ` +
    `${size[1]} × ${size[0]}, in ${seconds.toFixed(2)} s.`;
  showReady();
}

/** Search points in a small copy of the map: neighbors of a point hardly differ. */
function findPoints(map, [height, width]) {
  const scale = Math.min(1, LOOK_SIZE / Math.max(height, width));
  const small = [height, width].map((axis) => Math.max(1, Math.round(axis * scale)));
  const rows = resampleRows(map, width, resizeWeights(height, small[0]));
  const look = resampleColumns(rows, width, 1, resizeWeights(width, small[1]));
  return strongestPoints(look, small).map(({ x, y, value }) => ({
    x: (x + 0.5) / small[1],
    y: (y + 0.5) / small[0],
    value,
  }));
}

const percent = (value) => `${Math.round(100 * value)} %`;

function listPoints() {
  element("points").replaceChildren(
    ...page.points.map(({ x, y, value }, index) => {
      const item = document.createElement("li");
      const number = Object.assign(document.createElement("b"), { textContent: index + 1 });
      const bar = document.createElement("i");
      bar.style.setProperty("--value", value);
      const text = Object.assign(document.createElement("em"), { textContent: percent(value) });
      item.append(number, bar, text);
      item.title = `${percent(x)} from the left, ${percent(y)} from the top`;
      return item;
    }),
  );
}

const chosenView = () => document.querySelector("input[name=view]:checked").value;

function draw() {
  const { image, map, points } = page;
  const [height, width] = image.size;
  const shown = {
    heat: () => drawHeat(image.rgba, map),
    map: () => drawMap(map),
    image: () => Uint8ClampedArray.from(image.rgba),
  }[chosenView()]();
  const canvas = Object.assign(element("stage"), { width, height });
  canvas.getContext("2d").putImageData(new ImageData(shown, width, height), 0, 0);
  element("frame").style.setProperty("--ratio", width / height);
  const [first] = points;
  const where = first
    ? `the strongest point is ${percent(first.x)} from the left and ${percent(first.y)} from the top`
    : "no point stands out";
  canvas.setAttribute("aria-label", `${image.name}, ${chosenView()}: ${where}`);
  showScan();
}

function showScan() {
  const isOn = element("scan").checked;
  element("points").toggleAttribute("hidden", !isOn);
  element("scan-path").toggleAttribute("hidden", !isOn);
}

/** Draw the strongest points in order, as an SVG over the image. */
function drawScan() {
  const [height, width] = page.image.size;
  // On a phone, as large as the numbers in the list.
  const unit = Math.max(Math.max(width, height) / 100, (6.5 * width) / element("frame").clientWidth);
  const inside = (value, length) => Math.min(length - 2 * unit, Math.max(2 * unit, value * length));
  const at = page.points.map(({ x, y }) => [inside(x, width), inside(y, height)]);
  const line = (color, thickness) =>
    `<polyline points="${at.join(" ")}" fill="none" stroke="${color}" stroke-width="${thickness * unit}"
      stroke-linejoin="round" pathLength="1" stroke-dasharray="1"/>`;
  const marks = at.map(
    ([x, y], index) =>
      `<g style="--order: ${index}" transform="translate(${x} ${y}) scale(${unit})">
        <circle r="1.7" fill="#fff" stroke="#000" stroke-width="0.25"/>
        <text y="0.72" font-size="2" font-weight="700" font-family="system-ui, sans-serif"
          text-anchor="middle" fill="#111">${index + 1}</text></g>`,
  );
  const svg = element("scan-path");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = line("#000a", 0.7) + line("#fff", 0.3) + marks.join("");
}

/** Save what is shown as a PNG of the image's size. */
async function download() {
  const [height, width] = page.image.size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(element("stage"), 0, 0);
  if (element("scan").checked) {
    const svg = element("scan-path").cloneNode(true);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const picture = new Image();
    picture.src = `data:image/svg+xml,${encodeURIComponent(svg.outerHTML)}`;
    await picture.decode();
    context.drawImage(picture, 0, 0);
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${page.image.name.replace(/\.[^.]*$/, "")}_${chosenView()}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Use a file as a model or as an image, by its name. */
function use(file) {
  if (!file) return;
  const isModel = /\.(onnx|ort)$/i.test(file.name);
  enqueue(() => (isModel ? useModelFile(file) : useImage(file)));
}

function connect(button, input, task) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = ""; // so that the same file can be chosen again
    if (file) enqueue(() => task(file));
  });
}

connect("choose-image", "image-file", useImage);
connect("choose-model", "model-file", useModelFile);
element("first-model").addEventListener("click", () => element("model-file").click());
element("another").addEventListener("click", () => element("image-file").click());
element("download").addEventListener("click", () => enqueue(download));
element("scan").addEventListener("change", showScan);
for (const radio of document.querySelectorAll("input[name=view]")) {
  radio.addEventListener("change", draw);
}
for (const [type, inside] of [["dragenter", true], ["dragover", true], ["dragleave", false]]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", inside);
  });
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  for (const file of event.dataTransfer.files) use(file);
});
document.addEventListener("paste", (event) => use(event.clipboardData.files[0]));

enqueue(start);
