// Copy ONNX Runtime into vendor/, and with `node bundle.mjs model.onnx` a model as well.
// Pages opened from a file cannot read other files, only run scripts, so that each binary file is
// also written as a script.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "node_modules", "onnxruntime-web", "dist");
const vendor = join(here, "vendor");

function writeScript(path, name) {
  const file = basename(path);
  const text = JSON.stringify({ name: file, base64: readFileSync(path).toString("base64") });
  writeFileSync(join(vendor, `${name}.js`), `(self.MSINET_FILES ??= {})["${name}"] = ${text};\n`);
}

mkdirSync(vendor, { recursive: true });
const [model] = process.argv.slice(2);
if (model) {
  writeScript(model, "model");
} else {
  for (const name of ["ort.wasm.min.js", "ort.webgpu.min.js"]) {
    copyFileSync(join(source, name), join(vendor, name));
  }
  for (const name of ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"]) {
    for (const ending of ["mjs", "wasm"]) {
      copyFileSync(join(source, `${name}.${ending}`), join(vendor, `${name}.${ending}`));
      writeScript(join(source, `${name}.${ending}`), `${name}.${ending}`);
    }
  }
}
