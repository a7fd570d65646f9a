"use strict";
// Arrays of documents, and the maps that are read from attention weights.
var Vitrail = {};
(function (V) {
  const LEVELS = 65535;
  V.FORMAT = "vitrail.explorer";
  V.VERSION = 1;

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
    return { shape: array.shape, width, codes, lows, highs, steps, means: new Map() };
  };

  V.value = (array, row, column) =>
    array.lows[row] + array.codes[row * array.width + column] * array.steps[row];

  V.all = function (array) {
    const values = new Float64Array(array.codes.length);
    for (let i = 0; i < values.length; i++)
      values[i] = V.value(array, Math.floor(i / array.width), i % array.width);
    return values;
  };

  // Attention (heads, N, N) → a weight per patch, of one head or (null) the mean of all.
  // query: {kind: "class" | "mean" | "patch", index}. incoming: how much each patch attends to it.
  V.attentionMap = function (array, prefix, query, incoming, head) {
    const tokens = array.width, count = tokens - prefix, map = new Float64Array(count);
    const heads = head === null ? [...Array(array.shape[0]).keys()] : [head];
    const name = `${query.kind} ${incoming} ${head}`, slow = query.kind === "mean";
    if (slow && array.means.has(name)) return array.means.get(name);
    for (const h of heads) {
      const first = h * tokens;
      if (query.kind === "mean") {
        for (let i = 0; i < count; i++) {
          const row = first + prefix + i;
          for (let j = 0; j < count; j++) {
            const weight = V.value(array, row, prefix + j) / count;
            if (incoming) map[i] += weight; else map[j] += weight;
          }
        }
      } else {
        const token = query.kind === "class" ? 0 : prefix + query.index;
        for (let j = 0; j < count; j++)
          map[j] += incoming ? V.value(array, first + prefix + j, token)
            : V.value(array, first + token, prefix + j);
      }
    }
    if (heads.length > 1) for (let j = 0; j < count; j++) map[j] /= heads.length;
    if (slow) array.means.set(name, map); // it reads all weights
    return map;
  };

  // Similarity (N, N) → the row of a patch.
  V.similarityMap = function (array, index) {
    const map = new Float64Array(array.width);
    for (let j = 0; j < map.length; j++) map[j] = V.value(array, index, j);
    return map;
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
