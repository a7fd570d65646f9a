"use strict";
// Explanations side by side, with their figures of how far they can be believed.
(function (V) {
  const { $, state, create, press } = V;
  const nameOf = (name) => V.texts[V.language].names[name] || name;
  const exported = (name) => !state.trace.explanations || state.trace.explanations.includes(name);

  function showMethods() {
    if (!state.trace) return;
    const rows = state.model.explanations.filter(({ name }) => exported(name));
    if (!state.methods.size)
      for (const name of ["relevance", "grad_cam", "rollout"])
        if (rows.some((row) => row.name === name && !row.reason)) state.methods.add(name);
    $("methods").replaceChildren(...rows.map(({ name, reason, slow }) => {
      const text = `${nameOf(name)}${slow ? V.t("slow") : ""}`;
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
    const figures = { insertion: V.format(row.insertion), deletion: V.format(row.deletion) };
    const parts = [V.t("faithfulness", figures)];
    if (!row.beats_random) parts.push(V.t("random"));
    if (row.depends_on_weights === false) parts.push(V.t("ignores"));
    return parts.join("; ");
  }

  async function showMaps() {
    if (!state.trace) return;
    press($("methods"), (button) => state.methods.has(button.dataset.name));
    const { trace, picture, model } = state, target = V.target();
    const chosen = model.explanations.filter(({ name, reason }) =>
      state.methods.has(name) && !reason && exported(name));
    const label = $("target").selectedOptions[0]?.textContent || "";
    const figures = chosen.map(({ name, of_class }) =>
      V.plate(nameOf(name) + (of_class && label ? ` · ${label}` : "")));
    $("maps").replaceChildren(...(figures.length ? figures
      : [create("p", { className: "empty", textContent: V.t("choose") })]));
    for (const [i, { name, of_class }] of chosen.entries()) {
      const figure = figures[i], caption = figure.querySelector("figcaption");
      V.drawPicture(figure.querySelector("canvas"), picture);
      caption.textContent = V.t("computing");
      try {
        const load = V.load.explanation(trace.id, name, of_class ? target : null);
        const { array } = await V.working(V.t("computing"), load);
        if (trace !== state.trace || !figure.isConnected) return;
        const map = V.all(array), [rows, columns] = array.shape, numbers = V.numbers(map);
        const scale = V.scale(numbers.low, numbers.high);
        V.drawMap(figure, picture, map, rows, columns, scale, nameOf(name));
        caption.textContent = faithfulness(name);
      } catch (problem) {
        if (figure.isConnected) caption.textContent = problem.message;
      }
    }
  }

  V.on("trace", () => {
    $("explanations").hidden = Boolean(state.trace.live);
    showMethods();
    showMaps();
  });
  V.on("target", showMaps);
  V.on("language", () => { showMethods(); showMaps(); });
})(Vitrail);
