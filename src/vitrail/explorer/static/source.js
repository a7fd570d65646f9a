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
  const decoded = (document, kind) => {
    V.check(document, kind);
    return { ...document, array: V.decode(document.array) };
  };

  V.load = {
    async model() {
      return V.check(await (V.exported ? fromScript("model") : fromServer("model")), "model");
    },
    async sample(index) {
      const name = `${index}/trace`;
      return V.check(
        await (V.exported ? fromScript(name) : fromServer("trace", { sample: index })), "trace");
    },
    async file(file) {
      if (file.size > LIMIT * 2 ** 20)
        throw new Error(V.t("only_bytes", { name: file.name, limit: LIMIT }));
      const options = { method: "POST", body: file };
      return V.check(await fromServer("trace", { name: file.name }, options), "trace");
    },
    attention: (id, layer) => once(`${id}/attention-${layer}`, async () => decoded(
      await (V.exported ? fromScript(`${id}/attention-${layer}`)
        : fromServer("attention", { id, layer })), "attention")),
    similarity: (id) => once(`${id}/similarity`, async () => decoded(
      await (V.exported ? fromScript(`${id}/similarity`) : fromServer("similarity", { id })),
      "similarity")),
    explanation: (id, name, target) => {
      const key = `${id}/explanation-${name}${target === null ? "" : `-${target}`}`;
      return once(key, async () => decoded(
        await (V.exported ? fromScript(key) : fromServer("explain", { id, name, target })),
        "explanation"));
    },
  };
})(Vitrail);
