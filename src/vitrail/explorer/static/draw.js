"use strict";
// Heat maps in the colors of vitrail.lens.heat, the color bar, and the chart of the logit lens.
(function (V) {
  const SIZE = 392; // pixels that the longer side of a canvas has at least
  const MARGIN = 0.11, CONTRAST = 0.5; // as in heat.py and pictures.py
  const SVG = "http://www.w3.org/2000/svg";
  const LINES = [["glass", ""], ["amber", "7 3"], ["ruby", "2 3"], ["moss", "9 3 2 3"], ["lead", "4 4"]];
  let colors = null; // 511 × RGB, 0 to 255, of -1 to 1

  V.setColors = function (text) { colors = V.bytes(text); };

  // The color of a fraction, -1 to 1; 0 is black.
  function glow(fraction, out) {
    const at = (Math.min(Math.max(fraction, -1), 1) + 1) * 255, low = Math.floor(at);
    const high = Math.min(low + 1, 510), part = at - low;
    for (let k = 0; k < 3; k++)
      out[k] = colors[3 * low + k] * (1 - part) + colors[3 * high + k] * part;
    return out;
  }
  V.glow = (fraction) => glow(fraction, [0, 0, 0]);

  // Where a weight lies on the colors: on a scale that begins below 0, both signs have the same unit.
  V.fraction = (weight, { low, high }) =>
    low < 0 ? weight / Math.max(-low, high) : (weight - low) / (high - low);

  V.gradient = function (scale) {
    const stops = [], { low, high } = scale;
    for (let i = 0; i <= 32; i++) {
      const color = V.glow(V.fraction(low + (high - low) * i / 32, scale));
      stops.push(`rgb(${color.map(Math.round).join(" ")})`);
    }
    return `linear-gradient(90deg, ${stops.join(", ")})`;
  };

  // A picture with its brightness, large enough to draw cells on.
  V.openPicture = async function (url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const factor = Math.max(1, Math.ceil(SIZE / Math.max(image.width, image.height)));
    const width = image.width * factor, height = image.height * factor;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = factor > 1 && image.width > 64;
    context.drawImage(image, 0, 0, width, height);
    const data = context.getImageData(0, 0, width, height).data;
    const grey = new Float32Array(width * height);
    for (let i = 0; i < grey.length; i++)
      grey[i] = (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3;
    return { width, height, canvas, grey, details: new Map() };
  };

  const cellsOf = function (length, count) { // the cell of each pixel along an axis
    const cells = new Uint16Array(length);
    for (let i = 0; i < length; i++) cells[i] = Math.floor(i * count / length);
    return cells;
  };

  // What distinguishes pixels from the mean of their patch; its own mean over a patch is 0.
  function details(picture, rows, columns) {
    const key = `${rows}x${columns}`;
    if (picture.details.has(key)) return picture.details.get(key);
    const { width, height, grey } = picture, count = rows * columns;
    const down = cellsOf(height, rows), across = cellsOf(width, columns);
    const sums = new Float64Array(count), sizes = new Float64Array(count);
    const largest = new Float64Array(count), result = new Float32Array(width * height);
    const each = (visit) => {
      for (let y = 0, i = 0; y < height; y++)
        for (let x = 0; x < width; x++, i++) visit(i, down[y] * columns + across[x]);
    };
    each((i, cell) => { sums[cell] += grey[i]; sizes[cell]++; });
    each((i, cell) => {
      result[i] = grey[i] - sums[cell] / sizes[cell];
      largest[cell] = Math.max(largest[cell], Math.abs(result[i]));
    });
    each((i, cell) => {
      result[i] *= Math.min(CONTRAST, MARGIN * 255 / Math.max(largest[cell], 1e-9));
    });
    picture.details.set(key, { result, down, across });
    return picture.details.get(key);
  }

  // The pixels of a canvas, which are allocated once for each size.
  const buffers = new WeakMap();
  function buffer(canvas, width, height) {
    const kept = buffers.get(canvas);
    if (canvas.width === width && canvas.height === height && kept) return kept;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    image.data.fill(255);
    buffers.set(canvas, { context, image });
    return buffers.get(canvas);
  }

  V.drawPicture = function (canvas, picture) {
    Object.assign(canvas, { width: picture.width, height: picture.height });
    canvas.getContext("2d").drawImage(picture.canvas, 0, 0);
  };

  V.drawHeat = function (canvas, picture, map, rows, columns, scale) {
    const { width, height } = picture, { result, down, across } = details(picture, rows, columns);
    const { context, image } = buffer(canvas, width, height), { data } = image;
    const cells = new Float32Array(3 * map.length), color = [0, 0, 0];
    for (let j = 0; j < map.length; j++)
      cells.set(glow(V.fraction(map[j], scale), color), 3 * j);
    for (let y = 0, i = 0; y < height; y++) {
      const first = down[y] * columns;
      for (let x = 0; x < width; x++, i++) {
        const cell = 3 * (first + across[x]), detail = result[i] + 0.5;
        data[4 * i] = cells[cell] + detail;
        data[4 * i + 1] = cells[cell + 1] + detail;
        data[4 * i + 2] = cells[cell + 2] + detail;
      }
    }
    context.putImageData(image, 0, 0);
  };

  V.drawCells = function (canvas, map, rows, columns, scale) {
    const { context, image } = buffer(canvas, columns, rows), color = [0, 0, 0];
    for (let j = 0; j < map.length; j++) {
      glow(V.fraction(map[j], scale), color);
      for (let k = 0; k < 3; k++) image.data[4 * j + k] = Math.round(color[k]);
    }
    context.putImageData(image, 0, 0);
  };

  V.format = function (value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size < 1e-4) return value.toExponential(1);
    return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : size >= 0.01 ? 4 : 5);
  };

  function shape(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  V.shape = shape;
  const stroke = (i) => ({ stroke: `var(--${LINES[i][0]})`, "stroke-dasharray": LINES[i][1],
    "stroke-width": 2, fill: "none" });

  // Lines of the likeliest classes over the blocks, with a legend.
  V.drawLens = function (box, lens, percent) {
    const width = 340, height = 170, left = 40, right = 8, top = 8, bottom = 24;
    const blocks = lens.values.length, shown = Math.min(lens.classes.length, LINES.length);
    const flat = lens.values.flatMap((row) => row.slice(0, shown));
    const low = percent ? 0 : Math.min(0, ...flat), high = percent ? 1 : Math.max(...flat, low + 1e-9);
    const x = (i) => left + (blocks > 1 ? i / (blocks - 1) : 0.5) * (width - left - right);
    const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
    const last = lens.values[blocks - 1][0];
    const summary = V.t("chart", {
      top: `${lens.labels[0]} ${percent ? `${(100 * last).toFixed(1)} %` : V.format(last)}`,
    });
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary });
    for (const part of [0, 0.5, 1]) {
      const value = low + part * (high - low);
      svg.append(shape("line", { x1: left, x2: width - right, y1: y(value), y2: y(value),
        stroke: "var(--line)" }));
      svg.append(shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" },
        percent ? `${100 * value} %` : V.format(value)));
    }
    const step = Math.max(1, Math.ceil(blocks / 12));
    for (let i = 0; i < blocks; i += step)
      svg.append(shape("text", { x: x(i), y: height - 6, "text-anchor": "middle" }, i));
    for (let k = shown - 1; k >= 0; k--) {
      const points = lens.values.map((row, i) => `${x(i).toFixed(1)},${y(row[k]).toFixed(1)}`);
      const line = shape("polyline", { points: points.join(" "), ...stroke(k) });
      line.append(shape("title", {}, lens.labels[k]));
      svg.append(line);
      if (blocks === 1)
        svg.append(shape("circle", { cx: x(0), cy: y(lens.values[0][k]), r: 4,
          fill: `var(--${LINES[k][0]})` }));
    }
    const legend = document.createElement("ul");
    legend.className = "legend";
    for (let k = 0; k < shown; k++) {
      const item = document.createElement("li");
      const mark = shape("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" });
      mark.append(shape("line", { x1: 0, x2: 22, y1: 4, y2: 4, ...stroke(k) }));
      item.append(mark, lens.labels[k]);
      legend.append(item);
    }
    box.replaceChildren(svg, legend);
  };
})(Vitrail);
