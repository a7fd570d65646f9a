"use strict";
// A picture brought to the size of a model, as vitrail.resizing does, to the bit: antialiased, in
// bytes. Pixels are {width, height, data}, RGB, one byte each.
(function (V) {
  const cubic = (x) => { // Keys' kernel with a = -0.5
    x = Math.abs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  };
  const KERNELS = {
    bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
    bicubic: [2, cubic],
  };

  // For each of `count` new pixels, the first old one that it reads and the weights, rounded to as
  // many bits as PyTorch keeps of them (16, with the sign).
  function weights(length, count, [reach, kernel]) {
    const scale = length / count, wide = Math.max(scale, 1), support = reach * wide;
    const table = [...Array(count).keys()].map((i) => {
      const center = (i + 0.5) * scale;
      const first = Math.max(0, Math.trunc(center - support + 0.5));
      const end = Math.min(length, Math.trunc(center + support + 0.5));
      const values = [];
      for (let j = first; j < end; j++) values.push(kernel((j - center + 0.5) / wide));
      const total = values.reduce((sum, value) => sum + value, 0);
      return { first, values: values.map((value) => value / total) };
    });
    const largest = Math.max(...table.map(({ values }) => Math.max(...values)));
    let unit = 1;
    while (unit < 2 ** 22 && Math.trunc(0.5 + 2 * unit * largest) < 2 ** 15) unit *= 2;
    for (const row of table)
      row.values = row.values.map((value) => Math.trunc(value * unit + Math.sign(value) / 2) / unit);
    return table;
  }

  // Along one axis; `step` is the distance of neighbors, `across` that of lines.
  function along(data, lines, across, step, table) {
    const result = new Uint8ClampedArray(lines * table.length * 3); // it clamps
    for (let line = 0; line < lines; line++)
      table.forEach(({ first, values }, i) => {
        for (let c = 0; c < 3; c++) {
          let sum = 0;
          for (let k = 0; k < values.length; k++)
            sum += values[k] * data[line * across + (first + k) * step + c];
          result[(line * table.length + i) * 3 + c] = Math.floor(sum + 0.5);
        }
      });
    return result;
  }

  function resize(pixels, height, width, interpolation) {
    if (pixels.height === height && pixels.width === width) return pixels;
    if (interpolation === "nearest") return nearest(pixels, height, width);
    const kernel = KERNELS[interpolation];
    const rows = along(pixels.data, pixels.height, pixels.width * 3, 3,
      weights(pixels.width, width, kernel));
    // Columns next: each line is a column of the narrower picture, and the result is transposed.
    const table = weights(pixels.height, height, kernel), data = new Uint8ClampedArray(3 * width * height);
    for (let x = 0; x < width; x++) {
      const column = along(rows.subarray(3 * x), 1, 0, 3 * width, table);
      for (let y = 0; y < height; y++)
        for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = column[3 * y + c];
    }
    return { width, height, data };
  }

  function nearest(pixels, height, width) {
    const data = new Uint8ClampedArray(3 * width * height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const from = (Math.floor((y + 0.5) * pixels.height / height) * pixels.width
          + Math.floor((x + 0.5) * pixels.width / width)) * 3;
        data.set(pixels.data.subarray(from, from + 3), (y * width + x) * 3);
      }
    return { width, height, data };
  }

  // A part of a picture, on a ground where it reaches beyond.
  function cut(pixels, top, left, height, width, ground = [0, 0, 0]) {
    const data = new Uint8ClampedArray(3 * width * height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const row = y + top, column = x + left;
        const inside = row >= 0 && row < pixels.height && column >= 0 && column < pixels.width;
        const from = (row * pixels.width + column) * 3;
        data.set(inside ? pixels.data.subarray(from, from + 3) : ground, (y * width + x) * 3);
      }
    return { width, height, data };
  }
  const even = (value) => { // Python rounds halves to even numbers
    const floor = Math.floor(value);
    return value - floor !== 0.5 ? Math.round(value) : floor + floor % 2;
  };

  // What `Preprocess.crop` does.
  V.crop = function (pixels, { size: [height, width], resize: target, interpolation, pad, squeeze, mean }) {
    let tall, wide;
    if (typeof target === "number") { // of the short side
      const short = Math.min(pixels.height, pixels.width);
      tall = Math.max(Math.floor(pixels.height * target / short), height);
      wide = Math.max(Math.floor(pixels.width * target / short), width);
    } else {
      const [rows, columns] = target ?? [height, width];
      const ratios = [pixels.height / rows, pixels.width / columns];
      const ratio = pad ? Math.max(...ratios) : Math.min(...ratios);
      const squeezed = squeeze || (target === null && !pad);
      tall = squeezed ? rows : Math.max(even(pixels.height / ratio), pad ? 1 : height);
      wide = squeezed ? columns : Math.max(even(pixels.width / ratio), pad ? 1 : width);
    }
    const offset = (side, part) => side < part ? -((part - side) >> 1) : even((side - part) / 2);
    return cut(resize(pixels, tall, wide, interpolation), offset(tall, height), offset(wide, width),
      height, width, mean.map((value) => even(255 * value)));
  };

  // What `Preprocess.normalise` does: float32 (1, 3, H, W).
  V.normalized = function ({ width, height, data }, { mean, std }) {
    const count = width * height, values = new Float32Array(3 * count);
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < count; i++)
        values[c * count + i] = (data[3 * i + c] / 255 - mean[c]) / std[c];
    return values;
  };
})(Vitrail);
