# %% [markdown] lang="en"
# # Explanations, and how far to believe them
#
# A heat map convinces at once, and that is its danger. This page trains a small ViT on pictures in which
# the right answer is known, explains its decisions in several ways, and then tests each way: does it
# find what was asked for? Does the decision change when what it shows is covered? Does it change when the
# weights are random?

# %% [markdown] lang="zh"
# # 解释，以及该信几分
#
# 热力图一眼就让人信服，危险也在这里。本页训练一个小 ViT，数据里“正确答案”是已知的；用几种方法解释它的判断，再逐一检验：
# 它找到的是所问的东西吗？把它指出的地方遮住，判断会变吗？把权重换成随机数，热力图会变吗？

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import vitrail
from vitrail import lens

torch.manual_seed(0)

# %% [markdown] lang="en"
# ## Collages: the answer is known
#
# Two garments of different classes lie in two quarters of a canvas of 56 × 56 pixels. The model must name
# both. So there are two classes to ask for in each picture, and each has its own box.

# %% [markdown] lang="zh"
# ## 拼图：答案已知
#
# 56 × 56 的画布上，两个不同类别的服装各占一个四分之一。模型要说出两个类别。于是每张图可以问两个类别，各自的位置都是已知的。

# %%
train = vitrail.data.open_dataset("fashion-mnist", "train")
test = vitrail.data.open_dataset("fashion-mnist", "test")


def collages(
    images: Tensor, labels: Tensor, count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Canvases (count, 1, 56, 56), classes (count, 2) and quarters (count, 2) of the garments."""
    generator = torch.Generator().manual_seed(seed)
    canvases = torch.zeros(count, 1, 56, 56)
    classes = torch.empty(count, 2, dtype=torch.long)
    quarters = torch.stack([torch.randperm(4, generator=generator)[:2] for _ in range(count)])
    for number in range(count):
        first, second = torch.randint(len(images), (2,), generator=generator)
        while labels[first] == labels[second]:
            second = torch.randint(len(images), (1,), generator=generator)[0]
        classes[number] = torch.stack([labels[first], labels[second]])
        for index, quarter in zip((first, second), quarters[number], strict=True):
            top, left = 28 * (quarter // 2), 28 * (quarter % 2)
            canvases[number, :, top : top + 28, left : left + 28] = images[index] / 255
    return (canvases - 0.14) / 0.28, classes, quarters


canvases, classes, _ = collages(train.images, train.truth(), 6000, seed=1)
test_canvases, test_classes, quarters = collages(test.images, test.truth(), 64, seed=2)

model = vitrail.ViT(
    image_size=56,
    patch_size=7,
    num_classes=10,
    dim=64,
    depth=4,
    heads=4,
    mlp_dim=128,
    channels=1,
)
model.labels = list(train.labels)
targets = torch.zeros(len(classes), 10).scatter(1, classes, 1.0)
EPOCHS, BATCH = 6, 100
steps = EPOCHS * len(canvases) // BATCH
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
for epoch in range(EPOCHS):
    total = 0.0
    for index in torch.randperm(len(canvases)).split(BATCH):
        logits = model(canvases[index])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(index) / len(canvases)
    print(f"epoch {epoch + 1}: loss {total:.3f}")
model.eval()
with torch.no_grad():
    top = model(test_canvases).topk(2).indices
top2_recall = (top[:, :, None] == test_classes[:, None]).any(1).float().mean().item()
print(f"of the garments in new collages {top2_recall:.0%} are among the two likeliest classes")

# %% [markdown] lang="en"
# ## Five ways to explain
#
# `rollout` multiplies attention through all layers and knows of no class: it is the same whichever class
# is asked for. The others are of a class. Below: one collage, asked for its first and for its second
# garment.

# %% [markdown] lang="zh"
# ## 五种解释
#
# `rollout` 把各层注意力连乘，与类别无关：问哪个类别都一样。其余几种针对类别。下图是同一张拼图，分别问它的第一件和第二件服装。

# %%
NAMES = ["rollout", "relevance", "attention_gradient", "grad_cam", "patch_logits"]
canvas, pair = test_canvases[:1], test_classes[0]
figure, axes = plt.subplots(2, 6, figsize=(10, 3.6))
for row in range(2):
    axes[row, 0].imshow(canvas[0, 0], cmap="gray")
    axes[row, 0].set_title(f"asked: {model.labels[pair[row]]}", fontsize=8)
    for column, name in enumerate(NAMES, 1):
        target = None if name == "rollout" else int(pair[row])
        axes[row, column].imshow(
            lens.explain(model, canvas, name, target)[0].detach(), cmap="inferno"
        )
        axes[row, column].set_title(name, fontsize=8)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown] lang="en"
# ## Three tests
#
# 1. *Pointing.* Of the map's mass, how much lies in the quarter that was asked for, and how much in the
#    other garment's? 1 is what a map that ignores the question has.
# 2. *Deletion.* Cover the patches with the highest values first. The sooner the probability falls, the
#    better; a random order is the baseline.
# 3. *Random weights.* The rank correlation with the map of the same network with random weights. A map
#    that stays the same shows the picture and not what the model has learned.

# %% [markdown] lang="zh"
# ## 三项检验
#
# 1. *指向*：热力图的总量里，多少落在所问服装的四分之一内，多少落在另一件上？两者之比为 1，说明它不理会问题。
# 2. *删除*：按热力图从高到低遮住图像块，概率降得越快越好；以随机顺序为基线。
# 3. *随机权重*：与同一网络、随机权重的热力图求秩相关。如果几乎不变，说明它画的是图片，不是模型学到的东西。

# %%
BOXES = [(0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)]
own = [BOXES[quarter] for quarter in quarters[:, 0]]
other = [BOXES[quarter] for quarter in quarters[:, 1]]
first_classes = test_classes[:, 0].tolist()
random = lens.perturbation_curve(
    model, test_canvases, torch.rand(64, 8, 8), first_classes
).area.mean()
print(f"{'':20s} own/other  deletion  random weights   (deletion in random order {random:.3f})")
results = {}
for name in NAMES:
    target = None if name == "rollout" else first_classes
    maps = lens.explain(model, test_canvases, name, target).detach().clamp(min=0)
    ratio = lens.mass_inside(maps, own).mean() / lens.mass_inside(maps, other).mean()
    deletion = lens.perturbation_curve(model, test_canvases, maps, first_classes).area.mean()
    check = lens.randomization_check(model, test_canvases, name, target).mean()
    results[name] = ratio.item()
    print(f"{name:20s} {ratio:9.2f} {deletion:9.3f} {check:15.2f}")

# %% [markdown] lang="en"
# Rollout has about 1 in the first column, as it must: it never heard the question. This is no fault of
# the model; it is the answer to another question. `vitrail explain compare RUN` makes this table for your
# own run, and says which explanations fail.

# %% [markdown] lang="zh"
# rollout 在第一列约为 1，这是必然的：它根本没听到问题。这不是模型的错，只是它回答的是另一个问题。`vitrail explain compare
# RUN` 会为你自己的训练结果生成这张表，并指出哪些解释没有通过检验。

# %%
assert abs(results["rollout"] - 1) < 0.5
assert max(results.values()) > 1.5
