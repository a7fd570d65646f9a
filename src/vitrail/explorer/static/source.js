"use strict";
// Where documents come from: the local server, or scripts beside a page that was exported.
(function (V) {
  const LIMIT = 64; // MiB of an image file, as in server.py
  const received = new Map(), waiting = new Map();
  V.exported = false;

  V.receive = function (name, document) {
    V.exported = true;
    received.set(name, document);
    if (waiting.has(name)) waiting.get(name)(document);
  };

  function fromScript(name) {
    if (received.has(name)) return Promise.resolve(received.get(name));
    return new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onerror = () => reject(new Error(V.t("missing", { name })));
      document.head.append(script);
    });
  }

  async function fromServer(path, query, options) {
    let response;
    const values = Object.entries(query || {}).filter(([, value]) => value !== null);
    try {
      response = await fetch(`api/${path}?${new URLSearchParams(values)}`, options);
    } catch {
      throw new Error(V.t("unreachable"));
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  const cache = new Map();
  function once(name, load) {
    if (!cache.has(name)) {
      const promise = load();
      cache.set(name, promise);
      promise.catch(() => cache.delete(name));
      while (cache.size > 24) cache.delete(cache.keys().next().value); // a layer may have 30 MB
    }
    return cache.get(name);
  }
  // What loads the documents of a model: 0 the first, 1 the one beside it.
  V.loader = function (model) {
    const folder = model ? "second/" : "", of = model ? { model } : {};
    const load = (kind, name, query) =>
      V.exported ? fromScript(folder + name) : fromServer(kind, { ...of, ...query });
    const checked = async (kind, name, query, document) =>
      V.check(await load(kind, name, query), document || kind);
    const kept = (kind, name, query, decode, document) => once(`${model} ${name}`, async () =>
      decode(await checked(kind, name, query, document)));
    const withArray = (document) => ({ ...document, array: V.decode(document.array) });
    return {
      model: () => checked("model", "model"),
      sample: (index) => checked("trace", `${index}/trace`, { sample: index }),
      async file(file) {
        if (file.size > LIMIT * 2 ** 20)
          throw new Error(V.t("only_bytes", { name: file.name, limit: LIMIT }));
        const options = { method: "POST", body: file };
        return V.check(await fromServer("trace", { ...of, name: file.name }, options), "trace");
      },
      attention: (id, layer) =>
        kept("attention", `${id}/attention-${layer}`, { id, layer }, V.decodeAttention),
      baseline: (id, layer) => kept("attention", `${id}/baseline-${layer}`,
        { id, layer, baseline: 1 }, V.decodeAttention),
      similarity: (id) => kept("similarity", `${id}/similarity`, { id }, withArray),
      explanation(id, name, target) {
        const key = `${id}/explanation-${name}${target === null ? "" : `-${target}`}`;
        return kept("explain", key, { id, name, target }, withArray, "explanation");
      },
      walk: (id, layer, patch) => once(`${model} walk ${id} ${layer} ${patch}`, () =>
        checked("walk", `${id}/walk-${layer}`, { id, layer, patch })),
      scan: (id, layer) => kept("scan", `${id}/scan-${layer}`, { id, layer }, withArray),
      text: (id, text) => kept("text", `${id}/text-${text}`, { id, text }, withArray),
    };
  };
  V.load = V.loader(0);
})(Vitrail);
