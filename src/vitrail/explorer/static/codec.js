"use strict";
// Arrays of documents, and the maps that are read from attention weights.
var Vitrail = {};
(function (V) {
  const LEVELS = 65535;
  V.FORMAT = "vitrail.explorer";
  V.VERSION = 2;

  V.bytes = function (text) {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  };

  V.check = function (document, kind) {
    if (!document || document.format !== V.FORMAT || document.version !== V.VERSION)
      throw new Error(V.t("bad_version", { version: document && document.version }));
    if (document.kind !== kind) throw new Error(V.t("bad_kind", { kind: kind }));
    return document;
  };

  // A value is low + code / 65535 · (high - low), with the ends of its row.
  V.decode = function (array) {
    const width = array.shape[array.shape.length - 1];
    const codes = new Uint16Array(V.bytes(array.codes).buffer);
    const lows = new Float32Array(V.bytes(array.lows).buffer);
    const highs = new Float32Array(V.bytes(array.highs).buffer);
    const steps = new Float64Array(lows.length);
    for (let i = 0; i < lows.length; i++) steps[i] = (highs[i] - lows[i]) / LEVELS;
    return { shape: array.shape, width, codes, lows, highs, steps };
  };

  // An array of numbers that were never coded, with the same fields.
  V.fromFloats = function (shape, values) {
    const width = shape[shape.length - 1], highs = new Float32Array(values.length / width);
    for (let i = 0; i < values.length; i++) {
      const row = Math.floor(i / width);
      highs[row] = i % width ? Math.max(highs[row], values[i]) : values[i];
    }
    return { shape, width, values, highs };
  };

  V.value = (array, row, column) => array.values ? array.values[row * array.width + column]
    : array.lows[row] + array.codes[row * array.width + column] * array.steps[row];

  V.all = function (array) {
    const values = new Float64Array((array.values || array.codes).length);
    for (let i = 0; i < values.length; i++)
      values[i] = V.value(array, Math.floor(i / array.width), i % array.width);
    return values;
  };

  // Floats of a walk: {shape, floats} → {shape, values}.
  V.floats = (array) => ({
    shape: array.shape, values: new Float32Array(V.bytes(array.floats).buffer),
  });

  // The document of a layer with its array decoded, and where each cell is among the windows.
  V.decodeAttention = (document) => V.placed({ ...document, array: V.decode(document.array) });
  V.placed = function (layer) {
    const attention = { ...layer, means: new Map() };
    if (!layer.cells) return attention;
    const [rows, columns] = layer.grid;
    const window = new Int32Array(rows * columns), position = new Int32Array(rows * columns);
    layer.cells.forEach((cells, w) => cells.forEach((cell, t) => {
      if (cell >= 0) { window[cell] = w; position[cell] = t; }
    }));
    return Object.assign(attention, { window, position });
  };

  // The index of the cell of another grid that lies at the same place of the picture.
  V.otherCell = function (index, from, to) {
    const along = (value, axis) =>
      Math.min(to[axis] - 1, Math.floor((value + 0.5) * to[axis] / from[axis]));
    return along(Math.floor(index / from[1]), 0) * to[1] + along(index % from[1], 1);
  };

  // Weights (heads, P + N, P + M) of all tokens → the map of a query, added to `map`.
  function addTokens(map, attention, query, incoming, head) {
    const { array, prefix, grid, key_grid } = attention;
    const rows = array.shape[1], first = head * rows;
    const queries = rows - prefix, keys = array.width - prefix;
    if (query.kind === "mean") {
      for (let i = 0; i < queries; i++)
        for (let j = 0; j < keys; j++) {
          const weight = V.value(array, first + prefix + i, prefix + j);
          if (incoming) map[i] += weight / keys; else map[j] += weight / queries;
        }
      return;
    }
    const own = query.kind === "class" ? 0 : prefix + query.index;
    const key = query.kind === "class" ? 0 : prefix + V.otherCell(query.index, grid, key_grid);
    for (let j = 0; j < map.length; j++)
      map[j] += incoming ? V.value(array, first + prefix + j, key)
        : V.value(array, first + own, prefix + j);
  }

  // Weights (heads, windows, T, T) → the same; cells of other windows stay 0.
  function addWindows(map, attention, query, incoming, head) {
    const { array, cells, window, position } = attention, [, windows, size] = array.shape;
    const row = (w, t) => (head * windows + w) * size + t;
    const each = query.kind === "patch" ? [window[query.index]] : cells.keys();
    for (const w of each)
      for (let t = 0; t < size; t++)
        for (let s = 0; s < size; s++) {
          const from = cells[w][t], to = cells[w][s];
          if (from < 0 || to < 0) continue;
          if (query.kind !== "patch")
            map[incoming ? from : to] += V.value(array, row(w, t), s) / map.length;
          else if ((incoming ? s : t) === position[query.index])
            map[incoming ? from : to] += V.value(array, row(w, t), s);
        }
  }

  // A layer → a weight per cell, of one head or (null) the mean of all, and how many cells a query
  // reaches. query: {kind: "class" | "mean" | "patch", index}. incoming: what attends to it.
  V.attentionMap = function (attention, query, incoming, head) {
    const [rows, columns] = incoming ? attention.grid : attention.key_grid;
    const count = attention.array.shape[0], heads = head === null ? [...Array(count).keys()] : [head];
    const name = `${query.kind} ${incoming} ${head}`, slow = query.kind === "mean";
    if (slow && attention.means.has(name)) return attention.means.get(name);
    const map = new Float64Array(rows * columns);
    const add = attention.cells ? addWindows : addTokens;
    for (const h of heads) add(map, attention, query, incoming, h);
    if (heads.length > 1) for (let j = 0; j < map.length; j++) map[j] /= heads.length;
    const inside = attention.cells && query.kind === "patch"
      ? attention.cells[attention.window[query.index]].filter((cell) => cell >= 0).length : map.length;
    const result = { map, rows, columns, reach: inside };
    if (slow) attention.means.set(name, result); // it reads all weights
    return result;
  };

  // The squared correlation of two maps: 1 if the second says all that the first does.
  V.explained = function (map, other) {
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const a = mean(map), b = mean(other);
    let both = 0, first = 0, second = 0;
    for (let i = 0; i < map.length; i++) {
      both += (map[i] - a) * (other[i] - b);
      first += (map[i] - a) ** 2;
      second += (other[i] - b) ** 2;
    }
    return both ** 2 / (first * second);
  };

  // Similarity (N, N) → the row of a patch.
  V.similarityMap = function ({ array, grid: [rows, columns] }, index) {
    const map = new Float64Array(array.width);
    for (let j = 0; j < map.length; j++) map[j] = V.value(array, index, j);
    return { map, rows, columns, reach: map.length };
  };

  // What vitrail.lens.map_numbers gives: range, share of the top patch, entropy in bits.
  V.numbers = function (map) {
    let low = Infinity, high = -Infinity, total = 0, top = 0;
    for (let i = 0; i < map.length; i++) {
      if (map[i] > high) { high = map[i]; top = i; }
      if (map[i] < low) low = map[i];
      total += map[i];
    }
    let entropy = NaN, share = NaN;
    if (low >= 0 && total > 0) {
      entropy = 0;
      for (const weight of map) if (weight > 0) entropy -= weight / total * Math.log2(weight / total);
      share = high / total;
    }
    return { low, high, total, top, entropy, share };
  };

  V.scale = function (low, high) {
    const ends = { low: Math.min(0, low), high: Math.max(0, high) };
    if (ends.high <= ends.low) ends.high = ends.low + 1;
    return ends;
  };
})(Vitrail);
