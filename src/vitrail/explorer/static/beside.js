"use strict";
// A second model on the same picture: the same patch, and the layer at the same relative depth.
(function (V) {
  const { $, state, create } = V;
  const other = { model: null, load: null, trace: null, attention: null, similarity: null };
  V.other = other; // for tests

  const relative = (layer, count, others) =>
    count > 1 ? Math.round(layer / (count - 1) * (others - 1)) : others - 1;

  V.on("model", async () => {
    if (!state.model.second) return;
    other.load = V.loader(1);
    try { other.model = await other.load.model(); } catch (problem) { return V.fail(problem); }
    V.emit("language");
  });

  V.on("trace", async () => {
    if (!state.model.second) return;
    const { trace, sample, file } = state;
    Object.assign(other, { trace: null, attention: null, similarity: null });
    $("second-predictions").hidden = Boolean(trace.live);
    if (trace.live) return V.redraw();
    try {
      if (!other.load) other.load = V.loader(1);
      const load = file ? other.load.file(file) : other.load.sample(sample);
      const answer = await V.working(V.t("computing"), load);
      if (trace !== state.trace) return;
      other.trace = answer;
      other.picture = await V.openPicture(answer.picture);
      showPrediction();
      loadMap();
    } catch (problem) { if (trace === state.trace) V.fail(problem); }
  });

  async function loadMap() {
    const { trace } = other;
    if (!trace) return;
    const similar = state.show === "similarity" || !trace.layers.length;
    const layer = relative(state.layer, state.trace.layers.length, trace.layers.length);
    try {
      if (similar && !other.similarity) other.similarity = await other.load.similarity(trace.id);
      if (!similar && (other.attention?.layer !== layer || other.attention?.id !== trace.id)) {
        const attention = await V.working(V.t("computing"), other.load.attention(trace.id, layer));
        if (trace !== other.trace) return;
        other.attention = attention;
      }
      V.redraw();
    } catch (problem) { if (trace === other.trace) V.fail(problem); }
  }

  // The query on the other model's grid; what it lacks is replaced, and the caption says by what.
  function queryOn(grid, prefix) {
    const q = V.query();
    if (q.kind === "patch") return { ...q, index: V.otherCell(q.index, V.grid(), grid) };
    return q.kind === "class" && !prefix ? { kind: "mean", index: 0 } : q;
  }

  function draw() {
    const figure = $("second");
    figure.hidden = !state.model?.second || Boolean(state.trace.live);
    if (figure.hidden || !other.trace) return;
    const { trace } = other, similar = state.show === "similarity" || !trace.layers.length;
    const source = similar ? other.similarity : other.attention;
    if (!source) return;
    const grid = source.grid, q = queryOn(grid, source.prefix);
    if (similar && q.kind !== "patch")
      Object.assign(q, { kind: "patch", index: (grid[0] >> 1) * grid[1] + (grid[1] >> 1) });
    const heads = similar ? 1 : source.array.shape[0];
    const head = state.head !== null && state.head < heads ? state.head : null;
    const { map, rows, columns, reach } = similar ? V.similarityMap(source, q.index)
      : V.attentionMap(source, q, state.incoming, head);
    other.map = map;
    const numbers = V.numbers(map), scale = V.scale(numbers.low, numbers.high);
    V.drawMap(figure, other.picture, map, rows, columns, scale, other.model?.title || "");
    V.mark(figure.querySelector(".query"), q.kind === "patch" ? q.index : null, grid);
    const read = state.read === null ? null : V.otherCell(state.read, V.readGrid(), [rows, columns]);
    V.mark(figure.querySelector(".read"), read, [rows, columns]);
    const index = read ?? (q.kind === "patch" ? V.otherCell(q.index, grid, [rows, columns]) : numbers.top);
    const layer = trace.layers[source.layer];
    const what = similar ? V.t("similarity") : V.t("second_says", {
      layer: V.layerName(layer.key),
      heads: head === null ? V.t("heads_mean", { n: heads }) : V.headName(head, layer),
      query: V.t({ patch: "one_patch", class: "class_token", mean: "mean_patches" }[q.kind]),
    });
    const weight = V.t("second_weight", { ...V.position(index, columns), value: V.format(map[index]),
      high: V.format(numbers.high) });
    const entropy = Number.isFinite(numbers.entropy) ? V.t("second_entropy",
      { entropy: numbers.entropy.toFixed(2), limit: Math.log2(reach).toFixed(2) }) : "";
    figure.querySelector("figcaption").textContent = [what, weight, entropy].filter(Boolean).join(" ");
    figure.querySelector("h3").textContent = other.model?.title || state.model.second;
  }

  function showPrediction() {
    const { trace, model } = other, box = $("second-predictions");
    box.hidden = !trace;
    if (!trace) return;
    const rows = V.predictionRows(trace.predictions, null);
    box.replaceChildren(
      create("h3", { textContent: model?.title || state.model.second }),
      ...(rows.length ? rows : [create("p", { className: "quiet", textContent: V.t("no_classes") })]));
  }

  V.on("layer", loadMap);
  V.on("draw", () => { if (other.trace) loadMapIfNeeded(); draw(); });
  function loadMapIfNeeded() {
    const similar = state.show === "similarity" || !other.trace.layers.length;
    if (similar && !other.similarity) loadMap();
  }
  V.on("language", () => { if (other.trace) { showPrediction(); V.redraw(); } });
})(Vitrail);
