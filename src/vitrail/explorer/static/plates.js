"use strict";
// What pointers and arrow keys do on the picture and on the map.
(function (V) {
  const { $, state } = V;

  V.cellAt = function (event, node, [rows, columns]) {
    const box = node.getBoundingClientRect();
    const limit = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
    return limit((event.clientY - box.top) / box.height, rows) * columns
      + limit((event.clientX - box.left) / box.width, columns);
  };
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  V.movedCell = function (event, index, [rows, columns]) {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return null;
    event.preventDefault();
    event.stopPropagation();
    const { row, column } = V.position(index, columns);
    const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
    return inside(row + step[0], rows) * columns + inside(column + step[1], columns);
  };

  // A plate whose patch is held by a click and moved by arrow keys.
  V.holdable = function (plate) {
    plate.addEventListener("click", (event) => {
      if (state.trace) V.hold(V.cellAt(event, plate, V.grid()));
    });
    plate.addEventListener("keydown", (event) => {
      if (!state.trace) return;
      const q = V.query();
      const index = V.movedCell(event, q.kind === "patch" ? q.index : V.middle(), V.grid());
      if (index !== null) V.hold(index);
    });
  };

  const picture = $("picture"), map = $("map");
  const hover = (index) => { state.hover = index; V.redraw(); };
  const read = (index) => { state.read = index; V.redraw(); };
  V.holdable(picture);
  picture.addEventListener("pointermove", (event) => {
    if (state.trace && event.pointerType === "mouse") hover(V.cellAt(event, picture, V.grid()));
  });
  picture.addEventListener("pointerleave", () => hover(null));
  for (const kind of ["pointermove", "click"])
    map.addEventListener(kind, (event) => {
      if (state.trace) read(V.cellAt(event, map, V.readGrid()));
    });
  map.addEventListener("pointerleave", () => read(null));
  map.addEventListener("keydown", (event) => {
    if (!state.trace || !state.map) return;
    const index = V.movedCell(event, state.read ?? V.numbers(state.map).top, V.readGrid());
    if (index !== null) read(index);
  });
  map.addEventListener("blur", () => read(null));
})(Vitrail);
