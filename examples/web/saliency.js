// The mathematics of the page: fitting images, restoring maps, heat, and the strongest points.
// The same as msinet_core/data/resize.py and msinet_core/prediction/pictures.py, so that the page
// shows what `msinet-run predict` writes.
"use strict";

const IMAGE_PADDING = 126;

/** Round as Python does: halves go to the even neighbor. */
function roundEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** Return the box of an image that is fitted into a size; sizes are [height, width] in pixels. */
function placement(original, size) {
  const scale = Math.min(size[0] / original[0], size[1] / original[1]);
  const [height, width] = original.map((axis) => Math.max(1, roundEven(axis * scale)));
  return {
    top: Math.floor((size[0] - height) / 2),
    left: Math.floor((size[1] - width) / 2),
    height,
    width,
  };
}

/** Weight source pixels by how much of them lies in each target pixel. */
function areaWeights(source, target) {
  const taps = Math.ceil(source / target) + 1;
  const first = new Int32Array(target);
  const weights = new Float64Array(target * taps);
  for (let pixel = 0; pixel < target; pixel++) {
    first[pixel] = Math.floor((pixel * source) / target);
    for (let tap = 0; tap < taps; tap++) {
      const column = first[pixel] + tap;
      const begin = Math.max(column * target, pixel * source);
      const end = Math.min((column + 1) * target, (pixel + 1) * source);
      weights[pixel * taps + tap] = Math.max(end - begin, 0) / source;
    }
  }
  return { first, taps, weights };
}

/** Weight the four nearest source pixels (Keys 1981, a = -1/2). */
function bicubicWeights(source, target) {
  const taps = 4;
  const first = new Int32Array(target);
  const weights = new Float64Array(target * taps);
  for (let pixel = 0; pixel < target; pixel++) {
    const center = (pixel + 0.5) * (source / target) - 0.5;
    first[pixel] = Math.floor(center) - 1;
    for (let tap = 0; tap < taps; tap++) {
      const x = Math.abs(center - (first[pixel] + tap));
      const near = (1.5 * x - 2.5) * x * x + 1;
      const far = ((-0.5 * x + 2.5) * x - 4) * x + 2;
      weights[pixel * taps + tap] = x < 1 ? near : x < 2 ? far : 0;
    }
  }
  return { first, taps, weights };
}

/** Return how one axis is resized: by area average down, bicubic up; taps outside are dropped. */
function resizeWeights(source, target) {
  const found = target < source ? areaWeights(source, target) : bicubicWeights(source, target);
  const { first, taps, weights } = found;
  for (let pixel = 0; pixel < target; pixel++) {
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const column = first[pixel] + tap;
      if (column < 0 || column >= source) weights[pixel * taps + tap] = 0;
      sum += weights[pixel * taps + tap];
    }
    for (let tap = 0; tap < taps; tap++) weights[pixel * taps + tap] /= sum;
  }
  return found;
}

/** Return the part of the weights that computes pixels start..start + count. */
function sliceWeights({ first, taps, weights }, start, count) {
  return {
    first: first.subarray(start, start + count),
    taps,
    weights: weights.subarray(start * taps, (start + count) * taps),
  };
}

/** Resize the rows of an array (rows, row length). */
function resampleRows(data, length, { first, taps, weights }) {
  const result = new Float32Array(first.length * length);
  const sums = new Float64Array(length);
  for (let row = 0; row < first.length; row++) {
    sums.fill(0);
    for (let tap = 0; tap < taps; tap++) {
      const weight = weights[row * taps + tap];
      if (weight === 0) continue;
      const start = (first[row] + tap) * length;
      for (let index = 0; index < length; index++) sums[index] += weight * data[start + index];
    }
    result.set(sums, row * length);
  }
  return result;
}

/** Resize the columns of an array (height, width, channels). */
function resampleColumns(data, width, channels, { first, taps, weights }) {
  const height = data.length / (width * channels);
  const result = new Float32Array(height * first.length * channels);
  let next = 0;
  for (let row = 0; row < height; row++) {
    const start = row * width * channels;
    for (let column = 0; column < first.length; column++) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let tap = 0; tap < taps; tap++) {
          const weight = weights[column * taps + tap];
          if (weight !== 0) {
            sum += weight * data[start + (first[column] + tap) * channels + channel];
          }
        }
        result[next++] = sum;
      }
    }
  }
  return result;
}

/** Return RGB (height, width, 3) from RGBA. */
function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

/** Fit an image into the network's size: keep its aspect ratio, pad with gray. */
function fit(rgb, original, size) {
  const box = placement(original, size);
  const rows = resampleRows(rgb, original[1] * 3, resizeWeights(original[0], box.height));
  const inside = resampleColumns(rows, original[1], 3, resizeWeights(original[1], box.width));
  const fitted = new Float32Array(size[0] * size[1] * 3).fill(IMAGE_PADDING);
  for (let row = 0; row < box.height; row++) {
    const to = ((box.top + row) * size[1] + box.left) * 3;
    const from = row * box.width * 3;
    for (let index = 0; index < box.width * 3; index++) {
      fitted[to + index] = Math.min(255, Math.max(0, inside[from + index]));
    }
  }
  return fitted;
}

/** Resize a network's map to the size of the image, without the padding. */
function restoreMap(map, size, original) {
  const scale = Math.max(original[0] / size[0], original[1] / size[1]);
  const box = placement(original, size);
  const cropped = [box.top, box.left].map((before, axis) => {
    const cover = Math.max(original[axis], roundEven(size[axis] * scale));
    const start = Math.min(roundEven(before * scale), cover - original[axis]);
    return sliceWeights(resizeWeights(size[axis], cover), start, original[axis]);
  });
  const rows = resampleRows(map, size[1], cropped[0]);
  const restored = resampleColumns(rows, size[1], 1, cropped[1]);
  return restored.map((value) => Math.min(1, Math.max(0, value)));
}

// Matplotlib's inferno at 17 steps; brighter is more salient, also for color-blind readers.
const INFERNO = [
  [0, 0, 4], [11, 7, 36], [33, 12, 74], [61, 9, 101], [87, 16, 110], [113, 25, 110],
  [138, 34, 106], [163, 44, 97], [188, 55, 84], [210, 70, 68], [228, 90, 49], [241, 115, 29],
  [249, 142, 9], [252, 172, 17], [249, 203, 53], [242, 234, 105], [252, 255, 164],
];

/** Return the color of a value in 0..1. */
function infernoColor(value) {
  const position = value * (INFERNO.length - 1);
  const step = Math.min(INFERNO.length - 2, Math.floor(position));
  const part = position - step;
  return INFERNO[step].map((low, channel) => low + part * (INFERNO[step + 1][channel] - low));
}

/** Draw a map as heat over its image: salient regions glow, the rest becomes gray and dim. */
function drawHeat(rgba, map) {
  const shown = new Uint8ClampedArray(rgba.length);
  const colors = Array.from({ length: 256 }, (_, step) => infernoColor(step / 255));
  for (let pixel = 0; pixel < map.length; pixel++) {
    const step = Math.round(255 * map[pixel]);
    const opacity = 0.85 * (step / 255) ** 0.75;
    const at = 4 * pixel;
    const luma = 0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2];
    const gray = (1 - opacity) * (0.75 * luma + 20);
    for (let channel = 0; channel < 3; channel++) {
      shown[at + channel] = gray + opacity * colors[step][channel];
    }
    shown[at + 3] = 255;
  }
  return shown;
}

/** Draw a map in gray. */
function drawMap(map) {
  const shown = new Uint8ClampedArray(4 * map.length);
  for (let pixel = 0; pixel < map.length; pixel++) {
    shown.fill(Math.round(255 * map[pixel]), 4 * pixel, 4 * pixel + 3);
    shown[4 * pixel + 3] = 255;
  }
  return shown;
}

/** Return the strongest points in order: maxima of their surroundings, not near a stronger one. */
function strongestPoints(map, [height, width], count = 6) {
  const diagonal = Math.hypot(height, width);
  const reach = Math.max(1, Math.round(0.03 * diagonal));
  const least = 0.2 * map.reduce((high, value) => Math.max(high, value), 0);
  const maxima = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = map[y * width + x];
      if (value > least && isMaximum(map, height, width, y, x, reach)) maxima.push({ y, x, value });
    }
  }
  maxima.sort((first, second) => second.value - first.value);
  const points = [];
  for (const point of maxima) {
    const isApart = points.every((p) => Math.hypot(p.y - point.y, p.x - point.x) > 0.08 * diagonal);
    if (isApart && points.length < count) points.push(point);
  }
  return points;
}

function isMaximum(map, height, width, y, x, reach) {
  const value = map[y * width + x];
  for (let row = Math.max(0, y - reach); row <= Math.min(height - 1, y + reach); row++) {
    for (let column = Math.max(0, x - reach); column <= Math.min(width - 1, x + reach); column++) {
      if (map[row * width + column] > value) return false;
    }
  }
  return true;
}
