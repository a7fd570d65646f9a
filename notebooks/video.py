# %% [markdown] lang="en"
# # Video: motion is in no single frame
#
# ViViT (Arnab et al. 2021, [arXiv:2103.15691](https://arxiv.org/abs/2103.15691)) cuts a clip into
# *tubelets*, patches that reach through several frames. The clips here are made by a program: a shape
# moves, grows or turns, and played backwards each motion is another class. Every frame has the same
# distribution in all classes, so that a model must read motion.

# %% [markdown] lang="zh"
# # 视频：运动不在任何一帧里
#
# ViViT（Arnab 等，2021，[arXiv:2103.15691](https://arxiv.org/abs/2103.15691)）把视频切成 *tubelet*，也就是跨越几帧的
# 立体图像块。这里的视频由程序生成：图形在平移、放大或旋转，倒着放就是另一个类别。各类别的单帧分布完全相同，所以模型只能
# 靠运动来判断。

# %%
import tempfile

import matplotlib.pyplot as plt
import torch

import vitrail
from vitrail import lens

torch.manual_seed(0)
train = vitrail.data.open_dataset("moving-shapes", "train")
test = vitrail.data.open_dataset("moving-shapes", "test")
print(len(train), "clips,", train.labels)
clips = [test.read(index) for index in range(3)]  # uint8 (channels, frames, height, width)
print(tuple(clips[0].shape))
figure, axes = plt.subplots(3, 8, figsize=(8, 3.2))
for row, clip in enumerate(clips):
    for frame in range(8):
        axes[row, frame].imshow(lens.to_picture(clip[:, frame]), cmap="gray")
        axes[row, frame].axis("off")
    axes[row, 0].set_title(test.labels[test.truth()[row]], fontsize=8, loc="left")
plt.show()

# %% [markdown] lang="en"
# ## Tubelets
#
# 8 × 32 × 32 values in tubelets of 2 × 8 × 8: a grid of 4 × 4 × 4 = 64 tokens. A convolution in three
# dimensions whose stride is its kernel does it, as in two. With tubelets of one frame all motion would be
# left to attention.

# %% [markdown] lang="zh"
# ## Tubelet
#
# 8 × 32 × 32 的视频，tubelet 为 2 × 8 × 8，得到 4 × 4 × 4 = 64 个 token。做法与二维相同：三维卷积，步长等于核的大小。
# 如果 tubelet 只有一帧厚，运动就全部留给注意力去找。

# %%
options = {"image_size": (8, 32, 32), "patch_size": (2, 8, 8), "dim": 96, "depth": 4}
options |= {"heads": 4, "mlp_dim": 192, "pool": "mean"}
model = vitrail.ViViT(num_classes=len(train.labels), channels=train.channels, **options)
for row in lens.shapes(model)[:4]:
    print(row.name, row.shape)

# %% [markdown] lang="en"
# ## Training
#
# Flips of the picture are off, because they would change the class.

# %% [markdown] lang="zh"
# ## 训练
#
# 不做左右翻转：翻转会改变类别。

# %%
run = vitrail.fit(
    "ViViT",
    data={
        "source": "moving-shapes",
        "batch_size": 64,
        "augment": {"crop": "none", "flip": 0.0},
    },
    options=options,
    epochs=4,
    lr=1.5e-3,
    label_smoothing=0.05,
    out=tempfile.mkdtemp(),
)
print(f"test accuracy {run.metrics['top1']:.1%}, by chance {1 / len(train.labels):.1%}")

# %% [markdown] lang="en"
# ## The same clips without time
#
# If the model reads motion, then the frames in a random order must confuse it, and the clip played
# backwards must be taken for the opposite motion.

# %% [markdown] lang="zh"
# ## 打乱时间再看
#
# 如果模型真的在看运动，那么打乱帧的顺序应当让它认不出来，倒放应当被认成相反的运动。

# %%
model = run.model.eval()
count = 200
batch = torch.cat([model.preprocess(test.read(i)) for i in range(count)])
truth = test.truth()[:count]
with torch.no_grad():
    versions = {
        "as it is": model(batch),
        "frames shuffled": model(batch[:, :, torch.randperm(8)]),
        "played backwards": model(batch.flip(2)),
    }
for name, logits in versions.items():
    print(f"{name}: {(logits.argmax(1) == truth).float().mean():.1%} are called by their class")
backwards = versions["played backwards"].argmax(1)
for label in range(len(test.labels)):
    answers = backwards[truth == label]
    if len(answers):
        print(f"{test.labels[label]} backwards is called {test.labels[answers.mode().values]}")
assert (versions["as it is"].argmax(1) == truth).float().mean() > 2 / len(train.labels)

# %% [markdown] lang="en"
# Your own clips: `vitrail train videos:FOLDER model.name=ViViT ...`, a folder per class; see the page on
# videos, volumes and signals.

# %% [markdown] lang="zh"
# 用自己的视频：每类一个文件夹，`vitrail train videos:FOLDER model.name=ViViT ...`，详见“视频、体数据与信号”一页。
