"use strict";
// The page: its state, what it draws of it, and what keys and pointers change.
(function (V) {
  const $ = (id) => document.getElementById(id);
  const state = {
    model: null, trace: null, picture: null, sample: null,
    layer: 0, head: null, query: { kind: "class", index: 0 }, hover: null, read: null,
    incoming: false, show: "attention", shared: false, target: null, methods: new Set(),
    attention: null, similarity: null, map: null,
  };
  V.state = state; // for those who look with the browser's console, and for tests
  let opened = 0, frame = 0, waiting = 0;

  function create(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {}))
      if (key in node && key !== "list") node[key] = value; else node.setAttribute(key, value);
    node.append(...children);
    return node;
  }
  function fail(problem) {
    $("problem").textContent = problem.message || String(problem);
    $("problem").hidden = false;
  }
  async function working(text, promise) {
    waiting++;
    $("busy").textContent = text;
    $("busy").hidden = false;
    try { return await promise; } finally { if (--waiting === 0) $("busy").hidden = true; }
  }
  const press = (box, chosen) => {
    for (const button of box.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(chosen(button)));
  };
  const percent = () => state.model.target !== "numbers";
  const place = (index, columns) => ({ row: Math.floor(index / columns), column: index % columns });

  // The grid and the query of what is shown now.
  function grid() {
    const similar = state.show === "similarity" && state.similarity;
    return similar ? state.similarity.grid : state.trace.grid;
  }
  function query() {
    if (state.hover !== null) return { kind: "patch", index: state.hover };
    if (state.show === "similarity" && state.query.kind !== "patch") {
      const [rows, columns] = grid();
      return { kind: "patch", index: (rows >> 1) * columns + (columns >> 1) };
    }
    return state.query;
  }

  function redraw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
  }

  function mark(node, index) {
    const [rows, columns] = grid();
    node.hidden = index === null || index >= rows * columns;
    if (node.hidden) return;
    const { row, column } = place(index, columns);
    node.style.left = `${100 * column / columns}%`;
    node.style.top = `${100 * row / rows}%`;
    node.style.width = `${100 / columns}%`;
    node.style.height = `${100 / rows}%`;
  }

  function draw() {
    const { trace, picture } = state;
    if (!trace || !picture) return;
    const [rows, columns] = grid(), q = query();
    const similar = state.show === "similarity";
    const array = similar ? state.similarity?.array : state.attention?.array;
    const mapped = similar || trace.layers.length > 0;
    $("reason").hidden = mapped;
    $("reason").textContent = trace.reason;
    $("layers").hidden = $("heads").hidden = similar || !mapped;
    $("directions").hidden = similar || !mapped;
    $("queries").hidden = similar || !mapped;
    const figure = $("map").closest("figure");
    figure.hidden = !mapped;
    $("numbers").hidden = $("keys").hidden = !mapped;
    for (const node of document.querySelectorAll(".marker.query"))
      mark(node, q.kind === "patch" && mapped ? q.index : null);
    mark(document.querySelector(".marker.read"), state.read);
    press($("queries"), (b) => b.dataset.query === q.kind);
    press($("directions"), (b) => Boolean(b.dataset.incoming) === state.incoming);
    press($("shows"), (b) => b.dataset.show === state.show);
    $("queries").querySelector("[data-query=class]").disabled = trace.prefix === 0;
    $("picture-caption").textContent = V.t("grid",
      { rows: trace.grid[0], columns: trace.grid[1], size: trace.size.join(" × ") });
    if (!mapped || !array) {
      $("sentence").textContent = V.t(mapped ? "computing" : "says_none");
      return;
    }
    const map = similar ? V.similarityMap(array, q.index)
      : V.attentionMap(array, trace.prefix, q, state.incoming, state.head);
    const numbers = V.numbers(map);
    const layerScale = () => {
      let high = 0;
      for (const value of array.highs) high = Math.max(high, value);
      return { low: 0, high };
    };
    const shared = state.shared && !similar ? layerScale() : null;
    const scale = shared || V.scale(numbers.low, numbers.high);
    state.map = map;
    V.drawHeat($("map").querySelector("canvas"), picture, map, rows, columns, scale);
    const ends = [scale.low, (scale.low + scale.high) / 2, scale.high];
    $("ends").replaceChildren(...ends.map((end) => create("span", { textContent: V.format(end) })));
    sentence(q, similar, columns, array);
    showNumbers(numbers, q, similar, columns, map);
    if (!similar) drawHeads(array, q, shared, rows, columns);
  }

  function sentence(q, similar, columns, array) {
    const name = q.kind === "patch" ? V.t("patch", place(q.index, columns))
      : V.t(q.kind === "class" ? "the_class" : "the_mean");
    const heads = state.head === null ? V.t("heads_mean", { n: array.shape[0] })
      : headName(state.head);
    const key = similar ? "says_cosine" : state.incoming ? "says_in" : "says_out";
    const layer = state.trace.layers[state.layer]?.key;
    $("sentence").textContent = V.t(key, { query: name, heads, layer });
  }

  function showNumbers(numbers, q, similar, columns, map) {
    const rows = [];
    const add = (name, value, note) => rows.push(create("div", {},
      create("dt", { textContent: name }),
      create("dd", { textContent: `${value} ` }, create("small", { textContent: note || "" }))));
    const index = state.read ?? (q.kind === "patch" ? q.index : numbers.top);
    const at = place(index, columns);
    add(V.t(similar ? "cosine" : "weight", at), V.format(map[index]));
    if (similar) {
      let best = q.index === 0 ? 1 : 0;
      for (let j = 0; j < map.length; j++) if (j !== q.index && map[j] > map[best]) best = j;
      add(V.t("largest_cosine"), V.format(map[best]), V.t("at", place(best, columns)));
      add(V.t("lowest_cosine"), V.format(numbers.low));
    } else {
      add(V.t("largest"), V.format(numbers.high), V.t("at", place(numbers.top, columns)));
      add(V.t("share"), Number.isFinite(numbers.share) ? `${(100 * numbers.share).toFixed(1)} %` : "–");
      const limit = Math.log2(map.length).toFixed(2);
      add(V.t("entropy"), Number.isFinite(numbers.entropy) ? numbers.entropy.toFixed(2) : "–",
        V.t("bits", { limit }));
    }
    $("numbers").replaceChildren(...rows);
  }

  function headName(head) {
    const names = state.trace.layers[state.layer]?.names || [];
    return names[head] || V.t("heads_one", { n: head });
  }

  function drawHeads(array, q, shared, rows, columns) {
    const box = $("heads"), count = array.shape[0];
    const choices = count > 1 ? [null, ...Array(count).keys()] : [null];
    if (box.childElementCount !== choices.length)
      box.replaceChildren(...choices.map((head) => {
        const button = create("button", { type: "button" }, create("canvas", {}), create("span", {}),
          create("small", {}));
        button.addEventListener("click", () => { state.head = head; redraw(); });
        return button;
      }));
    choices.forEach((head, i) => {
      const button = box.children[i];
      const map = V.attentionMap(array, state.trace.prefix, q, state.incoming, head);
      const numbers = V.numbers(map);
      const scale = shared || V.scale(numbers.low, numbers.high);
      V.drawCells(button.firstChild, map, rows, columns, scale);
      const name = head === null ? V.t("mean_heads") : headName(head);
      button.querySelector("span").textContent = name;
      button.lastChild.textContent = `≤ ${V.format(numbers.high)}`;
      button.setAttribute("aria-pressed", String(state.head === head));
    });
  }

  async function loadLayer() {
    const { trace, layer } = state, ticket = opened;
    if (!trace.layers.length) return redraw();
    const { key, heads } = trace.layers[layer];
    $("layer-name").textContent = V.t("layer_of",
      { key: key.length > 14 ? `…${key.slice(-13)}` : key, n: layer + 1, count: trace.layers.length });
    $("layer").setAttribute("aria-valuetext", key);
    if (state.head !== null && state.head >= heads) state.head = null;
    state.attention = null;
    try {
      const attention = await working(V.t("computing"), V.load.attention(trace.id, layer));
      if (ticket === opened && layer === state.layer) { state.attention = attention; redraw(); }
    } catch (problem) { fail(problem); }
  }

  async function loadSimilarity() {
    const ticket = opened;
    try {
      const similarity = await working(V.t("computing"), V.load.similarity(state.trace.id));
      if (ticket === opened) { state.similarity = similarity; redraw(); }
    } catch (problem) { fail(problem); }
  }

  async function open(load, name, sample) {
    const ticket = ++opened;
    $("problem").hidden = true;
    try {
      const trace = await working(V.t("reading", { name }), load());
      const picture = await V.openPicture(trace.picture);
      if (ticket !== opened) return;
      const before = state.trace;
      Object.assign(state, { trace, picture, sample, attention: null, similarity: null, hover: null,
        read: null, target: null });
      if (!before || before.layers.length !== trace.layers.length)
        Object.assign(state, { layer: Math.max(0, trace.layers.length - 1), head: null });
      if (trace.prefix === 0 && state.query.kind === "class") state.query = { kind: "mean", index: 0 };
      if (!trace.layers.length) state.show = "similarity";
      if (state.query.index >= trace.grid[0] * trace.grid[1]) state.query.index = 0;
      $("layer").max = Math.max(0, trace.layers.length - 1);
      $("layer").value = state.layer;
      V.drawPicture($("picture").querySelector("canvas"), picture);
      V.drawPicture($("map").querySelector("canvas"), picture);
      press($("samples"), (button) => Number(button.dataset.sample) === sample);
      showAnswers();
      showTargets();
      showMethods();
      await Promise.all([loadLayer(), state.show === "similarity" ? loadSimilarity() : null]);
      showMaps();
    } catch (problem) { if (ticket === opened) fail(problem); }
  }

  function showAnswers() {
    const { trace } = state;
    const rows = trace.predictions.map(({ index, label, value }) => {
      const text = percent() ? `${(100 * value).toFixed(1)} %` : V.format(value);
      const button = create("button", { type: "button", className: "answer" },
        create("b", { textContent: label }), create("span", { textContent: text }));
      button.dataset.index = index;
      if (percent()) {
        const bar = create("i", {});
        bar.style.setProperty("--part", `${100 * value}%`);
        button.append(bar);
      }
      button.addEventListener("click", () => chooseTarget(index));
      return button;
    });
    $("predictions").replaceChildren(...(rows.length ? rows
      : [create("p", { className: "quiet", textContent: V.t("no_classes") })]));
    if (trace.lens && trace.lens.values) V.drawLens($("lens"), trace.lens, percent());
    else {
      const key = trace.lens ? "no_head" : "no_classes";
      const text = V.t(key, { reason: trace.lens?.reason });
      $("lens").replaceChildren(create("p", { className: "quiet", textContent: text }));
    }
    pressAnswer();
  }
  const chosenTarget = () => state.target ?? state.trace.predictions[0]?.index ?? null;
  function pressAnswer() {
    press($("predictions"), (button) => Number(button.dataset.index) === chosenTarget());
  }

  function showTargets() {
    const { trace, model } = state, names = new Map();
    for (const { index, label } of trace.predictions)
      if (!trace.targets || trace.targets.includes(index)) names.set(index, label);
    if (!trace.targets)
      for (let i = 0; i < Math.min(model.classes, 2000); i++)
        if (!names.has(i)) names.set(i, model.labels ? model.labels[i] : String(i));
    const select = $("target");
    select.replaceChildren(...[...names].map(([index, label]) =>
      create("option", { value: index, textContent: label })));
    select.disabled = !names.size;
    if (names.size) select.value = chosenTarget();
  }
  function chooseTarget(index) {
    const { trace } = state;
    if (trace.targets && !trace.targets.includes(index)) return;
    state.target = index;
    $("target").value = index;
    pressAnswer();
    showMaps();
  }

  const explanationName = (name) => V.texts[V.language].names[name] || name;
  function showMethods() {
    const { model, trace } = state;
    const rows = model.explanations.filter(({ name }) =>
      !trace.explanations || trace.explanations.includes(name));
    if (!state.methods.size)
      for (const name of ["relevance", "grad_cam", "rollout"])
        if (rows.some((row) => row.name === name && !row.reason)) state.methods.add(name);
    $("methods").replaceChildren(...rows.map(({ name, reason, slow }) => {
      const text = `${explanationName(name)}${slow ? ` ${V.t("slow")}` : ""}`;
      const button = create("button", { type: "button", textContent: text, title: reason });
      button.disabled = Boolean(reason);
      button.dataset.name = name;
      button.addEventListener("click", () => {
        if (!state.methods.delete(name)) state.methods.add(name);
        showMaps();
      });
      return button;
    }));
  }

  function faithfulness(name) {
    const row = state.model.faithfulness.find((each) => each.explanation === name);
    if (!row) return "";
    const parts = [V.t("faithfulness", { insertion: V.format(row.insertion), deletion: V.format(row.deletion) })];
    if (!row.beats_random) parts.push(V.t("random"));
    if (row.depends_on_weights === false) parts.push(V.t("ignores"));
    return parts.join("; ");
  }

  async function showMaps() {
    if (!state.trace) return;
    press($("methods"), (button) => state.methods.has(button.dataset.name));
    const { trace, picture, model } = state, ticket = opened, target = chosenTarget();
    const chosen = model.explanations.filter(({ name, reason }) => state.methods.has(name) && !reason
      && (!trace.explanations || trace.explanations.includes(name)));
    const label = $("target").selectedOptions[0]?.textContent || "";
    const boxes = chosen.map(({ name, of_class }) => {
      const title = explanationName(name) + (of_class && label ? ` · ${label}` : "");
      return create("figure", {}, create("h3", { textContent: title }),
        create("div", { className: "plate" }, create("canvas", {})),
        create("div", { className: "bar" }), create("div", { className: "ends" }),
        create("figcaption", { className: "quiet" }));
    });
    $("maps").replaceChildren(...(boxes.length ? boxes
      : [create("p", { className: "empty", textContent: V.t("choose") })]));
    for (let i = 0; i < chosen.length; i++) {
      const { name, of_class } = chosen[i], box = boxes[i];
      const caption = box.querySelector("figcaption");
      V.drawPicture(box.querySelector("canvas"), picture);
      caption.textContent = V.t("computing");
      try {
        const load = V.load.explanation(trace.id, name, of_class ? target : null);
        const { array } = await working(V.t("computing"), load);
        if (ticket !== opened || !box.isConnected) return;
        const map = V.all(array), [rows, columns] = array.shape;
        const numbers = V.numbers(map), scale = V.scale(numbers.low, numbers.high);
        V.drawHeat(box.querySelector("canvas"), picture, map, rows, columns, scale);
        const range = `${V.format(numbers.low)} … ${V.format(numbers.high)}`;
        box.querySelector("canvas").setAttribute("role", "img");
        box.querySelector("canvas").setAttribute("aria-label", `${explanationName(name)}: ${range}`);
        box.querySelector(".bar").style.background = V.gradient();
        box.querySelector(".ends").replaceChildren(
          ...[scale.low, scale.high].map((end) => create("span", { textContent: V.format(end) })));
        caption.textContent = faithfulness(name);
      } catch (problem) {
        if (box.isConnected) caption.textContent = problem.message;
      }
    }
  }

  function patchAt(event, node) {
    const box = node.getBoundingClientRect(), [rows, columns] = grid();
    const limit = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
    return limit((event.clientY - box.top) / box.height, rows) * columns
      + limit((event.clientX - box.left) / box.width, columns);
  }
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function moved(event, index) {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return null;
    event.preventDefault();
    const [rows, columns] = grid(), { row, column } = place(index, columns);
    const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
    return inside(row + step[0], rows) * columns + inside(column + step[1], columns);
  }

  function listenToPlates() {
    const picture = $("picture"), map = $("map");
    const hold = (index) => { state.query = { kind: "patch", index }; state.hover = null; redraw(); };
    picture.addEventListener("pointermove", (event) => {
      if (state.trace && event.pointerType === "mouse") {
        state.hover = patchAt(event, picture); redraw();
      }
    });
    picture.addEventListener("pointerleave", () => { state.hover = null; redraw(); });
    picture.addEventListener("click", (event) => state.trace && hold(patchAt(event, picture)));
    picture.addEventListener("keydown", (event) => {
      if (!state.trace) return;
      const q = query(), [rows, columns] = grid();
      const start = q.kind === "patch" ? q.index : (rows >> 1) * columns + (columns >> 1);
      const index = moved(event, start);
      if (index !== null) hold(index);
    });
    map.addEventListener("pointermove", (event) => {
      if (state.trace) { state.read = patchAt(event, map); redraw(); }
    });
    map.addEventListener("pointerleave", () => { state.read = null; redraw(); });
    map.addEventListener("click", (event) => {
      if (state.trace) { state.read = patchAt(event, map); redraw(); }
    });
    map.addEventListener("keydown", (event) => {
      if (!state.trace || !state.map) return;
      const index = moved(event, state.read ?? V.numbers(state.map).top);
      if (index !== null) { state.read = index; redraw(); }
    });
    map.addEventListener("blur", () => { state.read = null; redraw(); });
  }

  function listen() {
    const file = (files) => {
      if (files && files[0]) open(() => V.load.file(files[0]), files[0].name, null);
    };
    $("file").addEventListener("change", () => { file($("file").files); $("file").value = ""; });
    for (const kind of ["dragover", "drop", "dragleave"])
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        $("drop").classList.toggle("over", kind === "dragover");
        if (kind === "drop" && !V.exported) file(event.dataTransfer.files);
      });
    const choices = (box, choose) => $(box).addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button && state.trace) { choose(button.dataset); redraw(); }
    });
    choices("queries", (data) => {
      const [rows, columns] = grid();
      const index = state.query.index || (rows >> 1) * columns + (columns >> 1);
      state.query = { kind: data.query, index };
    });
    choices("directions", (data) => { state.incoming = Boolean(data.incoming); });
    choices("shows", (data) => {
      state.show = data.show;
      if (data.show === "similarity" && !state.similarity) loadSimilarity();
    });
    $("layer").addEventListener("input", () => { state.layer = Number($("layer").value); loadLayer(); });
    $("shared").addEventListener("change", () => { state.shared = $("shared").checked; redraw(); });
    $("target").addEventListener("change", () => chooseTarget(Number($("target").value)));
    $("language").addEventListener("click", () => {
      V.language = V.language === "zh" ? "en" : "zh";
      V.storage.set("language", V.language);
      speak();
    });
    $("theme").addEventListener("click", () => {
      theme(dark() ? "light" : "dark");
      V.storage.set("theme", document.documentElement.dataset.theme);
    });
    listenToPlates();
  }

  const dark = () => (document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function theme(name) {
    if (name) document.documentElement.dataset.theme = name;
    $("theme").textContent = V.t(dark() ? "theme_light" : "theme_dark");
  }

  function speak() {
    V.translate();
    theme();
    $("language").textContent = V.t("language");
    $("language").lang = V.language === "zh" ? "en" : "zh-CN";
    if (V.exported) document.querySelector("footer div").textContent = V.t("footer_export");
    if (!state.model) return;
    const { title, description, origin } = state.model;
    $("model").textContent = [title, description, origin].filter(Boolean).join(" · ");
    if (!state.trace) { $("sentence").textContent = V.t("no_image"); return; }
    showAnswers();
    showMethods();
    showMaps();
    loadLayer();
    redraw();
  }

  async function start() {
    theme(V.storage.get("theme"));
    speak();
    listen();
    try {
      state.model = await working(V.t("computing"), V.load.model());
    } catch (problem) { return fail(problem); }
    V.setColors(state.model.colors);
    document.querySelector("#map ~ .bar").style.background = V.gradient();
    $("drop").hidden = V.exported;
    $("samples").replaceChildren(...state.model.samples.map(({ title, picture }, index) => {
      const image = create("img", { src: picture, alt: title });
      const button = create("button", { type: "button", title }, image);
      button.dataset.sample = index;
      button.addEventListener("click", () => open(() => V.load.sample(index), title, index));
      return button;
    }));
    speak();
    if (state.model.samples.length)
      await open(() => V.load.sample(0), state.model.samples[0].title, 0);
    document.body.dataset.ready = "true";
  }
  start();
})(Vitrail);
