"use strict";
// What the guided walk says, in English and Chinese.
(function (V) {
  Object.assign(V.texts.en, {
    walk: "Guided walk: from a patch to the answer", walk_start: "Start the walk", walk_close: "Close the walk",
    walk_about: "One forward pass in ten steps, with this picture's own numbers. The walk follows one patch " +
      "through one block and one head. Sums are computed again in the browser.",
    walk_picture: "The patch that the walk follows. Arrow keys move it.",
    walk_back: "← Back", walk_next: "Next →", walk_head: "Head", walk_block: "Block {n}",
    walk_keys: "Keys: ← and → turn the page, Esc closes.",
    walk_follows: "The walk follows the patch at row {row}, column {column}.",
    walk_step: "{n}. {title}", walk_cell: "row {row}, column {column}", walk_register: "register {n}",
    walk_range: "{n} numbers, {low} to {high}", walk_numbers: "Numbers", walk_first: "The first six of each vector",
    walk_first_hidden: "The first six hidden units", walk_top: "The six keys with the largest weights",

    walk_short_patches: "Patches", walk_short_tokens: "Tokens", walk_short_norm: "Norm",
    walk_short_vectors: "q, k, v", walk_short_logits: "q · k", walk_short_softmax: "Softmax",
    walk_short_mixing: "Σ a v", walk_short_joining: "Heads", walk_short_mlp: "MLP", walk_short_answer: "Classes",
    walk_title_patches: "The picture becomes patches", walk_title_tokens: "A patch becomes a token",
    walk_title_norm: "LayerNorm before attention", walk_title_vectors: "Query, key and value",
    walk_title_logits: "The query meets every key", walk_title_softmax: "Softmax makes weights of logits",
    walk_title_mixing: "The weighted sum of values", walk_title_joining: "Heads are joined, and added",
    walk_title_mlp: "The MLP, for each token on its own", walk_title_answer: "From features to classes",

    walk_patches: "The picture is cut into {rows} × {columns} patches of {height} × {width} pixels with " +
      "{channels} channels, so a patch is {n} numbers. Pixels were scaled to 0 to 1, the mean of each channel " +
      "was subtracted, and the result was divided by the standard deviation.",
    walk_patch: "The patch", walk_pixels: "Normalized pixels of the first channel", walk_row: "row {y}",
    walk_tokens: "A linear layer maps the {n} numbers of the patch to the {d} channels of a token. Channel 0 " +
      "multiplies every pixel by a weight of its own, and adds a bias:",
    walk_positions: "The model cannot know where a patch was, so a vector of its position is added.",
    walk_positions_class: "The model cannot know where a patch was, so a vector of its position is added. " +
      "{n} learned prefix tokens, the class token first, are placed before all patches.",
    walk_e: "projection e", walk_p: "position p", walk_x: "token x = e + p",
    walk_norm: "This is the input of block {block}: the token, and what the blocks before have added to it. " +
      "LayerNorm subtracts the mean of its channels and divides by their standard deviation; then each channel " +
      "is scaled by γ and shifted by β, which are learned.",
    walk_vectors: "Three linear layers turn each normalized token into a query, a key and a value. Each is " +
      "split into {heads} heads of {d} of the {dim} channels. This head:",
    walk_q: "query q of the patch", walk_k: "key k of: {token}", walk_v: "value v of: {token}",
    walk_logits: "The dot product of the query with the key of a token says how well they fit. For the best " +
      "one ({token}) the {d} products are added. Division by √d keeps the size of the sum independent of d.",
    walk_logit_map: "logits s of all patches",
    walk_softmax: "The exponential makes all {n} logits positive, and division by their sum makes them " +
      "weights that add up to 1. The largest logit is subtracted first, which changes nothing but avoids overflow.",
    walk_weight_map: "weights a of all patches",
    walk_mixing: "The output of the head is the mean of all values with these weights. The {n} strongest " +
      "tokens have {share} % of the weight; the other {rest} share what is left.",
    walk_rest: "the other {n} tokens",
    walk_joining: "The outputs of all {heads} heads, {d} channels each, are put side by side ({dim} channels), " +
      "mixed by one more linear layer, and added to the input of the block: the residual connection. Each row " +
      "of cells is a head; the one above is head {head}.",
    walk_heads: "outputs of {heads} heads", walk_added: "what is added",
    walk_mlp: "After another norm, a linear layer widens the {dim} channels to {n} hidden units. GELU lets " +
      "positive ones pass and dampens negative ones ({share} % are positive here). A second linear layer goes " +
      "back, and the result is added once more. No token sees another here.",
    walk_hidden: "before GELU", walk_pooled: "features h that the head reads",
    walk_others: "The {n} blocks that follow do the same, each with weights of its own.",
    walk_last: "This was the last block.",
    walk_pool_cls: "At the end the head reads the class token, which has collected from the patches in the same way.",
    walk_pool_mean: "At the end the head reads the mean of all patches.",
    walk_pool_cls_mean: "At the end the head reads the class token and the mean of all patches, side by side.",
    walk_pool_: "At the end the features are pooled, and the head reads the result.",
    walk_part: "{weight} · v of {token}",
    walk_w: "weights w of “{label}”", walk_probability: "probability", walk_classes: "The likeliest classes",
  });
  Object.assign(V.texts.zh, {
    walk: "分步讲解：从一个图像块到预测结果", walk_start: "开始讲解", walk_close: "收起讲解",
    walk_about: "用十步走完一次前向传播，所有数字都来自当前图片。讲解跟随一个图像块，经过一个 block 和一个注意力头。" +
      "其中的求和会在浏览器里重新计算一遍。",
    walk_picture: "讲解所跟随的图像块，可用方向键移动。",
    walk_back: "← 上一步", walk_next: "下一步 →", walk_head: "注意力头", walk_block: "Block {n}",
    walk_keys: "快捷键：← 和 → 翻页，Esc 收起。",
    walk_follows: "当前跟随第 {row} 行第 {column} 列的图像块。",
    walk_step: "{n}. {title}", walk_cell: "第 {row} 行第 {column} 列", walk_register: "寄存器 token {n}",
    walk_range: "{n} 个数，{low} 到 {high}", walk_numbers: "数值", walk_first: "各向量的前六个数",
    walk_first_hidden: "前六个隐藏单元", walk_top: "权重最大的六个键",

    walk_short_patches: "图像块", walk_short_tokens: "Token", walk_short_norm: "归一化",
    walk_short_vectors: "q、k、v", walk_short_logits: "q · k", walk_short_softmax: "Softmax",
    walk_short_mixing: "Σ a v", walk_short_joining: "多头", walk_short_mlp: "MLP", walk_short_answer: "分类",
    walk_title_patches: "把图片切成图像块", walk_title_tokens: "图像块变成 token",
    walk_title_norm: "注意力之前的 LayerNorm", walk_title_vectors: "查询、键和值",
    walk_title_logits: "查询与每个键做点积", walk_title_softmax: "Softmax 把分数变成权重",
    walk_title_mixing: "对值加权求和", walk_title_joining: "拼接各头，加上残差",
    walk_title_mlp: "MLP：逐个 token 处理", walk_title_answer: "从特征到类别",

    walk_patches: "图片被切成 {rows} × {columns} 个图像块，每块 {height} × {width} 像素、{channels} 个通道，也就是 {n} 个数。" +
      "像素先缩放到 0 到 1，再减去各通道的均值并除以标准差。",
    walk_patch: "这个图像块", walk_pixels: "归一化后的第一个通道", walk_row: "第 {y} 行",
    walk_tokens: "一个线性层把图像块的 {n} 个数映射为 token 的 {d} 个通道。以第 0 通道为例：每个像素乘以各自的权重，" +
      "求和后再加偏置：",
    walk_positions: "模型本身不知道图像块来自哪里，因此要加上位置向量。",
    walk_positions_class: "模型本身不知道图像块来自哪里，因此要加上位置向量。所有图像块之前还有 {n} 个可学习的前缀 token，" +
      "第一个就是分类 token。",
    walk_e: "投影 e", walk_p: "位置 p", walk_x: "token x = e + p",
    walk_norm: "这是 block {block} 的输入：原来的 token，加上前面各 block 累加的结果。LayerNorm 减去各通道的均值、除以标准差，" +
      "再逐通道乘以 γ、加上 β（二者都是学到的参数）。",
    walk_vectors: "三个线性层把归一化后的 token 分别变成查询（query）、键（key）和值（value），并把 {dim} 个通道分给 {heads} 个头，" +
      "每个头 {d} 个通道。当前这个头：",
    walk_q: "该图像块的查询 q", walk_k: "{token}的键 k", walk_v: "{token}的值 v",
    walk_logits: "查询与某个 token 的键做点积，结果越大表示越匹配。以最匹配的一个（{token}）为例，把 {d} 个乘积加起来。" +
      "除以 √d 是为了让结果的大小不随 d 变化。",
    walk_logit_map: "各图像块的分数 s",
    walk_softmax: "指数函数使 {n} 个分数都变为正数，再除以总和，就得到加起来等于 1 的权重。先减去最大值不影响结果，但可以避免溢出。",
    walk_weight_map: "各图像块的权重 a",
    walk_mixing: "这个头的输出，就是所有值按权重求和。最强的 {n} 个 token 占 {share} % 的权重，其余 {rest} 个分享剩下的部分。",
    walk_rest: "其余 {n} 个 token",
    walk_joining: "{heads} 个头的输出（每个 {d} 通道）拼成 {dim} 个通道，再经过一个线性层，然后加到 block 的输入上，这就是残差连接。" +
      "下图每一行是一个头，前面讲的是头 {head}。",
    walk_heads: "{heads} 个头的输出", walk_added: "增加的部分",
    walk_mlp: "再做一次归一化后，线性层把 {dim} 个通道扩展为 {n} 个隐藏单元。GELU 保留正值、压低负值（这里有 {share} % 为正）。" +
      "第二个线性层变回原来的宽度，结果再次加到残差上。这一步里 token 之间互不影响。",
    walk_hidden: "GELU 之前", walk_pooled: "分类头读取的特征 h",
    walk_others: "后面还有 {n} 个 block，做法相同，但各有自己的权重。",
    walk_last: "这已经是最后一个 block。",
    walk_pool_cls: "最后，分类头读取分类 token：它以同样的方式汇集了各图像块的信息。",
    walk_pool_mean: "最后，分类头读取所有图像块的平均。",
    walk_pool_cls_mean: "最后，分类头读取分类 token 与所有图像块平均的拼接。",
    walk_pool_: "最后把特征汇聚成一个向量，交给分类头。",
    walk_part: "{weight} · v（{token}）",
    walk_w: "“{label}”的权重 w", walk_probability: "概率", walk_classes: "概率最高的类别",
  });
})(Vitrail);
