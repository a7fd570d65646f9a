# %% [markdown] lang="en"
# # MAE: learning from images without labels
#
# A masked autoencoder (He et al. 2021, [arXiv:2111.06377](https://arxiv.org/abs/2111.06377)) hides a part
# of the patches and learns to reconstruct them. Here one is trained on Fashion-MNIST without a label,
# with a loop that is all on this page; then 1,000 labels show what its features are worth.

# %% [markdown] lang="zh"
# # MAE：不用标签也能学
#
# 掩码自编码器（He 等，2021，[arXiv:2111.06377](https://arxiv.org/abs/2111.06377)）遮住一部分图像块，让模型把它们补
# 出来。这里在 Fashion-MNIST 上不用任何标签训练一个，训练循环全写在本页；然后用 1,000 个标签看看学到的特征值多少。

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import vitrail

torch.manual_seed(0)
train = vitrail.data.open_dataset("fashion-mnist", "train")
test = vitrail.data.open_dataset("fashion-mnist", "test")
train_labels, test_labels = train.truth(), test.truth()


def normalize(images: Tensor) -> Tensor:
    """Bytes (B, 1, 28, 28) to numbers with mean 0 and variance 1 over the training images."""
    return (images.float() / 255 - 0.286) / 0.353


# %% [markdown] lang="en"
# ## Masking by sorting noise
#
# Each patch draws a random number; the patches with the smallest stay visible. `argsort` gives their
# indices, `gather` picks them, and the argsort of the argsort is the way back. The encoder sees the
# visible patches only, which makes a step cheap; the decoder gets a learned vector at each masked place.

# %% [markdown] lang="zh"
# ## 用随机数排序来掩码
#
# 每个图像块抽一个随机数，最小的那些留下。`argsort` 给出下标，`gather` 取出可见的图像块，再对结果做一次 argsort 就得到
# 还原顺序。编码器只看可见的图像块，所以一步很便宜；解码器在每个被遮住的位置放一个可学习的向量。

# %%
noise = torch.tensor([[0.7, 0.1, 0.9, 0.4]])
order = noise.argsort(dim=1)  # 1, 3, 0, 2
restore = order.argsort(dim=1)
patches = torch.tensor([[[10.0], [11.0], [12.0], [13.0]]])
visible = patches.gather(1, order[:, :2, None])
print("visible:", visible.flatten().tolist(), "order:", order.tolist(), "back:", restore.tolist())
shuffled = patches.gather(1, order[:, :, None])
assert torch.equal(shuffled.gather(1, restore[:, :, None]), patches)

# %%
backbone = vitrail.ViT(
    image_size=28,
    patch_size=4,
    num_classes=0,
    dim=64,
    depth=4,
    heads=4,
    mlp_dim=128,
    channels=1,
    pool="mean",
)
mae = vitrail.methods.MAE(
    backbone, mask_ratio=0.75, decoder_dim=48, decoder_depth=1, decoder_heads=4
)
print(sum(p.numel() for p in backbone.parameters()), "parameters in the encoder")


# %% [markdown] lang="en"
# ## What are the features worth before training?
#
# k-nearest neighbors: an image gets the label that most of its 10 nearest of 1,000 labelled images have,
# by the cosine of the features. Random weights are no zero: they keep brightness and shape.

# %% [markdown] lang="zh"
# ## 训练前，特征值多少？
#
# 用 k 近邻：按特征的余弦，在 1,000 张有标签的图里找最近的 10 张，多数标签就是预测。随机权重的结果不是零，因为亮度和轮廓
# 还在。


# %%
@torch.no_grad()
def nearest_neighbors(backbone: torch.nn.Module, labelled: int = 1000, judged: int = 2000) -> float:
    """Accuracy by the 10 nearest of the labelled images."""
    backbone.eval()
    keys, queries = (
        torch.nn.functional.normalize(backbone(normalize(images)), dim=1)
        for images in (train.images[:labelled], test.images[:judged])
    )
    nearest = (queries @ keys.T).topk(10).indices  # (judged, 10)
    votes = train_labels[nearest].mode(dim=1).values
    backbone.train()
    return (votes == test_labels[:judged]).float().mean().item()


before = nearest_neighbors(backbone)
print(f"k-NN accuracy with random weights: {before:.1%}")

# %% [markdown] lang="en"
# ## Training
#
# The loss is the mean squared error on masked patches alone; pixels of a patch are normalized by their own
# mean and variance first, as in the paper.

# %% [markdown] lang="zh"
# ## 训练
#
# 损失只在被遮住的图像块上计算，是均方误差；与论文一样，每个图像块的像素先用自己的均值和方差做归一化。

# %%
COUNT, BATCH, EPOCHS = 20_000, 100, 3
steps = COUNT // BATCH * EPOCHS
optimizer = torch.optim.AdamW(mae.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
losses, start = [], time.time()
for epoch in range(EPOCHS):
    for index in torch.randperm(COUNT).split(BATCH):
        loss, predictions, mask = mae.predict(normalize(train.images[index]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    print(f"epoch {epoch + 1}: loss {sum(losses[-100:]) / 100:.3f}, {time.time() - start:.0f} s")
after = nearest_neighbors(backbone)
print(f"k-NN accuracy: {before:.1%} before, {after:.1%} after, and no label was used")
assert after > before

# %% [markdown] lang="en"
# ## Reconstructions
#
# Image, what was visible, reconstruction. They are blurred, and that is right: the mean of all plausible
# textures has the least squared error. (Each patch gets the brightness of the true one back, because the
# model predicts normalized pixels.)

# %% [markdown] lang="zh"
# ## 重建结果
#
# 从上到下：原图、可见部分、重建。模糊是正常的：各种可能纹理的平均值，均方误差最小。（模型预测的是归一化后的像素，所以画图时
# 用真实图像块的亮度还原。）

# %%
mae.eval()
images = normalize(test.images[:8])
with torch.no_grad():
    rows = mae.reconstruct(images)  # (3, B, 1, 28, 28): image, visible part, reconstruction
figure, axes = plt.subplots(3, 8, figsize=(8, 3.2))
for row, column in ((r, c) for r in range(3) for c in range(8)):
    axes[row, column].imshow(rows[row, column, 0], cmap="gray", vmin=-0.81, vmax=2.02)
    axes[row, column].axis("off")
plt.show()

# %% [markdown] lang="en"
# Exercises: mask 25 % instead of 75 %, and compare the loss and the k-NN accuracy (the easier task has
# the lower loss and the worse features); leave out the normalization of pixels; fine-tune with
# `vitrail.fit(backbone, ...)` on 1,000 labels and compare with training from scratch.

# %% [markdown] lang="zh"
# 练习：把掩码比例从 75 % 改成 25 %，比较损失和 k-NN 精度（任务越容易，损失越低，特征反而越差）；去掉像素归一化；用
# `vitrail.fit(backbone, ...)` 在 1,000 个标签上微调，再与从头训练比较。
