import torch
from core.vit import ViT
from torch import Tensor


def features(state: dict[str, Tensor], images: Tensor, heads: int) -> Tensor:
    """Tensors by name, images (B, 3, S, S) -> the features (B, D) of your ViT with these weights"""
    # <write>
    # en: 1. Read the sizes off the shapes, and build your ViT, without a head.
    # zh: 1. 从形状读出各个规格，构造你的 ViT（不带分类头）。
    dim, _, patch_size, _ = state["patch_embed.weight"].shape
    mlp_dim = state["blocks.0.mlp.fc1.weight"].shape[0]
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    model = ViT(images.shape[-1], patch_size, 0, dim, depth, heads, mlp_dim)
    # en: 2. Multiply LayerScale (scale1.gamma, scale2.gamma) into the last linear layers.
    # zh: 2. 把 LayerScale（scale1.gamma、scale2.gamma）乘进各分支最后的线性层。
    state = dict(state)
    for i in range(depth):
        for layer, scale in (("mixer.proj", "scale1"), ("mlp.fc2", "scale2")):
            gamma = state.pop(f"blocks.{i}.{scale}.gamma")
            weight, bias = f"blocks.{i}.{layer}.weight", f"blocks.{i}.{layer}.bias"
            state[weight] = state[weight] * gamma[:, None]
            state[bias] = state[bias] * gamma
    # en: 3. Rename: patch_embed., class_token.weight, position.weight and .mixer.
    # zh: 3. 改名：patch_embed.、class_token.weight、position.weight 和 .mixer.。
    names = {
        "patch_embed.": "patch_embed.proj.",
        "class_token.weight": "tokens.cls_token",
        "position.weight": "tokens.pos_embed",
        ".mixer.": ".attn.",
    }
    renamed = {}
    for name, value in state.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        renamed[name] = value
    # en: 4. Load, strictly, in the dtype of the images; then the features, in evaluation mode.
    # zh: 4. 严格加载（strict），精度与图像一致；最后在 eval 模式下计算特征。
    model.to(images.dtype)
    model.load_state_dict(renamed)
    with torch.no_grad():
        return model.eval()(images)
    # </write>
