"use strict";
// Opening pictures, the controls, languages and themes.
(function (V) {
  const { $, state, create, press } = V;
  let opened = 0;

  async function open(load, name, source) {
    const ticket = ++opened;
    $("problem").hidden = true;
    try {
      const { trace, loader } = await V.working(V.t("reading", { name }), load());
      const picture = await V.openPicture(trace.picture);
      if (ticket !== opened) return;
      const before = state.trace;
      V.load = loader;
      Object.assign(state, { trace, picture, sample: null, file: null, ...source, attention: null,
        shuffled: null, similarity: null, hover: null, read: null, target: null });
      if (!before || before.layers.length !== trace.layers.length)
        Object.assign(state, { layer: Math.max(0, trace.layers.length - 1), head: null });
      if (!before) state.baseline = Boolean(trace.layers[0]?.scan);
      if (!trace.layers.length) state.show = "similarity";
      const [rows, columns] = V.grid();
      if (state.query.index >= rows * columns) state.query.index = 0;
      $("layer").max = Math.max(0, trace.layers.length - 1);
      $("layer").value = state.layer;
      V.drawPicture($("picture").querySelector("canvas"), picture);
      V.drawPicture($("map").querySelector("canvas"), picture);
      press($("samples"), (button) => Number(button.dataset.sample) === state.sample);
      V.emit("trace");
      await Promise.all([V.loadLayer(), state.show === "similarity" ? V.loadSimilarity() : null]);
    } catch (problem) { if (ticket === opened) V.fail(problem); }
  }
  const server = V.load;
  const served = async (trace) => ({ trace: await trace, loader: server });
  V.openFile = (file) => open(
    () => V.exported ? V.runLive(file) : served(server.file(file)), file.name, { file });
  const openSample = (index, title) => open(() => served(server.sample(index)), title, { sample: index });

  V.setLayer = function (layer) {
    if (layer === state.layer) return;
    V.change({ layer });
    $("layer").value = layer;
    V.loadLayer();
  };

  function listen() {
    const file = (files) => { if (files && files[0]) V.openFile(files[0]); };
    $("file").addEventListener("change", () => { file($("file").files); $("file").value = ""; });
    for (const kind of ["dragover", "drop", "dragleave"])
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        $("drop").classList.toggle("over", kind === "dragover");
        if (kind === "drop" && !$("drop").hidden) file(event.dataTransfer.files);
      });
    const choices = (box, choose) => $(box).addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button && state.trace) { choose(button.dataset); V.redraw(); }
    });
    choices("queries", ({ query }) => {
      state.query = { kind: query, index: state.query.index || V.middle() };
    });
    choices("directions", ({ incoming }) => { state.incoming = Boolean(incoming); });
    choices("shows", ({ show }) => {
      V.change({ show });
      if (show === "similarity" && !state.similarity) V.loadSimilarity();
    });
    $("layer").addEventListener("input", () => V.setLayer(Number($("layer").value)));
    $("shared").addEventListener("change", () => { state.shared = $("shared").checked; V.redraw(); });
    $("baseline").addEventListener("change", () => {
      state.baseline = $("baseline").checked;
      if (state.baseline && !state.shuffled) V.loadBaseline(); else V.redraw();
    });
    $("language").addEventListener("click", () => {
      V.language = V.language === "zh" ? "en" : "zh";
      V.storage.set("language", V.language);
      speak();
    });
    $("theme").addEventListener("click", () => {
      theme(dark() ? "light" : "dark");
      V.storage.set("theme", document.documentElement.dataset.theme);
      V.emit("language");
    });
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
    const { key } = state.trace.layers[state.layer] || {};
    if (key) $("layer-name").textContent = V.t("layer_of",
      { key: V.layerName(key), n: state.layer + 1, count: state.trace.layers.length });
    V.emit("language");
    V.redraw();
  }

  async function start() {
    theme(V.storage.get("theme"));
    speak();
    listen();
    try {
      state.model = await V.working(V.t("computing"), V.load.model());
    } catch (problem) { return V.fail(problem); }
    V.setColors(state.model.colors);
    $("drop").hidden = V.exported;
    $("samples").replaceChildren(...state.model.samples.map(({ title, picture }, index) => {
      const button = create("button", { type: "button", title }, create("img", { src: picture, alt: title }));
      button.dataset.sample = index;
      button.addEventListener("click", () => openSample(index, title));
      return button;
    }));
    V.emit("model");
    speak();
    if (state.model.samples.length) await openSample(0, state.model.samples[0].title);
    document.body.dataset.ready = "true";
  }
  start();
})(Vitrail);
