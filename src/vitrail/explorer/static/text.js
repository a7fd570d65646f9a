"use strict";
// What the page says, in English and Chinese.
(function (V) {
  V.texts = {
    en: {
      title: "What the model sees", pictures: "Pictures", samples: "Pictures to begin with",
      drop: "Drop an image here, or choose a file", attention: "Attention",
      similarity: "Similarity of features", show: "What is shown", query: "Whose attention",
      class_token: "Class token", mean_patches: "Mean of patches", one_patch: "One patch",
      direction: "Direction", outgoing: "What it attends to", incoming: "What attends to it",
      layer: "Layer", shared_scale: "One scale for the layer", heads: "Heads",
      picture_label: "The picture. Arrow keys move the patch whose attention is shown.",
      map_label: "The map. Arrow keys move the patch whose weight is read.",
      keys: "Point at the picture to see a patch's map; click to hold it. Point at the map to read a " +
        "weight. With the keyboard: Tab to either, then the arrow keys.",
      prediction: "Prediction", lens: "After each block",
      lens_about: "The last norm and the head, applied to the features after each block (logit lens).",
      explanations: "Explanations side by side",
      explanations_about: "Attention is not attribution: these ask what the answer depends on. " +
        "Colors run from 0, or the lowest value, to the highest.",
      target: "Class", slow: " (slow)",
      footer: "Everything is computed on this machine. Colors are never clipped: the bar below a map " +
        "has the weights of both ends.",
      footer_export: "All results lie beside this page, and nothing leaves this machine. Colors are never " +
        "clipped: the bar below a map has the weights of both ends.",
      mean_heads: "mean", layer_of: "{key} ({n} of {count})",
      largest: "Largest weight", at: "row {row}, column {column}", share: "Share of the top patch",
      entropy: "Entropy", bits: "of {limit} bits", weight: "Weight at row {row}, column {column}",
      cosine: "Cosine at row {row}, column {column}", largest_cosine: "Most similar other patch",
      lowest_cosine: "Lowest cosine",
      no_classes: "The model has no classes.", no_head: "No head to apply: {reason}",
      patch: "the patch at row {row}, column {column}", the_class: "the class token",
      the_mean: "the mean over all patches",
      says_out: "How much {query} attends to each patch; {heads}, layer {layer}.",
      says_in: "How much each patch attends to {query}; {heads}, layer {layer}.",
      says_cosine: "Cosine similarity of each patch's features to those of {query}, after the " +
        "last block.",
      says_none: "No map of attention.",
      heads_mean: "mean over {n} heads", heads_one: "head {n}",
      grid: "{rows} × {columns} patches, counted from 0; {size} pixels",
      choose: "Choose explanations above.", computing: "computing…", reading: "reading {name}…",
      no_image: "Choose an image to begin.", language: "中文", theme_dark: "Dark", theme_light: "Light",
      only_bytes: "{name} is larger than {limit} MiB: make it smaller.",
      bad_version: "This page reads version 2, and the data are of version {version}: write them again.",
      bad_kind: "The data are no {kind}: write the page again.",
      unreachable: "The server does not answer: start `vitrail explore` again.",
      missing: "{name} is not in this folder: it was not exported.",
      chart: "Probability of the likeliest classes after each block. After the last: {top}.",
      faithfulness: "insertion {insertion}, deletion {deletion}",
      random: "not better than random", ignores: "does not depend on the weights",
      live_start: "Run the model here ({size} MB)",
      live_about: "Loads the model and onnxruntime-web into this browser, for pictures of your own. They " +
        "stay on this machine.",
      live_ready: "The model runs in this browser: drop a picture in. Explanations and the walk need Python.",
      live_folder: "The model can also run in this browser, if a web server serves this folder, such as " +
        "python -m http.server.",
      live_loading: "loading the model…", no_picture: "{name} is no picture that this browser reads.",
      live_no_maps: "Maps of its attention are not computed in the browser.",
      the_picture: "Picture", this_layer: "This layer", position_only: "Position only",
      position_says: "The same map of the picture with its patches shuffled. Position alone explains " +
        "{share} of the variance of the map.",
      grid_windows: "{rows} × {columns} cells, counted from 0; attention stays within windows; {size} pixels",
      second_says: "{query}; {heads}, layer {layer}.",
      second_weight: "Weight at row {row}, column {column}: {value}; largest {high}.",
      second_entropy: "Entropy {entropy} of {limit} bits.",
      scans: { "scan from the start": "from the start", "scan from the end": "from the end" },
      sheet: "All layers and heads",
      sheet_about: "A row per layer, a square per head, of the query above. Click one to see it large; arrow " +
        "keys go from one to the next. Each has its own scale, or one per layer if that is chosen above.",
      sheet_mean: "avg", sheet_show: "Show all {n} heads", sheet_hide: "Hide the heads",
      sheet_loading: "reading layer {n} of {count}…", sheet_tile: "layer {layer}, {head}: at most {high}",
      scan: "The scan",
      scan_about: "A Mamba reads its tokens one after the other. Each writes into a state, and each later " +
        "token multiplies the state by exp(Δ · A), a number below 1 for each channel: it forgets. Two scans " +
        "run in opposite directions. Click a patch to follow what it wrote.",
      scan_way: "The way of the scan {name} over the patches",
      scan_plain: "The scan reads {n} tokens, row by row. It begins at the dot and ends at the arrow.",
      scan_class: "The scan reads {n} tokens, row by row. It begins at the dot and ends at the arrow; the " +
        "square is where the class token stands.",
      scan_left: "What is left of the patch's contribution",
      scan_says: "How much of what the patch at row {row}, column {column} wrote is left in the state when the " +
        "scan reaches each patch: {falls}.",
      scan_under: "less than {part} % after {n} steps", scan_never: "never less than {part} %", comma: ", ",
      scan_chart: "Part of a contribution that is left after a number of steps. Half of the tokens have lost " +
        "half after {n}.",
      scan_steps: "steps of the scan", scan_own: "this patch", scan_median: "median of all tokens",
      text: "Sentences against the patches",
      text_about: "Cosine similarity of each patch to a sentence, in CLIP's space. CLIP was trained on whole " +
        "images, so maps of patches are rough. Colors run from the lowest to the highest cosine of a map; " +
        "where some are below 0, both signs have the same scale.",
      text_label: "Up to four sentences, one per line",
      sentence_whole: "Cosine of the whole picture: {cosine}",
      names: { attention: "Attention, last layer", attention_gradient: "Attention × gradient",
        grad_cam: "Grad-CAM", integrated_gradients: "Integrated gradients", occlusion: "Occlusion",
        patch_logits: "Patch logits", relevance: "Relevance", rollout: "Rollout" },
    },
    zh: {
      title: "模型看到了什么", pictures: "图片", samples: "可直接打开的图片",
      drop: "把图片拖到这里，或点击选择文件", attention: "注意力",
      similarity: "特征相似度", show: "显示内容", query: "谁的注意力",
      class_token: "分类 token", mean_patches: "所有图像块平均", one_patch: "单个图像块",
      direction: "方向", outgoing: "它关注哪里", incoming: "谁在关注它",
      layer: "层", shared_scale: "整层共用一个刻度", heads: "注意力头",
      picture_label: "原图。用方向键移动要查看的图像块。",
      map_label: "热力图。用方向键移动要读数的图像块。",
      keys: "指向原图上的图像块即可查看它的热力图，单击可固定；指向热力图可读出权重。" +
        "也可以只用键盘：按 Tab 选中任一张图，再按方向键。",
      prediction: "预测结果", lens: "逐层预测",
      lens_about: "把最后的归一化层和分类头直接用在每个 block 的输出特征上（logit lens）。",
      explanations: "解释方法对比",
      explanations_about: "注意力不等于归因：下面的方法回答的是“输出取决于哪里”。" +
        "颜色从 0（或最小值）到最大值。",
      target: "类别", slow: "（较慢）",
      footer: "所有计算都在本机完成。颜色不做截断：热力图下方的色条标出两端的权重。",
      footer_export: "所有结果都与本页放在一起，数据不会离开本机。颜色不做截断：热力图下方的色条标出两端的权重。",
      mean_heads: "平均", layer_of: "{key}（{n}/{count}）",
      largest: "最大权重", at: "第 {row} 行第 {column} 列", share: "最大块占比",
      entropy: "熵", bits: "/ {limit} bit", weight: "第 {row} 行第 {column} 列的权重",
      cosine: "第 {row} 行第 {column} 列的余弦", largest_cosine: "最相似的其他图像块",
      lowest_cosine: "最低余弦",
      no_classes: "这个模型没有类别。", no_head: "无法逐层预测：{reason}",
      patch: "第 {row} 行第 {column} 列的图像块", the_class: "分类 token",
      the_mean: "所有图像块（取平均）",
      says_out: "{query}对各图像块的注意力；{heads}，第 {layer} 层。",
      says_in: "各图像块对{query}的注意力；{heads}，第 {layer} 层。",
      says_cosine: "各图像块与{query}的特征余弦相似度（最后一个 block 之后）。",
      says_none: "没有可画的注意力图。",
      heads_mean: "{n} 个头取平均", heads_one: "头 {n}",
      grid: "{rows} × {columns} 个图像块，从 0 计数；{size} 像素",
      choose: "请在上方选择解释方法。", computing: "计算中……", reading: "正在读取 {name}……",
      no_image: "请先选择一张图片。", language: "English", theme_dark: "深色", theme_light: "浅色",
      only_bytes: "{name} 超过 {limit} MiB，请先缩小。",
      bad_version: "本页只能读取版本 2 的数据，而这里是版本 {version}：请重新导出。",
      bad_kind: "数据不是 {kind}：请重新导出页面。",
      unreachable: "服务器没有响应：请重新运行 `vitrail explore`。",
      missing: "文件夹中没有 {name}：导出时未计算。",
      chart: "各 block 之后最可能类别的概率。最后一层：{top}。",
      faithfulness: "插入 {insertion}，删除 {deletion}",
      random: "不比随机更好", ignores: "与模型权重无关",
      live_start: "在浏览器中运行模型（{size} MB）",
      live_about: "把模型和 onnxruntime-web 加载到浏览器里，就可以打开自己的图片。图片不会离开本机。",
      live_ready: "模型正在浏览器中运行：可以拖入自己的图片。解释方法和分步讲解需要 Python。",
      live_folder: "如果用网页服务器打开这个文件夹（例如 python -m http.server），模型还可以直接在浏览器里运行。",
      live_loading: "正在加载模型……", no_picture: "浏览器无法读取图片 {name}。",
      live_no_maps: "浏览器中不计算它的注意力图。",
      the_picture: "原图", this_layer: "当前层", position_only: "仅位置",
      position_says: "把图像块打乱后得到的同一张图。仅凭位置就能解释该图 {share} 的方差。",
      grid_windows: "{rows} × {columns} 个格子，从 0 计数；注意力限于窗口内；{size} 像素",
      second_says: "{query}；{heads}，第 {layer} 层。",
      second_weight: "第 {row} 行第 {column} 列的权重：{value}；最大 {high}。",
      second_entropy: "熵 {entropy} / {limit} bit。",
      scans: { "scan from the start": "从头扫描", "scan from the end": "从尾扫描" },
      sheet: "所有层与注意力头",
      sheet_about: "每行一层，每个方块是一个头，查询与上方相同。单击方块可放大查看，方向键在方块之间移动。" +
        "每个方块各用自己的刻度；若上方选了“整层共用一个刻度”，则同一行共用。",
      sheet_mean: "均", sheet_show: "显示全部 {n} 个头", sheet_hide: "收起",
      sheet_loading: "正在读取第 {n}/{count} 层……", sheet_tile: "第 {layer} 层，{head}：最大 {high}",
      scan: "扫描过程",
      scan_about: "Mamba 依次读取 token：每个 token 把信息写入状态，之后的每个 token 又让状态乘以 exp(Δ · A)（每个通道一个小于 1 的数），" +
        "于是旧信息逐渐被遗忘。两个方向各扫描一遍。单击图像块，可以查看它写入的内容还剩多少。",
      scan_way: "{name}经过各图像块的路线",
      scan_plain: "逐行读取 {n} 个 token，从圆点开始，到箭头结束。",
      scan_class: "逐行读取 {n} 个 token，从圆点开始，到箭头结束；方块是分类 token 所在的位置。",
      scan_left: "该图像块的贡献还剩多少",
      scan_says: "扫描到达各图像块时，第 {row} 行第 {column} 列写入状态的内容还剩多少：{falls}。",
      scan_under: "{n} 步后不足 {part} %", scan_never: "始终不低于 {part} %", comma: "，",
      scan_chart: "若干步之后贡献还剩的比例。半数 token 在 {n} 步后只剩不到一半。",
      scan_steps: "扫描步数", scan_own: "这个图像块", scan_median: "所有 token 的中位数",
      text: "文本与图像块对照",
      text_about: "在 CLIP 的嵌入空间里，每个图像块与一句话的余弦相似度。CLIP 是用整张图片训练的，因此逐块的图比较粗糙。" +
        "颜色从该图的最低余弦到最高余弦；若有负值，正负两侧使用同一刻度。",
      text_label: "每行一句，最多四句",
      sentence_whole: "与整张图片的余弦：{cosine}",
      names: { attention: "末层注意力", attention_gradient: "注意力 × 梯度", grad_cam: "Grad-CAM",
        integrated_gradients: "积分梯度", occlusion: "遮挡法", patch_logits: "逐块 logit",
        relevance: "相关性（Chefer）", rollout: "Rollout（注意力展开）" },
    },
  };

  V.storage = {
    get(name) { try { return localStorage.getItem(`vitrail.${name}`); } catch { return null; } },
    set(name, value) { try { localStorage.setItem(`vitrail.${name}`, value); } catch { /* kept out */ } },
  };
  V.language = V.storage.get("language") || (/^zh/.test(navigator.language) ? "zh" : "en");
  V.t = function (key, values) {
    const text = V.texts[V.language][key] ?? V.texts.en[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (_match, name) => (values && name in values ? values[name] : ""));
  };
  V.translate = function () {
    document.documentElement.lang = V.language === "zh" ? "zh-CN" : "en";
    document.title = `Vitrail · ${V.t("title")}`;
    for (const node of document.querySelectorAll("[data-text]"))
      node.textContent = V.t(node.dataset.text);
    for (const node of document.querySelectorAll("[data-label]"))
      node.setAttribute("aria-label", V.t(node.dataset.label));
  };
})(Vitrail);
