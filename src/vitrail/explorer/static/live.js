"use strict";
// A model that runs in the browser, on any picture: its file and onnxruntime-web lie beside the page.
(function (V) {
  const { $, state, create } = V;
  const SIDE = 2048; // pixels that a picture is first brought to, where it is larger
  let session = null, count = 0;

  V.on("model", () => {
    const { live } = state.model;
    $("live").hidden = !live || !V.exported;
    if ($("live").hidden) return;
    const served = location.protocol.startsWith("http");
    $("live-start").hidden = !served;
    V.emit("language");
  });
  function speak() {
    const { live } = state.model || {};
    if (!live) return;
    const served = location.protocol.startsWith("http");
    const size = Math.round((live.bytes + live.runtime_bytes) / 1e6);
    $("live-start").textContent = V.t("live_start", { size });
    $("live-about").textContent = session ? V.t("live_ready") : V.t(served ? "live_about" : "live_folder");
  }

  function script(path) {
    return new Promise((resolve, reject) => {
      const node = create("script", { src: path });
      node.onload = resolve;
      node.onerror = () => reject(new Error(V.t("missing", { name: path })));
      document.head.append(node);
    });
  }

  async function start() {
    const { live } = state.model;
    try {
      await V.working(V.t("live_loading"), script(`${live.folder}/ort.wasm.min.js`));
      ort.env.wasm.wasmPaths = new URL(`${live.folder}/`, location.href).href;
      ort.env.wasm.numThreads = 1; // more need headers that static servers do not send
      session = await V.working(V.t("live_loading"),
        ort.InferenceSession.create(new URL(`${live.folder}/model.onnx`, location.href).href));
      $("live-start").hidden = true;
      $("drop").hidden = false;
      speak();
    } catch (problem) { V.fail(problem); }
  }

  async function pixelsOf(file) {
    let bitmap;
    try { bitmap = await createImageBitmap(file); } catch {
      throw new Error(V.t("no_picture", { name: file.name }));
    }
    const factor = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const width = Math.round(bitmap.width * factor), height = Math.round(bitmap.height * factor);
    const canvas = create("canvas", { width, height }), context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0, width, height);
    const rgba = context.getImageData(0, 0, width, height).data;
    const data = new Uint8ClampedArray(3 * width * height);
    for (let i = 0; i < width * height; i++) data.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
    return { width, height, data };
  }

  function urlOf({ width, height, data }) {
    const canvas = create("canvas", { width, height }), context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++)
      image.data.set([data[3 * i], data[3 * i + 1], data[3 * i + 2], 255], 4 * i);
    context.putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
  }

  // Cosine similarity between all patches, less their mean, as a document.
  function similarity(patches, count, width) {
    const mean = new Float64Array(width);
    for (let i = 0; i < count * width; i++) mean[i % width] += patches[i] / count;
    const rows = [...Array(count).keys()].map((i) => {
      const row = patches.slice(i * width, (i + 1) * width).map((value, k) => value - mean[k]);
      const norm = Math.hypot(...row) || 1;
      return row.map((value) => value / norm);
    });
    const values = new Float32Array(count * count);
    for (let i = 0; i < count; i++)
      for (let j = 0; j <= i; j++)
        values[i * count + j] = values[j * count + i] = V.dot(rows[i], rows[j]);
    return V.fromFloats([count, count], values);
  }

  function answers(values) {
    const { model } = state, order = [...values.keys()];
    if (model.target !== "numbers") order.sort((a, b) => values[b] - values[a]);
    return order.slice(0, 5).map((index) =>
      ({ index, label: model.labels ? model.labels[index] : String(index), value: values[index] }));
  }

  function lensOf(outputs, predictions) {
    if (!outputs.lens || !predictions.length) return null;
    const [blocks, width] = outputs.lens.dims, all = outputs.lens.data;
    const rows = [...Array(blocks).keys()].map((i) => all.slice(i * width, (i + 1) * width));
    const leaders = rows.map((row) => row.indexOf(Math.max(...row)));
    const classes = [...new Set([...predictions.map(({ index }) => index), ...leaders])];
    return { classes, labels: classes.map((i) => state.model.labels ? state.model.labels[i] : String(i)),
      values: rows.map((row) => classes.map((i) => row[i])) };
  }

  // Runs the model on a file → a trace, and what loads its documents.
  V.runLive = async function (file) {
    const { live, size, classes } = state.model, crop = V.crop(await pixelsOf(file), live.preprocess);
    const input = new ort.Tensor("float32", V.normalized(crop, live.preprocess), [1, 3, ...size]);
    const outputs = await session.run({ images: input });
    const id = `live ${++count}`, predictions = classes ? answers(outputs.values.data) : [];
    const attention = (layer) => {
      const { grid, key_grid, prefix, cells } = live.layers[layer];
      const { dims, data } = outputs[`attention_${layer}`];
      return V.placed({ id, layer, grid, key_grid, prefix, cells, array: V.fromFloats(dims, data) });
    };
    const [, patches, width] = outputs.patches.dims;
    const loader = {
      attention: async (_id, layer) => attention(layer),
      similarity: async () => ({ grid: live.grid, array: similarity(outputs.patches.data, patches, width) }),
    };
    const trace = { id, title: file.name, picture: urlOf(crop), size, grid: live.grid, layers: live.layers,
      reason: live.layers.length ? "" : V.t("live_no_maps"), predictions,
      lens: lensOf(outputs, predictions), targets: [], explanations: [], walk_patch: null, live: true };
    return { trace, loader, outputs };
  };

  $("live-start").addEventListener("click", start);
  V.on("language", speak);
})(Vitrail);
