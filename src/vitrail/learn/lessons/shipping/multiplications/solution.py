def multiplications(
    image: int, patch: int, dim: int, depth: int, mlp_dim: int, classes: int
) -> dict[str, int]:
    """Sides of image and patch, sizes of a ViT with 3 channels -> multiplications of one image"""
    # <write>
    # en: A matrix product (a, b) @ (b, c) takes a * b * c multiplications. Biases, norms, softmax
    # en: and activations are left out, as is usual. The keys of the result are embed, projections,
    # en: products, mlps and head, those of steps 2 to 6.
    # zh: 矩阵乘法 (a, b) @ (b, c) 需要 a * b * c 次乘法。按惯例，
    # zh: 偏置、归一化、softmax 与激活函数不计。返回的字典以
    # zh: embed、projections、products、mlps、head 为键，对应第 2 到 6 步。
    patches = (image // patch) ** 2
    # en: 1. N: patches and the class token.
    # zh: 1. N：patch 数加上分类 token。
    tokens = patches + 1
    # en: 2. Patch embedding: every patch, 3 * patch * patch numbers to D.
    # zh: 2. patch embedding：每个 patch 从 3 * patch * patch 个数到 D。
    embed = patches * 3 * patch * patch * dim
    # en: 3. Projections of attention: qkv (D to 3 D) and the output (D to D), all blocks.
    # zh: 3. 注意力的投影：qkv（D 到 3 D）与输出（D 到 D），所有 block。
    projections = depth * tokens * (3 * dim * dim + dim * dim)
    # en: 4. Products of attention: q kᵀ and weights times v, all heads together.
    # zh: 4. 注意力的乘积：q kᵀ 与权重乘 v，所有头合计。
    products = depth * 2 * tokens * tokens * dim
    # en: 5. The MLPs: D to mlp_dim and back.
    # zh: 5. MLP：D 到 mlp_dim 再回来。
    mlps = depth * tokens * 2 * dim * mlp_dim
    # en: 6. The head reads the class token alone.
    # zh: 6. 分类头只读分类 token。
    head = dim * classes
    parts = {"embed": embed, "projections": projections, "products": products}
    return {**parts, "mlps": mlps, "head": head}
    # </write>
