// COCO's compressed run lengths, and grids of attention, as pixels on a canvas.
"use strict";

/**
 * The lengths of a mask's runs, background first, in columns from the left. Five bits a character, lowest first, a sixth that says
 * whether more follow, the last bit of a number its sign; from the fourth run on the difference to the run two before.
 */
function runLengths(counts) {
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let value = 0;
    let bits = 0;
    let code;
    do {
      code = counts.charCodeAt(at) - 48;
      if (!(code >= 0 && code < 64) || bits > 30) throw new Error("no compressed run lengths");
      value += (code & 31) * 2 ** bits;
      bits += 5;
      at += 1;
    } while (code & 32);
    if (code & 16) value -= 2 ** bits;
    if (runs.length > 2) value += runs[runs.length - 2];
    if (value < 0) throw new Error("a run shorter than nothing");
    runs.push(value);
  }
  return runs;
}

/** A mask's pixels, row by row, 1 inside; throws where its runs do not add up to its size. */
function maskPixels({ size: [height, width], counts }) {
  const runs = Array.isArray(counts) ? counts : runLengths(counts);
  if (width * height > 2 ** 28 || runs.reduce((sum, run) => sum + run, 0) !== width * height)
    throw new Error("runs that do not cover the mask");
  const pixels = new Uint8Array(width * height);
  let at = 0;
  runs.forEach((run, place) => {
    const end = at + run;
    if (place % 2) for (; at < end; at += 1) pixels[(at % height) * width + Math.floor(at / height)] = 1;
    at = end;
  });
  return pixels;
}

const MASK_OPACITY = 100;

/** A canvas of the masks' size with their insides tinted and their borders outlined in a colour [r, g, b]. */
function maskCanvas(masks, colour) {
  const [height, width] = masks[0].size;
  const canvas = el("canvas", { class: "mask", width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const border = Math.max(1, Math.round(Math.max(width, height) / 500));
  for (const mask of masks) {
    const pixels = maskPixels(mask);
    for (let y = 0, at = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, at += 1) {
        if (!pixels[at]) continue;
        const inside =
          (x < border || pixels[at - border]) &&
          (x >= width - border || pixels[at + border]) &&
          (y < border || pixels[at - border * width]) &&
          (y >= height - border || pixels[at + border * width]);
        const opacity = inside ? MASK_OPACITY : 255;
        if (image.data[4 * at + 3] < opacity) image.data.set([...colour, opacity], 4 * at);
      }
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A canvas with a cell of the grid a pixel, the more opaque the more attention it got. */
function attentionCanvas(grid, most) {
  const [height, width] = [grid.length, grid[0].length];
  const canvas = el("canvas", { class: "attention", width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  grid.flat().forEach((share, at) => image.data.set([0, 114, 178, Math.round((230 * share) / (most || 1))], 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}
