"use strict";
// Sentences against the patches, typed live, for CLIP.
(function (V) {
  const { $, state } = V;
  const MOST = 4, PAUSE = 250; // sentences that are shown; milliseconds without a key
  let timer = 0;

  const sentences = () => [...new Set($("sentences").value.split("\n").map((line) => line.trim()))]
    .filter(Boolean).slice(0, MOST);

  async function show() {
    const { trace, picture } = state;
    if (!trace || !state.model.sentences) return;
    const figures = sentences().map((text) => V.plate(text));
    const results = await Promise.all(sentences().map(async (text, i) => {
      const caption = figures[i].querySelector("figcaption");
      V.drawPicture(figures[i].querySelector("canvas"), picture);
      try {
        const { array, cosine } = await V.working(V.t("computing"), V.load.text(trace.id, text));
        const map = V.all(array), [rows, columns] = array.shape, { low, high } = V.numbers(map);
        const scale = { low, high: high > low ? high : low + 1 };
        V.drawMap(figures[i], picture, map, rows, columns, scale, text);
        caption.textContent = V.t("sentence_whole", { cosine: V.format(cosine) });
        return cosine;
      } catch (problem) {
        caption.textContent = problem.message;
        return -Infinity;
      }
    }));
    if (trace !== state.trace) return;
    const best = results.indexOf(Math.max(...results));
    figures.forEach((figure, i) => figure.classList.toggle("best", i === best && results.length > 1));
    $("sentence-maps").replaceChildren(...figures);
  }

  $("sentences").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, PAUSE);
  });
  V.on("trace", () => { $("text").hidden = !state.model.sentences; show(); });
  V.on("language", show);
})(Vitrail);
