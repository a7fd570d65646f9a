# %% [markdown] lang="en"
# # The annotated ViT
#
# *An Image is Worth 16x16 Words* (Dosovitskiy et al. 2020,
# [arXiv:2010.11929](https://arxiv.org/abs/2010.11929)), one equation after the other, beside code
# that runs. Nothing but PyTorch is used, until the last section compares the result with Vitrail's
# `ViT`. Shapes are written in comments: B images, N patches, D the width of a token, h heads.

# %% [markdown] lang="zh"
# # 逐行注释的 ViT
#
# 论文 *An Image is Worth 16x16 Words*（Dosovitskiy 等，2020，
# [arXiv:2010.11929](https://arxiv.org/abs/2010.11929)）的每个公式，旁边都是能运行的代码。除了最后一节
# 与 Vitrail 的 `ViT` 对数以外，只用到 PyTorch。注释里写的是张量形状：B 为图片数，N 为图像块数，
# D 为每个 token 的维度，h 为注意力头数。

# %%
import torch
from torch import Tensor, nn

# %% [markdown] lang="en"
# ## 1. An image becomes a sequence (section 3.1)
#
# The paper reshapes an image of H × W × C into N = HW / P² flattened patches, each a vector of
# P² C numbers, and maps each by one matrix **E** to D numbers. This is a convolution whose kernel and
# stride are both P: the windows touch and never overlap. With 224 pixels and P = 16, N = 14 × 14 = 196.

# %% [markdown] lang="zh"
# ## 1. 把图片变成序列（3.1 节）
#
# 论文把 H × W × C 的图片切成 N = HW / P² 个图像块，每个展平成 P² C 维的向量，再用同一个矩阵 **E** 映射到
# D 维。它等价于一个卷积核与步长都是 P 的卷积：窗口紧挨着，互不重叠。图片边长 224、P = 16 时，
# N = 14 × 14 = 196。


# %%
class PatchEmbedding(nn.Module):
    """x_p E of equation (1)."""

    def __init__(self, patch_size: int, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        grid = self.proj(images)  # (B, D, H / P, W / P)
        return grid.flatten(2).transpose(1, 2)  # (B, N, D), row by row


# %% [markdown] lang="en"
# ## 2. Attention (appendix A, equations 5 to 8)
#
# - (5) One linear layer gives query, key and value: [q, k, v] = z U, each of D_h = D / h numbers per head.
# - (6) A = softmax(q kᵀ / √D_h). Row i says how token i shares its attention: a row sums to 1.
# - (7) SA(z) = A v: token i receives the values of the tokens that it attends to.
# - (8) The outputs of all heads stand side by side and pass one more linear layer.
#
# Why √D_h? If the numbers in q and k have variance 1 and are independent, q·k is a sum of D_h products
# and has variance D_h. Divided by its standard deviation it has variance 1 again; otherwise the softmax
# of a wide head is nearly one-hot, and its gradient nearly zero.

# %% [markdown] lang="zh"
# ## 2. 注意力（附录 A，公式 5 到 8）
#
# - (5) 一个线性层同时给出 query、key、value：[q, k, v] = z U，每个头各占 D_h = D / h 维。
# - (6) A = softmax(q kᵀ / √D_h)。第 i 行是第 i 个 token 把注意力分给谁，每行之和为 1。
# - (7) SA(z) = A v：第 i 个 token 按权重收集其他 token 的 value。
# - (8) 把各头的输出并排拼起来，再过一个线性层。
#
# 为什么要除以 √D_h？设 q、k 各分量独立、方差为 1，则 q·k 是 D_h 个乘积之和，方差为 D_h；除以标准差后方差
# 回到 1。不除的话，头越宽 softmax 越接近 one-hot，梯度也就几乎为零。


# %%
class Attention(nn.Module):
    """MSA(z), equations (5) to (8)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, z: Tensor) -> Tensor:
        batch, tokens, dim = z.shape
        qkv = self.qkv(z).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, h, N + 1, D / h), equation (5)
        scores = q @ k.transpose(-2, -1) / (dim // self.heads) ** 0.5
        weights = scores.softmax(dim=-1)  # (B, h, N + 1, N + 1), equation (6)
        heads = weights @ v  # (B, h, N + 1, D / h), equation (7)
        return self.proj(heads.transpose(1, 2).reshape(batch, tokens, dim))  # equation (8)


# %% [markdown] lang="en"
# ## 3. A block (equations 2 and 3)
#
# - (2) z' = MSA(LN(z)) + z
# - (3) z = MLP(LN(z')) + z'
#
# LayerNorm stands *before* each part ("pre-norm"), so that a straight path of additions leads from the
# last block to the first. The MLP has two layers with a GELU between them; its hidden width is 4 D in
# all models of the paper.

# %% [markdown] lang="zh"
# ## 3. 一个 block（公式 2、3）
#
# - (2) z' = MSA(LN(z)) + z
# - (3) z = MLP(LN(z')) + z'
#
# LayerNorm 放在每个子层*之前*（pre-norm），于是从最后一个 block 到第一个 block 有一条只做加法的直通路径，
# 梯度可以原样传回去。MLP 是两层线性层，中间用 GELU，论文里所有模型的隐藏维度都是 4 D。


# %%
class Block(nn.Module):
    """Equations (2) and (3)."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))

    def forward(self, z: Tensor) -> Tensor:
        z = z + self.attention(self.norm1(z))
        return z + self.mlp(self.norm2(z))


# %% [markdown] lang="en"
# ## 4. The model (equations 1 and 4)
#
# - (1) z₀ = [x_class; x¹E; …; xᴺE] + E_pos, with E_pos of (N + 1) × D
# - (4) y = LN(z_L⁰): the class token after the last block, from which one linear layer makes the logits.
#
# The class token is a learned vector that all images share; attention fills it with what the image shows.
# Attention itself knows no order: permute the patches, and their outputs are permuted likewise. What
# says where a patch is are the learned positions alone. They are added, not appended, and added once.

# %% [markdown] lang="zh"
# ## 4. 整个模型（公式 1、4）
#
# - (1) z₀ = [x_class; x¹E; …; xᴺE] + E_pos，其中 E_pos 的形状是 (N + 1) × D
# - (4) y = LN(z_L⁰)：取最后一个 block 之后的分类 token，再用一个线性层得到 logits。
#
# 分类 token 是一个可学习的向量，所有图片共用；经过注意力，它逐层收集图片的内容。注意力本身不知道顺序：把图像块
# 打乱，输出也只是跟着打乱。告诉模型“这个图像块在哪里”的，只有可学习的位置编码；它是加上去的，不是拼上去的，
# 而且只在输入处加一次。


# %%
class ViT(nn.Module):
    """Vision Transformer."""

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 16,
        num_classes: int = 1000,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_dim: int = 3072,
        channels: int = 3,
    ) -> None:
        super().__init__()
        count = (image_size // patch_size) ** 2
        self.patch_embed = PatchEmbedding(patch_size, channels, dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, 1 + count, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        self.apply(self.start)
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.normal_(self.class_token, std=1e-6)

    @staticmethod
    def start(module: nn.Module) -> None:
        """Initial values: small normal weights, no bias."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)  # (B, N, D)
        token = self.class_token.expand(len(patches), -1, -1)
        z = torch.cat([token, patches], dim=1) + self.position  # (B, N + 1, D), equation (1)
        for block in self.blocks:
            z = block(z)  # equations (2) and (3)
        return self.head(self.norm(z)[:, 0])  # equation (4): (B, classes)


# %% [markdown] lang="en"
# ## 5. Three sizes (table 1)
#
# The paper counts 86, 307 and 632 million parameters. Counted here on the meta device, where a tensor
# has a shape but no memory. ViT-B/16: 196 + 1 positions of 768 numbers; 12 blocks of 4 · 768² weights in
# attention and 8 · 768² in the MLP; the head for 1,000 classes.

# %% [markdown] lang="zh"
# ## 5. 三种规模（表 1）
#
# 论文给出的参数量是 86M、307M、632M。下面在 meta 设备上数一遍：张量只有形状，不占内存。以 ViT-B/16 为例：
# 位置编码 (196 + 1) × 768；12 个 block，每个注意力 4 · 768² 个权重、MLP 8 · 768² 个权重；再加 1000 类的分类头。

# %%
sizes = {
    "ViT-B/16": {},
    "ViT-L/16": {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096},
    "ViT-H/14": {"patch_size": 14, "dim": 1280, "depth": 32, "heads": 16, "mlp_dim": 5120},
}
with torch.device("meta"):
    counts = {
        name: sum(p.numel() for p in ViT(**size).parameters()) for name, size in sizes.items()
    }
for name, count in counts.items():
    print(f"{name} {count:>12,}")
assert counts["ViT-B/16"] == 86_567_656

# %% [markdown] lang="en"
# ## 6. Another image size (section 3.2)
#
# A larger image has more patches of the same size, so that only the positions do not fit. The paper
# interpolates them in two dimensions, by their place in the image; the class token's stays as it is.

# %% [markdown] lang="zh"
# ## 6. 换一种图片尺寸（3.2 节）
#
# 图像块大小不变时，图片越大图像块越多，只有位置编码对不上。论文按它们在图中的位置做二维插值；分类 token 的那一个
# 不动。


# %%
def resize_positions(position: Tensor, new_grid: int) -> Tensor:
    """(1, 1 + n², D) → (1, 1 + new_grid², D)."""
    token, patches = position[:, :1], position[:, 1:]
    old_grid = round(patches.shape[1] ** 0.5)
    plane = patches.transpose(1, 2).reshape(1, -1, old_grid, old_grid)
    size = (new_grid, new_grid)
    plane = nn.functional.interpolate(plane, size=size, mode="bicubic", align_corners=False)
    return torch.cat([token, plane.flatten(2).transpose(1, 2)], dim=1)


print(resize_positions(torch.randn(1, 1 + 14**2, 768), 24).shape)  # 224 -> 384 pixels

# %% [markdown] lang="en"
# ## 7. Is it right?
#
# The same weights in Vitrail's `ViT`, which equals timm's and transformers' on public weights: the
# logits must be the same numbers, and so must the gradient that reaches the pixels.

# %% [markdown] lang="zh"
# ## 7. 写对了吗？
#
# 把同一份权重装进 Vitrail 的 `ViT`（它在公开权重上与 timm、transformers 的数值一致）：logits 必须相同，传回像素的
# 梯度也必须相同。

# %%
import vitrail

small = {"image_size": 32, "patch_size": 8, "num_classes": 5}
small |= {"dim": 24, "depth": 3, "heads": 4, "mlp_dim": 48}
torch.manual_seed(0)
ours, library = ViT(**small).double(), vitrail.ViT(**small).double()

NAMES = {
    "class_token": "class_token.weight",
    "position": "position.weight",
    "patch_embed.proj.": "patch_embed.",
    "attention.": "mixer.",
    "mlp.0.": "mlp.fc1.",
    "mlp.2.": "mlp.fc2.",
}
weights = {}
for name, value in ours.state_dict().items():
    for here, there in NAMES.items():
        name = name.replace(here, there)
    weights[name] = value
library.load_state_dict(weights)

images = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
logits = ours(images)
expected = library(images)
[gradient] = torch.autograd.grad(logits.square().sum(), images)
[expected_gradient] = torch.autograd.grad(expected.square().sum(), images)
print("logits   ", (logits - expected).abs().max().item())
print("gradients", (gradient - expected_gradient).abs().max().item())
assert torch.allclose(logits, expected, rtol=0, atol=1e-12)
assert torch.allclose(gradient, expected_gradient, rtol=0, atol=1e-12)
