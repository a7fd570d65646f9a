"use strict";
// What the guided walk is drawn with: strips of cells, tables of numbers, formulas.
(function (V) {
  const { create } = V;

  V.number = function (value) { // four digits, and a true minus
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const text = size === 0 ? "0" : size < 1e-4 ? size.toExponential(1)
      : size.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
    return value < 0 ? `−${text}` : text;
  };
  V.plus = (value) => `${value < 0 ? "−" : "+"} ${V.number(Math.abs(value))}`;
  V.dot = function (a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
    return sum;
  };
  V.row = ({ shape, values }, ...indices) => { // the part of an array at its first indices
    let size = values.length, start = 0;
    indices.forEach((index, axis) => { size /= shape[axis]; start += index * size; });
    return values.subarray(start, start + size);
  };

  // The formula of a step: x_{i} and x^{2} become subscripts and superscripts.
  V.formula = function (text) {
    const node = create("p", { className: "formula" });
    for (const part of text.split(/([_^]\{[^}]*\})/)) {
      const index = /^([_^])\{(.*)\}$/.exec(part);
      node.append(index ? create(index[1] === "_" ? "sub" : "sup", { textContent: index[2] }) : part);
    }
    return node;
  };

  const channels = (name) => {
    const color = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  };
  // The color of a signed value: amber above 0, blue below, the ground at 0.
  function palette(largest) {
    const ground = channels("card"), ends = [channels("glass"), channels("amber")];
    return (value) => {
      const part = Math.min(1, Math.abs(value) / largest), end = ends[value < 0 ? 0 : 1];
      return ground.map((low, k) => Math.round(low + part * (end[k] - low)));
    };
  }
  const largestOf = (values) => {
    let largest = 1e-12;
    for (const value of values) largest = Math.max(largest, Math.abs(value));
    return largest;
  };

  // Numbers as cells, row by row, with their range below.
  V.strip = function (title, values, { columns = 64, largest = largestOf(values) } = {}) {
    const rows = Math.ceil(values.length / columns), across = Math.min(columns, values.length);
    const canvas = create("canvas", { width: across, height: rows });
    canvas.style.aspectRatio = `${across} / ${Math.max(rows, across / 32)}`;
    const context = canvas.getContext("2d"), image = context.createImageData(across, rows);
    const color = palette(largest);
    for (let i = 0; i < values.length; i++) image.data.set([...color(values[i]), 255], 4 * i);
    context.putImageData(image, 0, 0);
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    const range = V.t("walk_range", { n: values.length, low: V.number(low), high: V.number(high) });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}: ${range}`);
    return create("figure", { className: "strip" }, create("figcaption", {},
      create("b", { textContent: title }), ` ${range}`), canvas);
  };

  // Rows of numbers with colored cells: [[name, values, is it the result]]. Colors of all rows
  // have one scale, or each column its own.
  V.numberTable = function (heads, rows, { more = false, columns = false, caption = "" } = {}) {
    const most = 6, all = rows.map(([, values]) => [...values].slice(0, most));
    const shared = palette(largestOf(all.flat()));
    const colors = [...Array(most).keys()].map((column) => columns
      ? palette(largestOf(all.map((values) => values[column] ?? 0))) : shared);
    const cell = (value, column) => {
      const color = colors[column];
      const node = create("td", { className: "cell", textContent: V.number(value) });
      node.style.setProperty("--cell", `rgb(${color(value).join(" ")} / .38)`);
      return node;
    };
    const dots = () => more ? [create("td", { textContent: "…" })] : [];
    const table = create("table", { className: "numbers-table" });
    if (caption) table.append(create("caption", { textContent: caption }));
    if (heads) {
      const cells = [...heads].slice(0, most).map((head) => create("th", { scope: "col", textContent: head }));
      table.append(create("thead", {}, create("tr", {}, create("td", {}), ...cells, ...dots())));
    }
    table.append(create("tbody", {}, ...rows.map(([name, values, result]) =>
      create("tr", { className: result ? "result" : "" }, create("th", { scope: "row", textContent: name }),
        ...[...values].slice(0, most).map(cell), ...dots()))));
    return create("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: caption || V.t("walk_numbers") },
      table);
  };

  // A map over the patches in the colors of heat maps, on the picture if there is one.
  V.smallMap = function (title, map, [rows, columns], { marked = null, scale = null, picture = null } = {}) {
    const canvas = create("canvas", {}), numbers = V.numbers(map);
    const ends = scale || V.scale(numbers.low, numbers.high);
    if (picture) V.drawHeat(canvas, picture, map, rows, columns, ends);
    else V.drawCells(canvas, map, rows, columns, ends);
    const range = `${V.number(ends.low)} … ${V.number(ends.high)}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}: ${range}`);
    const plate = create("div", { className: "plate small-plate" }, canvas);
    if (marked !== null) {
      const marker = create("div", { className: "marker" });
      V.mark(marker, marked, [rows, columns]);
      plate.append(marker);
    }
    const bar = create("div", { className: "bar" });
    V.colorBar(bar, ends);
    return create("figure", { className: "small-map" }, create("figcaption", {},
      create("b", { textContent: title })), plate, bar, create("div", { className: "ends" },
      create("span", { textContent: V.number(ends.low) }), create("span", { textContent: V.number(ends.high) })));
  };

  // A part of the picture, enlarged.
  V.cutOut = function (title, picture, [rows, columns], patch) {
    const { row, column } = V.position(patch, columns);
    const width = picture.width / columns, height = picture.height / rows;
    const canvas = create("canvas", { width: Math.round(width), height: Math.round(height) });
    canvas.getContext("2d").drawImage(picture.canvas, column * width, row * height, width, height,
      0, 0, canvas.width, canvas.height);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title);
    return create("figure", { className: "small-map" }, create("figcaption", {},
      create("b", { textContent: title })), create("div", { className: "plate small-plate" }, canvas));
  };
  V.beside = (...nodes) => create("div", { className: "beside" }, ...nodes);
  V.said = (key, values) => create("p", { textContent: V.t(key, values) });
})(Vitrail);
