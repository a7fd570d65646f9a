"use strict";
// The steps of the guided walk. Each is a title and a function of what the walk is about:
// { walk, grid, head, token, names, picture } → nodes. Sums are computed again here, in the browser.
(function (V) {
  const { number, plus, row, dot } = V;
  const FEW = 6; // numbers of a vector that are written out
  const counted = [...Array(FEW).keys()];
  const first = (values) => [...values.subarray(0, FEW)];

  function patches({ walk, grid, picture }) {
    const [channels, height, width] = walk.pixels.shape, pixels = row(walk.pixels, 0);
    const lines = [...Array(Math.min(FEW, height)).keys()].map((y) =>
      [V.t("walk_row", { y }), [...pixels.subarray(y * width, y * width + FEW)]]);
    return [
      V.said("walk_patches", { rows: grid[0], columns: grid[1], height, width, channels,
        n: channels * height * width }),
      V.beside(V.cutOut(V.t("walk_patch"), picture, grid, walk.patch),
        V.numberTable(counted, lines, { more: width > FEW, caption: V.t("walk_pixels") })),
    ];
  }

  function tokens({ walk }) {
    const e = walk.embedded.values, t = walk.token.values;
    const position = t.map((value, i) => value - e[i]), sum = dot(walk.pixels.values, walk.filter.values);
    return [
      V.said("walk_tokens", { n: walk.pixels.values.length, d: e.length }),
      V.formula("e_{0} = Σ w_{0} · p + b_{0}"),
      V.formula(`${number(sum)} ${plus(walk.filter_bias)} = ${number(sum + walk.filter_bias)}`),
      V.said(walk.prefix ? "walk_positions_class" : "walk_positions", { n: walk.prefix }),
      V.numberTable(counted, [[V.t("walk_e"), first(e)], [V.t("walk_p"), first(position)],
        [V.t("walk_x"), first(t), true]], { more: true, caption: V.t("walk_first") }),
      V.strip(V.t("walk_e"), e), V.strip(V.t("walk_p"), position), V.strip(V.t("walk_x"), t),
    ];
  }

  function norm({ walk }) {
    const x = walk.input.values, y = walk.normed.values;
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const deviation = Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length);
    return [
      V.said("walk_norm", { block: walk.block }),
      V.formula("y = (x − μ) / σ · γ + β"),
      V.formula(`μ = ${number(mean)},  σ = ${number(deviation)}`),
      V.numberTable(counted, [["x", first(x)], ["(x − μ) / σ", first(x.map((v) => (v - mean) / deviation))],
        ["y", first(y), true]], { more: true, caption: V.t("walk_first") }),
      V.strip("x", x), V.strip("y", y),
    ];
  }

  function vectors({ walk, head, names }) {
    const q = row(walk.query, head), k = row(walk.keys, head, 0), v = row(walk.values, head, 0);
    const other = names(walk.top[head][0]);
    return [
      V.said("walk_vectors", { heads: walk.query.shape[0], d: q.length, dim: walk.input.values.length }),
      V.formula("q = W_{q} y + b_{q},   k = W_{k} y + b_{k},   v = W_{v} y + b_{v}"),
      V.strip(V.t("walk_q"), q), V.strip(V.t("walk_k", { token: other }), k),
      V.strip(V.t("walk_v", { token: other }), v),
    ];
  }

  // The logits of all patches as keys, and the weights that softmax makes of them, on the picture.
  const ends = (values) => ({ low: Math.min(...values), high: Math.max(...values) });
  const logitMap = ({ walk, grid, head, picture }) => {
    const s = row(walk.logits, head).subarray(walk.prefix);
    return V.smallMap(V.t("walk_logit_map"), s, grid, { marked: walk.patch, scale: ends(s), picture });
  };
  const weightMap = ({ walk, grid, head, picture }) =>
    V.smallMap(V.t("walk_weight_map"), row(walk.weights, head).subarray(walk.prefix), grid,
      { marked: walk.patch, picture });

  function logits(about) {
    const { walk, head, names } = about;
    const q = row(walk.query, head), k = row(walk.keys, head, 0), top = walk.top[head];
    const products = q.map((value, i) => value * k[i]);
    const rows = top.map((token, i) => {
      const sum = dot(q, row(walk.keys, head, i));
      return [names(token), [sum, sum * walk.scale]];
    });
    return [
      V.said("walk_logits", { token: names(top[0]), d: q.length }),
      V.formula("s_{j} = q · k_{j} / √d"),
      V.numberTable(counted, [["q", first(q)], ["k", first(k)], ["q × k", first(products), true]],
        { more: true, caption: V.t("walk_first") }),
      V.formula(`q · k = ${number(dot(q, k))},   × ${number(walk.scale)} = ${number(dot(q, k) * walk.scale)}`),
      V.beside(V.numberTable(["q · k", "s"], rows, { columns: true, caption: V.t("walk_top") }),
        logitMap(about)),
    ];
  }

  function softmax(about) {
    const { walk, head, names } = about, s = row(walk.logits, head), largest = Math.max(...s);
    let total = 0;
    for (const value of s) total += Math.exp(value - largest);
    const rows = walk.top[head].map((token) => {
      const power = Math.exp(s[token] - largest);
      return [names(token), [s[token], power, power / total]];
    });
    return [
      V.said("walk_softmax", { n: s.length }),
      V.formula("a_{j} = exp(s_{j} − max) / Σ_{i} exp(s_{i} − max)"),
      V.formula(`max = ${number(largest)},   Σ = ${number(total)}`),
      V.beside(V.numberTable(["s", "exp(s − max)", "a"], rows, { columns: true, caption: V.t("walk_top") }),
        logitMap(about), weightMap(about)),
    ];
  }

  function mixing({ walk, head, names }) {
    const a = row(walk.weights, head), mixed = row(walk.mixed, head);
    const rest = Float32Array.from(mixed);
    let share = 0;
    const rows = walk.top[head].map((token, i) => {
      const part = row(walk.values, head, i).map((value) => value * a[token]);
      part.forEach((value, c) => { rest[c] -= value; });
      share += a[token];
      return [V.t("walk_part", { weight: number(a[token]), token: names(token) }), first(part)];
    });
    return [
      V.said("walk_mixing", { share: (100 * share).toFixed(0), n: rows.length, rest: a.length - rows.length }),
      V.formula("o = Σ_{j} a_{j} v_{j}"),
      V.numberTable(counted, [...rows, [V.t("walk_rest", { n: a.length - rows.length }), first(rest)],
        ["o", first(mixed), true]], { more: true, caption: V.t("walk_first") }),
      V.strip("o", mixed),
    ];
  }

  function joining({ walk, head }) {
    const heads = walk.mixed.shape[0], width = walk.mixed.shape[1], x = walk.input.values;
    return [
      V.said("walk_joining", { heads, d: width, dim: x.length, head }),
      V.formula("x′ = x + (W_{o} [o_{0}, …] + b_{o})"),
      V.strip(V.t("walk_heads", { heads }), walk.mixed.values, { columns: width }),
      V.numberTable(counted, [["x", first(x)], [V.t("walk_added"), first(walk.added1.values)],
        ["x′", first(walk.middle.values), true]], { more: true, caption: V.t("walk_first") }),
      V.strip(V.t("walk_added"), walk.added1.values), V.strip("x′", walk.middle.values),
    ];
  }

  function mlp({ walk }) {
    const before = walk.hidden.values, after = walk.activated.values;
    const positive = before.filter((value) => value > 0).length;
    return [
      V.said("walk_mlp", { dim: walk.middle.values.length, n: before.length,
        share: (100 * positive / before.length).toFixed(0) }),
      V.formula("x″ = x′ + (W_{2} GELU(W_{1} norm(x′) + b_{1}) + b_{2})"),
      V.numberTable(counted, [[V.t("walk_hidden"), first(before)], ["GELU", first(after), true]],
        { more: true, caption: V.t("walk_first_hidden") }),
      V.strip("GELU", after, { columns: 128 }),
      V.numberTable(counted, [["x′", first(walk.middle.values)], [V.t("walk_added"), first(walk.added2.values)],
        ["x″", first(walk.output.values), true]], { more: true, caption: V.t("walk_first") }),
      V.strip("x″", walk.output.values),
    ];
  }

  function answer({ walk, blocks }) {
    const pooled = walk.pooled.values, nodes = [
      V.said(walk.block < blocks - 1 ? "walk_others" : "walk_last", { n: blocks - walk.block - 1 }),
      V.said(`walk_pool_${walk.pool}`),
      V.strip(V.t("walk_pooled"), pooled),
    ];
    if (!walk.classes.length) return [...nodes, V.said("no_classes")];
    const likeliest = walk.classes[0];
    if (walk.head) {
      const w = walk.head.values, sum = dot(w, pooled);
      nodes.push(V.formula("z = w · h + b"),
        V.numberTable(counted, [["h", first(pooled)], [V.t("walk_w", { label: likeliest.label }), first(w)],
          ["w × h", first(w.map((value, i) => value * pooled[i])), true]],
        { more: true, caption: V.t("walk_first") }),
        V.formula(`${number(sum)} ${plus(walk.head_bias)} = ${number(sum + walk.head_bias)}`));
    }
    nodes.push(V.numberTable(["z", V.t("walk_probability")],
      walk.classes.map(({ label, logit, value }) => [label, [logit, value]]),
      { columns: true, caption: V.t("walk_classes") }));
    return nodes;
  }

  V.walkSteps = [["patches", patches], ["tokens", tokens], ["norm", norm], ["vectors", vectors],
    ["logits", logits], ["softmax", softmax], ["mixing", mixing], ["joining", joining], ["mlp", mlp],
    ["answer", answer]];
})(Vitrail);
