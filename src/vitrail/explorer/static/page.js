"use strict";
// What all parts of the page share: the state, helpers that make nodes, and events.
(function (V) {
  V.$ = (id) => document.getElementById(id);
  V.state = { // also for those who look with the browser's console, and for tests
    model: null, trace: null, picture: null, sample: null, file: null,
    layer: 0, head: null, query: { kind: "class", index: 0 }, hover: null, read: null,
    incoming: false, show: "attention", shared: false, baseline: false, target: null,
    methods: new Set(), attention: null, shuffled: null, similarity: null, map: null,
  };
  const { $, state } = V;

  // Events: "model", "trace" (another picture), "layer", "draw" (any change of what is shown),
  // "target", "language" (also the theme).
  const listeners = new Map();
  V.on = (name, listener) => listeners.set(name, [...(listeners.get(name) || []), listener]);
  V.emit = (name, detail) => { for (const listener of listeners.get(name) || []) listener(detail); };

  V.create = function (name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {}))
      if (key in node && key !== "list") node[key] = value; else node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  V.fail = function (problem) {
    $("problem").textContent = problem.message || String(problem);
    $("problem").hidden = false;
  };
  let waiting = 0;
  V.working = async function (text, promise) {
    waiting++;
    $("busy").textContent = text;
    $("busy").hidden = false;
    try { return await promise; } finally { if (--waiting === 0) $("busy").hidden = true; }
  };
  V.press = function (box, isPressed) {
    for (const button of box.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(isPressed(button)));
  };
  V.percent = () => state.model.target !== "numbers";
  V.position = (index, columns) => ({ row: Math.floor(index / columns), column: index % columns });

  // The grid and the query of what is shown now.
  V.grid = function () {
    if (state.show === "similarity") return state.similarity?.grid || state.trace.grid;
    return state.trace.layers[state.layer]?.grid || state.trace.grid;
  };
  V.query = function () {
    if (state.hover !== null) return { kind: "patch", index: state.hover };
    if (state.show === "similarity" && state.query.kind !== "patch")
      return { kind: "patch", index: V.middle() };
    return state.query;
  };
  V.middle = function () {
    const [rows, columns] = V.grid();
    return (rows >> 1) * columns + (columns >> 1);
  };

  // Changes the state, and keeps the query at its place of the picture if the grid changes.
  V.change = function (values) {
    const before = V.grid();
    Object.assign(state, values);
    const after = V.grid();
    if (String(before) === String(after)) return;
    Object.assign(state, { hover: null, read: null });
    state.query = { ...state.query, index: V.otherCell(state.query.index, before, after) };
  };
  V.hold = function (index) {
    state.query = { kind: "patch", index };
    state.hover = null;
    V.redraw();
  };

  let frame = 0;
  V.redraw = function () {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; V.emit("draw"); });
  };

  // Names of layers: the numbers of stage and block, and what else tells them apart.
  const USUAL = new Set(["blocks", "mixer", "attention", "attend", "attn", "block"]);
  V.layerName = (key) => key.split(".").filter((part) => !USUAL.has(part)).join(".") || key;
  V.headName = function (head, layer) {
    return (layer?.names || [])[head] && V.texts[V.language].scans[layer.names[head]]
      || (layer?.names || [])[head] || V.t("heads_one", { n: head });
  };

  V.mark = function (node, index, grid) {
    node.hidden = index === null || index >= grid[0] * grid[1];
    if (node.hidden) return;
    const { row, column } = V.position(index, grid[1]);
    node.style.left = `${100 * column / grid[1]}%`;
    node.style.top = `${100 * row / grid[0]}%`;
    node.style.width = `${100 / grid[1]}%`;
    node.style.height = `${100 / grid[0]}%`;
  };

  // The colors of a scale, with a mark at its 0 if that is not its end.
  V.colorBar = function (bar, scale) {
    bar.style.background = V.gradient(scale);
    bar.classList.toggle("signed", scale.low < 0 && scale.high >= 0);
    bar.style.setProperty("--zero", `${100 * scale.low / (scale.low - scale.high)}%`);
  };
  // The color bar below a map, with the numbers at its ends.
  V.drawBar = function (figure, scale, middle) {
    V.colorBar(figure.querySelector(".bar"), scale);
    const ends = middle ? [scale.low, (scale.low + scale.high) / 2, scale.high]
      : [scale.low, scale.high];
    figure.querySelector(".ends").replaceChildren(
      ...ends.map((end) => V.create("span", { textContent: V.format(end) })));
  };
  // A figure with a title, a map and its bar.
  V.plate = (title) => V.create("figure", {}, V.create("h3", { textContent: title }),
    V.create("div", { className: "plate" }, V.create("canvas", {})),
    V.create("div", { className: "bar" }), V.create("div", { className: "ends" }),
    V.create("figcaption", { className: "quiet" }));
  V.drawMap = function (figure, picture, map, rows, columns, scale, label) {
    const canvas = figure.querySelector("canvas");
    V.drawHeat(canvas, picture, map, rows, columns, scale);
    V.drawBar(figure, scale, false);
    const range = `${V.format(scale.low)} … ${V.format(scale.high)}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${label}: ${range}`);
  };
})(Vitrail);
