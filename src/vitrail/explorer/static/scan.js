"use strict";
// The scans of a Vision Mamba: their way over the patches, and how fast they forget.
(function (V) {
  const { $, state, create, shape } = V;
  const scan = { doc: null, direction: 0 };
  V.scan = scan; // for tests

  V.on("layer", async () => {
    const { trace, layer } = state, has = Boolean(trace.layers[layer]?.scan);
    $("scan").hidden = !has;
    scan.doc = null;
    if (!has) return;
    try {
      const doc = await V.working(V.t("computing"), V.load.scan(trace.id, layer));
      if (trace !== state.trace || layer !== state.layer) return;
      scan.doc = doc;
      scan.direction = Math.min(scan.direction, doc.directions.length - 1);
      drawWay();
      V.redraw();
    } catch (problem) { V.fail(problem); }
  });

  const markers = document.querySelectorAll("#scan .marker");
  const nameOf = ({ name }) => V.texts[V.language].scans[name] || name;

  // The order of the tokens in a direction; patches are counted without the prefix.
  function sequence() {
    const { order, directions } = scan.doc;
    return directions[scan.direction].backwards ? [...order].reverse() : order;
  }

  function drawWay() {
    const { grid: [rows, columns], prefix, directions } = scan.doc, tokens = sequence();
    $("scan-directions").replaceChildren(...directions.map((direction, i) => {
      const button = create("button", { type: "button", textContent: nameOf(direction) });
      button.setAttribute("aria-pressed", String(i === scan.direction));
      button.addEventListener("click", () => { scan.direction = i; drawWay(); V.redraw(); });
      return button;
    }));
    const figure = $("scan-way"), canvas = figure.querySelector("canvas");
    V.drawPicture(canvas, state.picture);
    figure.querySelector("svg")?.remove();
    const svg = shape("svg", { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none",
      role: "img", "aria-label": V.t("scan_way", { name: nameOf(directions[scan.direction]) }) });
    const point = (token) => {
      const { row, column } = V.position(token - prefix, columns);
      return [column + 0.5, row + 0.5];
    };
    const patches = tokens.filter((token) => token >= prefix);
    const rowsOf = [[], []]; // moves along a row, and to the next one
    patches.slice(1).forEach((token, i) => {
      const from = point(patches[i]), to = point(token);
      rowsOf[Number(from[1] !== to[1])].push(`M ${from.join(" ")} L ${to.join(" ")}`);
    });
    svg.append(shape("path", { d: rowsOf[0].join(" "), class: "way under" }),
      shape("path", { d: rowsOf[1].join(" "), class: "way next" }),
      shape("path", { d: rowsOf[0].join(" "), class: "way" }));
    const [first, last] = [point(patches[0]), point(patches[patches.length - 1])];
    const before = point(patches[patches.length - 2] ?? patches[0]);
    svg.append(shape("circle", { cx: first[0], cy: first[1], r: 0.32, class: "begin" }));
    const side = Math.sign(last[0] - before[0]) || 1;
    svg.append(shape("path", { class: "begin",
      d: `M ${last[0] + 0.4 * side} ${last[1]} l ${-0.7 * side} -0.38 v 0.76 z` }));
    for (let token = 0; token < prefix; token++) { // a class token stands between two patches
      const at = tokens.indexOf(token), near = (step) => {
        const other = tokens[at + step];
        return other >= prefix ? point(other) : null;
      };
      const [from, to] = [near(-1), near(1)];
      const [x, y] = from && to && from[1] === to[1] ? [(from[0] + to[0]) / 2, to[1]]
        : to ? [to[0] - 0.5 * side, to[1]] : [from[0] + 0.5 * side, from[1]];
      svg.append(shape("rect", { x: x - 0.3, y: y - 0.3, width: 0.6, height: 0.6, class: "class-token" }));
    }
    figure.querySelector(".plate").append(svg);
    figure.querySelector("figcaption").textContent = V.t(prefix ? "scan_class" : "scan_plain",
      { n: tokens.length });
  }

  function draw() {
    const { doc, direction } = scan;
    if (!doc || !state.picture || $("scan").hidden) return;
    const { array, prefix, grid: [rows, columns] } = doc, size = array.width;
    const q = V.query(), patch = q.kind === "patch" ? q.index : V.middle();
    const token = prefix + Math.min(patch, rows * columns - 1);
    const left = (from, to) => V.value(array, direction * size + from, to);
    const map = new Float64Array(rows * columns);
    for (let j = 0; j < map.length; j++) map[j] = left(token, prefix + j);
    V.drawMap($("scan-left"), state.picture, map, rows, columns, { low: 0, high: 1 }, V.t("scan_left"));
    for (const node of markers) V.mark(node, token - prefix, [rows, columns]);
    const tokens = sequence(), at = tokens.indexOf(token);
    const curve = tokens.slice(at).map((to) => left(token, to));
    const falls = [50, 10, 1].map((part) => {
      const n = steps(curve, part / 100);
      return V.t(n === null ? "scan_never" : "scan_under", { part, n });
    });
    $("scan-left").querySelector("figcaption").textContent = V.t("scan_says",
      { ...V.position(token - prefix, columns), falls: falls.join(V.t("comma")) });
    drawCurve(curve, typical(tokens, left));
  }
  
  // After how many steps less than a part is left; null if that is never so.
  function steps(curve, part) {
    const at = curve.findIndex((value) => value < part);
    return at < 0 ? null : at;
  }

  // The median over all tokens after each number of steps.
  function typical(tokens, left) {
    const key = `${state.trace.id} ${state.layer} ${scan.direction}`;
    if (scan.key === key) return scan.typical;
    const curve = [];
    for (let n = 0; n < Math.min(tokens.length, 65); n++) {
      const values = [];
      for (let s = 0; s + n < tokens.length; s++) values.push(left(tokens[s], tokens[s + n]));
      values.sort((a, b) => a - b);
      curve.push(values[values.length >> 1]);
    }
    return Object.assign(scan, { key, typical: curve }).typical;
  }

  function drawCurve(curve, median) {
    const width = 340, height = 190, left = 44, right = 14, top = 8, bottom = 36;
    const last = Math.max(8, Math.min(64, Math.max(curve.length, median.length) - 1));
    const x = (n) => left + n / last * (width - left - right);
    const y = (value) => top + (1 - value) * (height - top - bottom);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": V.t("scan_chart", { n: steps(median, 0.5) ?? "–" }) });
    for (const part of [0, 0.5, 1])
      svg.append(shape("line", { x1: left, x2: width - right, y1: y(part), y2: y(part), class: "rule" }),
        shape("text", { x: left - 6, y: y(part) + 4, "text-anchor": "end" }, `${100 * part} %`));
    for (let n = 0; n <= last; n += last > 32 ? 16 : last > 16 ? 8 : 4)
      svg.append(shape("text", { x: x(n), y: height - 20, "text-anchor": "middle" }, n));
    svg.append(shape("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" },
      V.t("scan_steps")));
    for (const [values, name] of [[median, "median"], [curve, "own"]]) {
      const points = values.slice(0, last + 1).map((value, n) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`);
      svg.append(shape("polyline", { points: points.join(" "), class: `curve ${name}` }));
    }
    const legend = create("ul", { className: "legend" }, ...["own", "median"].map((name) => {
      const mark = shape("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" });
      mark.append(shape("line", { x1: 0, x2: 22, y1: 4, y2: 4, class: `curve ${name}` }));
      return create("li", {}, mark, V.t(`scan_${name}`));
    }));
    $("scan-curve").replaceChildren(svg, legend);
  }

  for (const plate of document.querySelectorAll("#scan .plate.holdable")) V.holdable(plate);
  V.on("draw", draw);
  V.on("trace", () => { $("scan").hidden = true; scan.doc = null; });
  V.on("language", () => { if (scan.doc) { drawWay(); V.redraw(); } });
})(Vitrail);
