"use strict";
// All heads of all layers on one sheet, for the query of the stage.
(function (V) {
  const { $, state, create } = V;
  const BUDGET = 8; // ms of a frame that the sheet may take, so that hovering stays quick
  const sheet = { open: false, layers: new Map(), drawn: "", marked: "", pass: 0 };
  V.sheet = sheet; // for tests

  const rows = () => [...$("sheet-rows").children];
  const tiles = (layer) => [...rows()[layer].querySelectorAll("button")];

  // Numbers, or where all layers name their heads alike, as scans do, these names.
  function headNames(layers) {
    const most = Math.max(...layers.map(({ heads }) => heads));
    const named = new Set(layers.map(({ names }) => String(names))).size === 1 && layers[0].names.length;
    return [...Array(most).keys()].map((head) => named ? V.headName(head, layers[0]) : head);
  }

  // A row per layer: the mean of its heads, if it has several, and each head.
  function build() {
    const { layers } = state.trace;
    $("sheet").hidden = !layers.length;
    const single = layers.every(({ heads }) => heads === 1);
    $("sheet-rows").replaceChildren(...layers.map((layer, index) => {
      const choices = single || layer.heads === 1 ? [0] : [null, ...Array(layer.heads).keys()];
      return create("div", { className: "sheet-row", role: "group", "aria-label":
        `${V.t("layer")} ${V.layerName(layer.key)}` },
      create("b", { textContent: V.layerName(layer.key) }),
      create("div", {}, ...choices.map((head) => {
        const tile = create("button", { type: "button", className: "tile", tabIndex: -1 },
          create("canvas", {}));
        tile.head = layer.heads === 1 ? null : head;
        tile.addEventListener("click", () => choose(index, tile));
        return tile;
      })));
    }));
    $("sheet-head").replaceChildren(...(single ? []
      : [V.t("sheet_mean"), ...headNames(layers)])
      .map((name) => create("span", { textContent: name })));
    const most = Math.max(...layers.map(({ heads }) => heads + Number(heads > 1)), 1);
    $("sheet-body").style.setProperty("--tiles", most);
    Object.assign(sheet, { drawn: "", marked: "" });
    speak();
  }

  function choose(layer, tile) {
    V.setLayer(layer);
    state.head = tile.head;
    V.redraw();
  }

  // Which tile is that of the stage, and which one Tab reaches: the one of the stage, or `focused`.
  function mark(focused) {
    const all = rows().flatMap((_row, layer) => tiles(layer).map((tile) => {
      const pressed = layer === state.layer && tile.head === state.head;
      tile.setAttribute("aria-pressed", String(pressed));
      tile.tabIndex = -1;
      return tile;
    }));
    const pressed = all.find((tile) => tile.getAttribute("aria-pressed") === "true");
    const stop = focused || pressed || all[0];
    if (stop) stop.tabIndex = 0;
  }

  function speak() {
    const count = state.trace?.layers.reduce((sum, { heads }) => sum + heads, 0) || 0;
    $("sheet-start").textContent = V.t(sheet.open ? "sheet_hide" : "sheet_show", { n: count });
    $("sheet-start").setAttribute("aria-expanded", String(sheet.open));
    $("sheet-body").hidden = !sheet.open;
  }

  async function load() {
    const { trace } = state;
    for (let layer = 0; layer < trace.layers.length; layer++) {
      if (!sheet.open || trace !== state.trace) return;
      if (sheet.layers.has(layer)) continue;
      const text = V.t("sheet_loading", { n: layer + 1, count: trace.layers.length });
      try {
        const attention = await V.working(text, V.load.attention(trace.id, layer));
        if (trace === state.trace) sheet.layers.set(layer, attention);
      } catch (problem) { if (trace === state.trace) V.fail(problem); return; }
      draw();
    }
  }

  // The query on the grid of a layer; where there is no class token, the mean of the patches.
  function queryOn(attention) {
    const q = V.query();
    if (q.kind === "patch") return { ...q, index: V.otherCell(q.index, V.grid(), attention.grid) };
    return q.kind === "class" && !attention.prefix ? { kind: "mean", index: 0 } : q;
  }

  function drawLayer(layer) {
    const attention = sheet.layers.get(layer), about = state.trace.layers[layer];
    const q = queryOn(attention), shared = state.shared ? V.layerScale(attention.array) : null;
    for (const tile of tiles(layer)) {
      const { map, rows: height, columns } = V.attentionMap(attention, q, state.incoming, tile.head);
      const { low, high } = V.numbers(map);
      V.drawCells(tile.firstChild, map, height, columns, shared || V.scale(low, high));
      const head = tile.head === null && about.heads > 1 ? V.t("mean_heads")
        : V.headName(tile.head ?? 0, about);
      tile.title = V.t("sheet_tile", { layer: V.layerName(about.key), head, high: V.format(high) });
      tile.setAttribute("aria-label", tile.title);
    }
  }

  // Draws what has changed, a few layers a frame.
  function draw() {
    if (!sheet.open || !state.trace || state.show !== "attention") return;
    const marked = `${state.trace.id} ${state.layer} ${state.head}`;
    if (marked !== sheet.marked) { sheet.marked = marked; mark(); }
    const shown = [state.trace.id, V.query().kind, V.query().index, state.incoming, state.shared,
      [...sheet.layers.keys()]].join(" ");
    if (shown === sheet.drawn) return;
    sheet.drawn = shown;
    const pass = ++sheet.pass, waiting = [...sheet.layers.keys()];
    const next = () => {
      if (pass !== sheet.pass) return;
      const start = performance.now();
      while (waiting.length && performance.now() - start < BUDGET) drawLayer(waiting.shift());
      if (waiting.length) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  $("sheet-start").addEventListener("click", () => {
    sheet.open = !sheet.open;
    if (!sheet.open) sheet.layers.clear();
    sheet.drawn = "";
    speak();
    if (sheet.open) load();
  });
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  $("sheet-rows").addEventListener("keydown", (event) => {
    const step = STEPS[event.key], tile = event.target.closest("button");
    if (!step || !tile || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const layer = rows().findIndex((row) => row.contains(tile));
    const inside = (value, list) => list[Math.min(list.length - 1, Math.max(0, value))];
    const row = inside(layer + step[0], rows().map((_row, index) => tiles(index)));
    const next = inside(tiles(layer).indexOf(tile) + step[1], row);
    next.focus();
    mark(next);
  });
  V.on("trace", () => {
    sheet.layers.clear();
    sheet.pass++;
    build();
    if (sheet.open) load();
  });
  V.on("draw", draw);
  V.on("language", () => { if (state.trace) { build(); draw(); } });
})(Vitrail);
