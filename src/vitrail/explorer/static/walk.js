"use strict";
// The guided walk: which step, patch, head and block it is about, and its keys.
(function (V) {
  const { $, state, create } = V;
  const walk = { step: 0, doc: null, open: false, asked: "" };
  V.walk = walk; // for tests
  const arrays = ["pixels", "filter", "embedded", "token", "input", "normed", "attended", "added1",
    "middle", "normed2", "hidden", "activated", "mlp", "added2", "output", "query", "logits", "weights",
    "keys", "values", "mixed", "pooled", "head"];

  const patchOf = () => {
    if (state.trace.walk_patch !== null) return state.trace.walk_patch; // the one that was exported
    return state.query.kind === "patch" ? state.query.index : V.middle();
  };

  async function load() {
    const { trace, layer } = state;
    if (!walk.open || !trace || trace.live || state.model.walk) return;
    const patch = patchOf(), asked = `${trace.id} ${layer} ${patch}`;
    if (asked === walk.asked) return show();
    walk.asked = asked;
    try {
      const doc = await V.working(V.t("computing"), V.load.walk(trace.id, layer, patch));
      if (asked !== walk.asked) return;
      walk.doc = { ...doc };
      for (const name of arrays)
        if (doc[name]) walk.doc[name] = V.floats(doc[name]);
      show();
    } catch (problem) { if (asked === walk.asked) { walk.asked = ""; V.fail(problem); } }
  }

  // A token by its name: the class token, a register, or row and column of a patch.
  const nameOf = (token) => {
    const { prefix, grid } = walk.doc;
    if (token < prefix) return token ? V.t("walk_register", { n: token }) : V.t("class_token");
    return V.t("walk_cell", V.position(token - prefix, grid[1]));
  };

  function show() {
    const { doc, step } = walk;
    if (!doc || !walk.open) return;
    const heads = doc.query.shape[0], head = Math.min(state.head ?? 0, heads - 1);
    const [name, draw] = V.walkSteps[step];
    const about = { walk: doc, grid: doc.grid, head, names: nameOf, picture: state.picture,
      blocks: state.trace.layers.length };
    const title = V.t("walk_step", { n: step + 1, title: V.t(`walk_title_${name}`) });
    $("walk-said").textContent = title; // a screen reader says the title, not all numbers
    $("walk-step").replaceChildren(
      create("h3", { id: "walk-step-title", textContent: title }), ...draw(about));
    V.press($("walk-steps"), (button) => Number(button.dataset.step) === step);
    $("walk-back").disabled = step === 0;
    $("walk-next").disabled = step === V.walkSteps.length - 1;
    V.drawPicture($("walk-picture").querySelector("canvas"), state.picture);
    V.mark($("walk-picture").querySelector(".marker"), doc.patch, doc.grid);
    $("walk-block").max = state.trace.layers.length - 1;
    $("walk-block").value = doc.block;
    $("walk-block-name").textContent = V.t("walk_block", { n: doc.block });
    $("walk-head").replaceChildren(...[...Array(heads).keys()].map((each) =>
      create("option", { value: each, textContent: V.t("heads_one", { n: each }), selected: each === head })));
    $("walk-patch-name").textContent = V.t("walk_follows", V.position(doc.patch, doc.grid[1]));
  }

  function go(step) {
    walk.step = Math.min(V.walkSteps.length - 1, Math.max(0, step));
    show();
  }
  function setOpen(open) {
    walk.open = open;
    $("walk-body").hidden = !open;
    $("walk-start").textContent = V.t(open ? "walk_close" : "walk_start");
    $("walk-start").setAttribute("aria-expanded", String(open));
    if (open) load();
  }

  $("walk-start").addEventListener("click", () => setOpen(!walk.open));
  $("walk-back").addEventListener("click", () => go(walk.step - 1));
  $("walk-next").addEventListener("click", () => go(walk.step + 1));
  $("walk-head").addEventListener("change", () => {
    state.head = Number($("walk-head").value);
    V.redraw();
    show();
  });
  $("walk-block").addEventListener("input", () => V.setLayer(Number($("walk-block").value)));
  V.holdable($("walk-picture"));
  $("walk-body").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") { setOpen(false); $("walk-start").focus(); }
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) || event.target.closest(".scroll")) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); go(walk.step + step); }
  });

  function speak() {
    $("walk-steps").replaceChildren(...V.walkSteps.map(([name], step) => {
      const button = create("button", { type: "button", textContent: `${step + 1} ${V.t(`walk_short_${name}`)}` });
      button.dataset.step = step;
      button.addEventListener("click", () => go(step));
      return button;
    }));
    $("walk-start").textContent = V.t(walk.open ? "walk_close" : "walk_start");
    const { model } = state;
    $("walk").hidden = Boolean(model?.walk || state.trace?.live);
    show();
  }

  let pause = 0;
  V.on("draw", () => { clearTimeout(pause); pause = setTimeout(load, 120); });
  V.on("trace", () => {
    walk.doc = null;
    walk.asked = "";
    $("walk").hidden = Boolean(state.model.walk || state.trace.live);
  });
  V.on("model", speak);
  V.on("language", speak);
})(Vitrail);
