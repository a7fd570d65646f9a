"use strict";
// The stage: the map of the query in a layer, its numbers, the maps of the heads.
(function (V) {
  const { $, state, create, press } = V;

  function draw() {
    const { trace, picture } = state;
    if (!trace || !picture) return;
    const grid = V.grid(), q = V.query(), layer = trace.layers[state.layer];
    const similar = state.show === "similarity", mapped = similar || trace.layers.length > 0;
    showControls(similar, mapped, q, grid, layer);
    const source = similar ? state.similarity : state.attention;
    if (!mapped || !source) {
      $("sentence").textContent = V.t(mapped ? "computing" : "says_none");
      return;
    }
    const result = similar ? V.similarityMap(source, q.index)
      : V.attentionMap(source, q, state.incoming, state.head);
    const numbers = V.numbers(result.map);
    const shared = state.shared && !similar ? V.layerScale(source.array) : null;
    const scale = shared || V.scale(numbers.low, numbers.high);
    state.map = result.map;
    const { rows, columns } = result, plate = $("map");
    V.drawHeat(plate.querySelector("canvas"), picture, result.map, rows, columns, scale);
    V.drawBar(plate.parentElement, scale, true);
    $("sentence").textContent = sentence(q, similar, grid[1], source);
    showNumbers(numbers, q, similar, grid, result);
    if (!similar) drawHeads(source, q, shared, layer);
    drawBaseline(q, similar, result, scale);
    const several = !$("shuffled").hidden || Boolean(state.model.second);
    for (const id of ["picture-title", "first-title"]) $(id).hidden = !several;
    $("first-title").textContent = state.model.second ? state.model.title : V.t("this_layer");
  }

  V.layerScale = function (array) {
    let high = 0;
    for (const value of array.highs) high = Math.max(high, value);
    return { low: 0, high };
  };

  function showControls(similar, mapped, q, grid, layer) {
    const { trace } = state;
    $("reason").hidden = !trace.reason || similar && trace.layers.length > 0;
    $("reason").textContent = trace.reason;
    for (const id of ["layers", "heads", "directions", "queries"])
      $(id).hidden = similar || !mapped;
    $("map").closest("figure").hidden = $("numbers").hidden = $("keys").hidden = !mapped;
    const query = q.kind === "patch" && mapped ? q.index : null;
    for (const node of document.querySelectorAll(".stage .marker.query")) V.mark(node, query, grid);
    V.mark(document.querySelector(".marker.read"), state.read, readGrid());
    press($("queries"), (b) => b.dataset.query === q.kind);
    press($("directions"), (b) => Boolean(b.dataset.incoming) === state.incoming);
    press($("shows"), (b) => b.dataset.show === state.show);
    $("queries").querySelector("[data-query=class]").disabled = !layer?.prefix;
    $("baseline").parentElement.hidden = V.exported && !layer?.scan;
    $("baseline").checked = state.baseline;
    $("picture-caption").textContent = V.t(layer?.windows && !similar ? "grid_windows" : "grid",
      { rows: grid[0], columns: grid[1], size: trace.size.join(" × ") });
  }

  // The grid of the map, which is that of the keys, or of the queries where they are incoming.
  const readGrid = () => state.show === "similarity" || state.incoming ? V.grid()
    : state.attention?.key_grid || V.grid();
  V.readGrid = readGrid;

  function sentence(q, similar, columns, source) {
    const name = q.kind === "patch" ? V.t("patch", V.position(q.index, columns))
      : V.t(q.kind === "class" ? "the_class" : "the_mean");
    const layer = state.trace.layers[state.layer];
    const heads = similar ? "" : state.head === null
      ? V.t("heads_mean", { n: source.array.shape[0] }) : V.headName(state.head, layer);
    const key = similar ? "says_cosine" : state.incoming ? "says_in" : "says_out";
    return V.t(key, { query: name, heads, layer: layer && V.layerName(layer.key) });
  }

  function showNumbers(numbers, q, similar, grid, { map, reach, columns }) {
    const rows = [];
    const add = (name, value, note) => rows.push(create("div", {},
      create("dt", { textContent: name }),
      create("dd", { textContent: `${value} ` }, create("small", { textContent: note || "" }))));
    const own = q.kind === "patch" ? V.otherCell(q.index, grid, readGrid()) : numbers.top;
    const index = Math.min(state.read ?? own, map.length - 1);
    add(V.t(similar ? "cosine" : "weight", V.position(index, columns)), V.format(map[index]));
    if (similar) {
      let best = q.index === 0 ? 1 : 0;
      for (let j = 0; j < map.length; j++) if (j !== q.index && map[j] > map[best]) best = j;
      add(V.t("largest_cosine"), V.format(map[best]), V.t("at", V.position(best, columns)));
      add(V.t("lowest_cosine"), V.format(numbers.low));
    } else {
      add(V.t("largest"), V.format(numbers.high), V.t("at", V.position(numbers.top, columns)));
      add(V.t("share"), Number.isFinite(numbers.share) ? `${(100 * numbers.share).toFixed(1)} %` : "–");
      const limit = Math.log2(reach).toFixed(2);
      add(V.t("entropy"), Number.isFinite(numbers.entropy) ? numbers.entropy.toFixed(2) : "–",
        V.t("bits", { limit }));
    }
    $("numbers").replaceChildren(...rows);
  }

  function drawHeads(attention, q, shared, layer) {
    const box = $("heads"), count = attention.array.shape[0];
    const choices = count > 1 ? [null, ...Array(count).keys()] : [null];
    if (box.childElementCount !== choices.length)
      box.replaceChildren(...choices.map((head) => {
        const button = create("button", { type: "button" }, create("canvas", {}), create("span", {}),
          create("small", {}));
        button.addEventListener("click", () => { state.head = head; V.redraw(); });
        return button;
      }));
    choices.forEach((head, i) => {
      const button = box.children[i];
      const { map, rows, columns } = V.attentionMap(attention, q, state.incoming, head);
      const numbers = V.numbers(map);
      const scale = shared || V.scale(numbers.low, numbers.high);
      V.drawCells(button.firstChild, map, rows, columns, scale);
      const name = head === null ? V.t("mean_heads") : V.headName(head, layer);
      button.querySelector("span").textContent = name;
      button.lastChild.textContent = `≤ ${V.format(numbers.high)}`;
      button.setAttribute("aria-pressed", String(state.head === head));
    });
  }

  // The same map of the picture with its patches shuffled: what position alone decides.
  function drawBaseline(q, similar, { map, rows, columns }, scale) {
    const figure = $("shuffled");
    figure.hidden = similar || !state.baseline || !state.shuffled;
    if (figure.hidden) return;
    const other = V.attentionMap(state.shuffled, q, state.incoming, state.head).map;
    V.drawMap(figure, state.picture, other, rows, columns, scale, V.t("position_only"));
    const explained = V.explained(map, other);
    figure.querySelector("figcaption").textContent = V.t("position_says",
      { share: Number.isFinite(explained) ? `${(100 * explained).toFixed(0)} %` : "–" });
  }

  V.loadLayer = async function () {
    const { trace, layer } = state;
    if (!trace.layers.length) return V.redraw();
    const { key, heads, prefix } = trace.layers[layer];
    $("layer-name").textContent = V.t("layer_of",
      { key: V.layerName(key), n: layer + 1, count: trace.layers.length });
    $("layer").setAttribute("aria-valuetext", key);
    if (state.head !== null && state.head >= heads) state.head = null;
    if (!prefix && state.query.kind === "class") state.query = { ...state.query, kind: "mean" };
    const current = () => trace === state.trace && layer === state.layer;
    Object.assign(state, { attention: null, shuffled: null });
    try {
      const attention = await V.working(V.t("computing"), V.load.attention(trace.id, layer));
      if (!current()) return;
      state.attention = attention;
      V.emit("layer");
      V.redraw();
      if (state.baseline) await V.loadBaseline();
    } catch (problem) { if (current()) V.fail(problem); }
  };

  V.loadBaseline = async function () {
    const { trace, layer } = state;
    try {
      const shuffled = await V.working(V.t("computing"), V.load.baseline(trace.id, layer));
      if (trace === state.trace && layer === state.layer) { state.shuffled = shuffled; V.redraw(); }
    } catch (problem) { V.fail(problem); }
  };

  V.loadSimilarity = async function () {
    const { trace } = state;
    try {
      const similarity = await V.working(V.t("computing"), V.load.similarity(trace.id));
      if (trace === state.trace) { V.change({ similarity }); V.redraw(); }
    } catch (problem) { V.fail(problem); }
  };

  V.on("draw", draw);
})(Vitrail);
