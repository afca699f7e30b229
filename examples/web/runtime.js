// Load ONNX Runtime and models, from a web server or from files.
"use strict";

const VENDOR = "vendor/";
const IS_FILE = location.protocol === "file:";

/** An error whose message is a sentence for the user. */
class PageError extends Error {}

function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = resolve;
    script.onerror = () => reject(new PageError(`${path} cannot be loaded.`));
    document.head.append(script);
  });
}

/** Return the bytes of a file that bundle.mjs wrote as a script. */
async function bundledBytes(name) {
  await loadScript(`${VENDOR}${name}.js`);
  const text = atob(self.MSINET_FILES[name].base64);
  delete self.MSINET_FILES[name].base64;
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/** Let WebAssembly use threads where a service worker can add the headers that they need. */
async function isolate() {
  if (self.crossOriginIsolated || IS_FILE || !self.isSecureContext || !navigator.serviceWorker) {
    return;
  }
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    if (!sessionStorage.getItem("msinet-isolated")) {
      sessionStorage.setItem("msinet-isolated", "tried");
      location.reload();
      await new Promise(() => {});
    }
  } catch {
    // Without threads the page is slower, and otherwise the same.
  }
}

async function hasWebGpu() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}

/**
 * Load ONNX Runtime for WebGPU if the browser has it, else for WebAssembly.
 *
 * `?backend=webgpu` or `?backend=wasm` in the address requests one of them.
 */
async function loadRuntime() {
  await isolate();
  const requested = new URLSearchParams(location.search).get("backend");
  if (requested && !["wasm", "webgpu"].includes(requested)) {
    throw new PageError(`Unknown backend "${requested}" in the address; use wasm or webgpu.`);
  }
  const gpu = requested !== "wasm" && (await hasWebGpu());
  if (requested === "webgpu" && !gpu) {
    throw new PageError("This browser does not offer WebGPU. Remove ?backend=webgpu.");
  }
  const backend = gpu ? "webgpu" : "wasm";
  const name = `ort-wasm-simd-threaded${gpu ? ".asyncify" : ""}`;
  try {
    await loadScript(`${VENDOR}ort.${backend}.min.js`);
    if (IS_FILE) {
      const glue = new Blob([await bundledBytes(`${name}.mjs`)], { type: "text/javascript" });
      ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(glue) };
      ort.env.wasm.wasmBinary = await bundledBytes(`${name}.wasm`);
    } else {
      const folder = new URL(VENDOR, location.href);
      ort.env.wasm.wasmPaths = {
        mjs: new URL(`${name}.mjs`, folder).href,
        wasm: new URL(`${name}.wasm`, folder).href,
      };
    }
  } catch (error) {
    throw new PageError(
      `ONNX Runtime is missing: ${error.message} Run npm install in the folder of this page, ` +
        "then reload it.",
    );
  }
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(8, navigator.hardwareConcurrency || 1)
    : 1;
  ort.env.logLevel = "error";
  return backend;
}

/** Find the model that came with the page: in vendor/model.js, or beside it on a web server. */
async function findModel() {
  try {
    const bytes = await bundledBytes("model");
    return { name: self.MSINET_FILES.model.name, bytes };
  } catch {
    // None was bundled.
  }
  if (IS_FILE) return null;
  try {
    const response = await fetch("model.onnx");
    return response.ok ? { name: "model.onnx", bytes: new Uint8Array(await response.arrayBuffer()) } : null;
  } catch {
    return null;
  }
}

/** Open a model; returns how to run it. */
async function openModel(bytes, name, backend) {
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: [backend] });
  } catch (error) {
    const reason = String(error.message ?? error).split("\n")[0];
    throw new PageError(
      `${name} is not a model that ONNX Runtime can load (${reason}). ` +
        "Write one with: msinet-run convert best.msinet.h5 model.onnx",
    );
  }
  const input = session.inputMetadata[0];
  const shape = input.shape ?? [];
  const axes = { 3: "NHWC", 1: "NCHW" }[shape.lastIndexOf(3)];
  const types = ["float32", "uint8"];
  if (shape.length !== 4 || !axes || !types.includes(input.type) || session.outputNames.length !== 1) {
    throw new PageError(
      `${name} does not take one RGB image and return one map. ` +
        "Write a model with: msinet-run convert best.msinet.h5 model.onnx",
    );
  }
  const fixed = [shape[axes.indexOf("H")], shape[axes.indexOf("W")]];
  return { session, input, axes, name, size: fixed.every(Number.isInteger) ? fixed : null };
}

/** Compute the map of an image that was fitted into `size`. */
async function runModel({ session, input, axes }, fitted, size) {
  const pixels = size[0] * size[1];
  let data = fitted;
  if (axes === "NCHW") {
    data = new Float32Array(fitted.length);
    for (let index = 0; index < fitted.length; index++) {
      data[(index % 3) * pixels + Math.floor(index / 3)] = fitted[index];
    }
  }
  if (input.type === "uint8") data = Uint8Array.from(data, Math.round);
  const shape = axes === "NHWC" ? [1, ...size, 3] : [1, 3, ...size];
  const tensor = new ort.Tensor(input.type, data, shape);
  const results = await session.run({ [input.name]: tensor });
  return (await results[session.outputNames[0]].getData()).slice();
}
