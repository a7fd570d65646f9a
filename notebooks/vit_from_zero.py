# %% [markdown] lang="en"
# # ViT from zero
#
# A Vision Transformer written with PyTorch alone, trained on photographs of clothes for about a minute
# on one CPU core, and looked into. What you need: `pip install torch matplotlib`, Vitrail with its
# `train` extra, and Fashion-MNIST (`sudo apt install dataset-fashion-mnist`, or it comes from the Hub).

# %% [markdown] lang="zh"
# # 从零写一个 ViT
#
# 只用 PyTorch 写一个 Vision Transformer，在服装图片上训练一分钟左右（一个 CPU 核），再打开看看它学到了什么。
# 需要：`pip install torch matplotlib`、带 `train` 附加依赖的 Vitrail，以及 Fashion-MNIST
# （`sudo apt install dataset-fashion-mnist`，没有时从 Hub 下载）。

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import vitrail

torch.manual_seed(0)
train = vitrail.data.open_dataset("fashion-mnist", "train")
test = vitrail.data.open_dataset("fashion-mnist", "test")
train_labels, test_labels = train.truth(), test.truth()  # (60000,), (10000,)
print(train.images.shape, train.images.dtype, train.labels)

# %% [markdown] lang="en"
# ## Patches by hand
#
# 28 × 28 pixels, patches of 4 × 4: 7 × 7 = 49 patches of 16 numbers. Two reshapes and one transpose do
# it. The transpose is what matters: it brings the row within the patch behind the column of the patch.

# %% [markdown] lang="zh"
# ## 手动切图像块
#
# 图片 28 × 28，图像块 4 × 4，得到 7 × 7 = 49 个图像块，每个 16 个数。两次 reshape 加一次 transpose 就够了。
# 关键是中间的 transpose：把“图像块内的行”换到“图像块的列”后面去。

# %%
SIDE, GRID = 4, 7


def to_patches(images: Tensor) -> Tensor:
    """(B, 1, 28, 28) → (B, 49, 16), row by row."""
    rows = images.reshape(-1, GRID, SIDE, GRID, SIDE)  # patch row, row, patch column, column
    return rows.transpose(2, 3).reshape(-1, GRID * GRID, SIDE * SIDE)


image = train.images[:1].float() / 255
patches = to_patches(image)
figure, axes = plt.subplots(GRID, GRID + 8, figsize=(7, 3.4))
for axis in axes.flat:
    axis.axis("off")
for index in range(GRID * GRID):
    patch = patches[0, index].reshape(SIDE, SIDE)
    axes[index // GRID, index % GRID].imshow(patch, cmap="gray", vmin=0, vmax=1)
whole = figure.add_axes([0.55, 0.15, 0.35, 0.7])
whole.imshow(image[0, 0], cmap="gray")
whole.axis("off")
plt.show()

# %% [markdown] lang="en"
# ## The model
#
# Embedding, class token, positions, four blocks, a head. Each line of `forward` is a line of the paper's
# section 3.1. The attention weights of the last call are kept, so that we can look at them later.

# %% [markdown] lang="zh"
# ## 模型
#
# 嵌入、分类 token、位置编码、四个 block、一个分类头。`forward` 的每一行对应论文 3.1 节的一步。最近一次的注意力权重
# 留在模块里，等会儿画图用。


# %%
class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, tokens, dim / heads)
        self.weights = (q @ k.mT / (dim // self.heads) ** 0.5).softmax(-1)
        return self.proj((self.weights @ v).transpose(1, 2).reshape(batch, tokens, dim))


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a residual connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """A ViT for Fashion-MNIST."""

    def __init__(self, dim: int = 64, depth: int = 4, heads: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(SIDE * SIDE, dim)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 1 + GRID * GRID, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(to_patches(images))  # (B, 49, D)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position  # (B, 50, D)
        return self.head(self.norm(self.blocks(x))[:, 0])  # (B, classes)


model = SmallViT()
print(sum(p.numel() for p in model.parameters()), "parameters")
print(model(torch.zeros(2, 1, 28, 28)).shape)

# %% [markdown] lang="en"
# ## Training
#
# AdamW; a rate that rises for 10 % of the steps and falls along a cosine; 10,000 images, five epochs.
# Two checks before: an untrained model's loss must be about ln 10 = 2.30, and a few images must be
# learnable by heart. If either fails, the model is wrong, and training it longer will not help.

# %% [markdown] lang="zh"
# ## 训练
#
# 优化器用 AdamW；学习率先用 10 % 的步数升上去，再按余弦降下来；10,000 张图，5 个 epoch。开始之前先做两个检查：没训练
# 过的模型，损失应在 ln 10 = 2.30 左右；几张图片应当能被背下来。哪一条不成立，都说明模型写错了，训练再久也没用。


# %%
def normalize(images: Tensor) -> Tensor:
    """Bytes (B, 1, 28, 28) to numbers with mean 0 and variance 1 over the training images."""
    return (images.float() / 255 - 0.286) / 0.353


criterion = nn.CrossEntropyLoss()
images, labels = normalize(train.images[:16]), train_labels[:16]
print("loss before training:", round(criterion(model(images), labels).item(), 2))
probe = SmallViT()
optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3)
for _ in range(40):
    optimizer.zero_grad()
    criterion(probe(images), labels).backward()
    optimizer.step()
print("16 images by heart:  ", round(criterion(probe(images), labels).item(), 3))

# %%
COUNT, BATCH, EPOCHS = 10_000, 100, 5
steps = COUNT // BATCH * EPOCHS
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
losses, start = [], time.time()
for epoch in range(EPOCHS):
    for index in torch.randperm(COUNT).split(BATCH):
        loss = criterion(model(normalize(train.images[index])), train_labels[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    print(f"epoch {epoch + 1}: loss {sum(losses[-100:]) / 100:.3f}, {time.time() - start:.0f} s")


# %%
@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """On the 10,000 test images."""
    right = 0
    for index in torch.arange(len(test)).split(1000):
        logits = model(normalize(test.images[index]))
        right += (logits.argmax(1) == test_labels[index]).sum().item()
    return right / len(test)


model.eval()
print(f"test accuracy {accuracy(model):.1%}")
plt.figure(figsize=(6, 2.5))
plt.plot(losses, linewidth=0.6)
plt.xlabel("step")
plt.ylabel("loss")
plt.show()

# %% [markdown] lang="en"
# ## What the class token attends to
#
# The first row of the weights, without its first column: how much of each patch the class token takes.
# One map per head of the last block. Weights are small numbers (1/50 if it looked everywhere alike), so
# each map has its own scale, with its largest weight above it.

# %% [markdown] lang="zh"
# ## 分类 token 在看哪里
#
# 取注意力矩阵的第一行、去掉第一列，就是分类 token 从每个图像块取了多少。最后一个 block 的每个头画一张图。权重本身很小
# （均匀看的话每个都是 1/50），所以每张图各用各的色标，标题里写着最大的权重。

# %%
images = normalize(test.images[[0, 2, 23]])
with torch.no_grad():
    predicted = model(images).argmax(1)
weights = model.blocks[-1].attention.weights[:, :, 0, 1:].reshape(3, 4, GRID, GRID)
figure, axes = plt.subplots(3, 5, figsize=(8, 5))
for row in range(3):
    axes[row, 0].imshow(images[row, 0], cmap="gray")
    axes[row, 0].set_title(train.labels[predicted[row]], fontsize=8)
    for head in range(4):
        axes[row, head + 1].imshow(weights[row, head], cmap="inferno", vmin=0)
        axes[row, head + 1].set_title(f"head {head}: {weights[row, head].max():.2f}", fontsize=8)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown] lang="en"
# ## The same in one call
#
# Vitrail's `ViT` with these sizes has the same number of parameters, and `vitrail.fit` is the loop above
# with validation, checkpoints and a report. Exercises: leave the positions out and measure what is lost;
# leave out the division by √d; put the norms behind the additions; draw the first block instead of the
# last one. `vitrail learn` has a checker for each of these parts.

# %% [markdown] lang="zh"
# ## 一行代码做同样的事
#
# 同样大小的 `vitrail.ViT` 参数量与上面相同，`vitrail.fit` 就是上面的循环，外加验证、检查点和报告。练习：去掉位置编码，
# 看精度掉多少；去掉 √d；把 LayerNorm 挪到残差相加之后；把最后一个 block 换成第一个再画图。这些模块在
# `vitrail learn` 里都有对应的课程和检查器。

# %%
same = vitrail.ViT(28, 4, num_classes=10, dim=64, depth=4, heads=4, mlp_dim=128, channels=1)
assert sum(p.numel() for p in same.parameters()) == sum(p.numel() for p in model.parameters())
for row in vitrail.lens.shapes(same, depth=2)[:14]:
    print("  " * row.level, row.name, row.shape)
