"use strict";
// The prediction, the logit lens, and the class that explanations are of.
(function (V) {
  const { $, state, create, press, percent } = V;

  V.answerText = (value) => percent() ? `${(100 * value).toFixed(1)} %` : V.format(value);

  // The rows of predictions of a model; a click chooses the class.
  V.predictionRows = (predictions, choose) => predictions.map(({ index, label, value }) => {
    const button = create(choose ? "button" : "div", { className: "answer" },
      create("b", { textContent: label }), create("span", { textContent: V.answerText(value) }));
    button.dataset.index = index;
    if (percent()) {
      const bar = create("i", {});
      bar.style.setProperty("--part", `${100 * value}%`);
      button.append(bar);
    }
    if (choose) {
      button.type = "button";
      button.addEventListener("click", () => choose(index));
    }
    return button;
  });

  function showAnswers() {
    const { trace } = state;
    if (!trace) return;
    $("answers").hidden = !state.model.classes && !state.model.second;
    const rows = V.predictionRows(trace.predictions, choose);
    $("predictions").replaceChildren(...(rows.length ? rows
      : [create("p", { className: "quiet", textContent: V.t("no_classes") })]));
    $("lens-part").hidden = !trace.lens;
    if (trace.lens?.values) V.drawLens($("lens"), trace.lens, percent());
    else if (trace.lens) {
      const text = V.t("no_head", { reason: trace.lens.reason });
      $("lens").replaceChildren(create("p", { className: "quiet", textContent: text }));
    }
    pressAnswer();
  }
  V.target = () => state.target ?? state.trace.predictions[0]?.index ?? null;
  function pressAnswer() {
    press($("predictions"), (button) => Number(button.dataset.index) === V.target());
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
    select.parentElement.hidden = !names.size;
    if (names.size) select.value = V.target();
  }

  function choose(index) {
    const { trace } = state;
    if (trace.targets && !trace.targets.includes(index)) return;
    state.target = index;
    $("target").value = index;
    pressAnswer();
    V.emit("target");
  }

  $("target").addEventListener("change", () => choose(Number($("target").value)));
  V.on("trace", () => { showAnswers(); showTargets(); });
  V.on("language", showAnswers);
})(Vitrail);
