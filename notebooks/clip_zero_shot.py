# %% [markdown] lang="en"
# # CLIP: classifying by sentences
#
# CLIP (Radford et al. 2021, [arXiv:2103.00020](https://arxiv.org/abs/2103.00020)) embeds images and
# sentences in one space. A class is then a sentence, and a new class needs no training. Here a small one
# is trained on clothes and captions, and asked with sentences that it never saw.

# %% [markdown] lang="zh"
# # CLIP：用句子分类（零样本）
#
# CLIP（Radford 等，2021，[arXiv:2103.00020](https://arxiv.org/abs/2103.00020)）把图片和句子映射到同一个空间。于是一个
# 类别就是一句话，新类别不需要重新训练。这里用服装图片和文字说明训练一个小模型，再拿它没见过的句子去问。

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import vitrail

torch.manual_seed(0)
train = vitrail.data.open_dataset("fashion-mnist", "train")
test = vitrail.data.open_dataset("fashion-mnist", "test")
labels, test_labels = train.truth(), test.truth()
print(train.labels)

# %% [markdown] lang="en"
# ## The loss
#
# In a batch of B pairs the logits are the cosines of all images with all captions, times a learned scale.
# Row i should be largest at column i (which caption fits this image?), and column i at row i (which image
# fits this caption?): two cross-entropies, with the labels 0, 1, ..., B − 1.

# %% [markdown] lang="zh"
# ## 损失
#
# 一批有 B 对图文，logits 是所有图片与所有句子的余弦，再乘一个可学习的系数。第 i 行应在第 i 列最大（这张图配哪句话？），第 i
# 列也应在第 i 行最大（这句话配哪张图？）：两个交叉熵，标签就是 0, 1, …, B − 1。


# %%
def contrastive_loss(images: Tensor, texts: Tensor, scale: float) -> Tensor:
    """images, texts (B, E), normalized."""
    logits = scale * images @ texts.T  # (B, B)
    targets = torch.arange(len(logits))
    rows = nn.functional.cross_entropy(logits, targets)
    columns = nn.functional.cross_entropy(logits.T, targets)
    return (rows + columns) / 2


embeddings = nn.functional.normalize(torch.randn(8, 16), dim=1)
print("matched:   ", contrastive_loss(embeddings, embeddings, 20.0).item())
print("mismatched:", contrastive_loss(embeddings.roll(1, 0), embeddings, 20.0).item())

# %% [markdown] lang="en"
# ## Captions
#
# A caption is a template filled with a name and one more word, light or dark, that comes from the picture.
# A batch has one image of each class, light or dark, so that no two captions of a batch are equal: equal
# captions would be called mismatched although they match.

# %% [markdown] lang="zh"
# ## 文字说明
#
# 每句说明由模板、类别名和一个从图片里量出来的词（light 或 dark）组成。一个 batch 里每个类别各取一张，明暗随机，所以句子互不相同；
# 如果有两句相同，损失就会把其实匹配的一对当成不匹配。

# %%
NAMES = [name.lower().replace("/", " or ") for name in train.labels]
TEMPLATES = ("a photo of a {tone} {name}", "this {name} is {tone}", "a {tone} {name}")


def tones(images: Tensor) -> list[str]:
    """Whether the garment is light or dark, from the mean of what is not black."""
    means = [image[image > 20].float().mean().item() for image in images]
    return ["light" if mean > 128 else "dark" for mean in means]


def captions(images: Tensor, classes: Tensor) -> list[str]:
    """One caption per image."""
    chosen = torch.randint(len(TEMPLATES), (len(images),))
    words = zip(chosen, tones(images), classes, strict=True)
    return [TEMPLATES[t].format(tone=tone, name=NAMES[c]) for t, tone, c in words]


by_class = [torch.nonzero(labels == c).flatten() for c in range(10)]


def draw(repeat: int) -> Tensor:
    """Indices of one image of each class, repeat times, (repeat, 10)."""
    return torch.stack([rows[torch.randint(len(rows), (repeat,))] for rows in by_class], dim=1)


example = draw(1)[0]
print(captions(train.images[example], labels[example])[:4])


# %% [markdown] lang="en"
# ## Two towers
#
# A ViT for images, a small transformer for words. A vocabulary of whole words is enough here; CLIP's own
# tokenizer cuts rare words into parts. The text's feature is that of its *last* token, because under a
# causal mask only the last one has seen the whole sentence.

# %% [markdown] lang="zh"
# ## 两座塔
#
# 图片用 ViT，文字用一个小 transformer。这里词表直接用整词，CLIP 自己的 tokenizer 会把少见的词切开。文本特征取*最后一个*
# token：在因果掩码下，只有它看过整句话。


# %%
class Words:
    """Texts to ids (B, L), 0 for padding, 1 for the end of a text."""

    def __init__(self, texts: list[str], context: int = 10) -> None:
        words = sorted({word for text in texts for word in text.split()})
        self.ids = {word: number for number, word in enumerate(words, 2)}
        self.vocabulary, self.context, self.end = len(words) + 2, context, len(words) + 1
        self.ids["<end>"] = self.end
        self.vocabulary += 1

    def __call__(self, texts: list[str]) -> Tensor:
        rows = [[self.ids.get(w, 0) for w in text.split()][: self.context - 1] for text in texts]
        full = [row + [self.end] + [0] * (self.context - 1 - len(row)) for row in rows]
        return torch.tensor(full)


every = [
    t.format(tone=tone, name=n) for t in TEMPLATES for tone in ("light", "dark") for n in NAMES
]
backbone = vitrail.ViT(
    image_size=28, patch_size=7, num_classes=0, dim=64, depth=3, heads=4, mlp_dim=128, channels=1
)
clip = vitrail.methods.CLIP(
    backbone, Words(every), embed_dim=32, text_dim=48, text_depth=2, text_heads=4
)


def normalize(images: Tensor) -> Tensor:
    """Bytes (B, 1, 28, 28) to numbers with mean 0 and variance 1 over the training images."""
    return (images.float() / 255 - 0.286) / 0.353


# %%
STEPS = 600
optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=STEPS, pct_start=0.1)
losses, start = [], time.time()
for step in range(STEPS):
    index = draw(8)  # eight groups of ten different captions
    loss = torch.zeros(())
    for group in index:
        logits = clip.logits(
            normalize(train.images[group]), captions(train.images[group], labels[group])
        )
        targets = torch.arange(len(group))
        rows = nn.functional.cross_entropy(logits, targets)
        loss = loss + (rows + nn.functional.cross_entropy(logits.T, targets)) / 2 / len(index)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
    if step % 150 == 149:
        print(f"step {step + 1}: loss {sum(losses[-50:]) / 50:.3f}, {time.time() - start:.0f} s")

# %% [markdown] lang="en"
# ## Asked with new sentences
#
# "a picture with a {name}" was no caption ("picture" and "with" are not even in the vocabulary), yet the
# word for the class is. The prediction is the sentence with the largest cosine. And one question that no
# label answers: light or dark?

# %% [markdown] lang="zh"
# ## 用新句子提问
#
# 训练里没有 “a picture with a {name}” 这种说法（picture、with 连词表里都没有），但类别名见过。余弦最大的那句话就是预测。
# 还可以问一个标签回答不了的问题：浅色还是深色？

# %%
clip.eval()
judged = test.images[:2000]
with torch.no_grad():
    cosines = clip.similarity(normalize(judged), [f"a picture with a {name}" for name in NAMES])
    accuracy = (cosines.argmax(1) == test_labels[:2000]).float().mean().item()
    light = clip.similarity(normalize(judged), ["a light one", "a dark one"]).argmax(1)
true_light = torch.tensor([tone == "dark" for tone in tones(judged)]).long()
print(f"ten classes, by sentences: {accuracy:.1%}")
print(f"light or dark: {(light == true_light).float().mean():.1%}")
assert accuracy > 0.5

# %%
few = judged[:8]
with torch.no_grad():
    matrix = clip.similarity(normalize(few), [f"a {name}" for name in NAMES])
figure, (axis, pictures) = plt.subplots(2, 1, figsize=(7, 5), height_ratios=(5, 1))
heat_map = axis.imshow(matrix.T, cmap="viridis", aspect="auto")
axis.set_yticks(range(10), [f"a {name}" for name in NAMES], fontsize=8)
axis.set_xticks([])
figure.colorbar(heat_map, ax=axis, label="cosine")
pictures.imshow(torch.cat(list(few[:, 0]), dim=1), cmap="gray", aspect="auto")
pictures.axis("off")
plt.show()

# %% [markdown] lang="en"
# Exercises: leave one class out of training and ask for it (a small model has no way to know a word that
# it never saw: zero-shot needs large data); read the first token of the text instead of the last; give
# the captions of a batch out of order and watch the loss stay at ln 10.

# %% [markdown] lang="zh"
# 练习：训练时去掉一个类别，再去问它（小模型没法知道从没见过的词，零样本靠的是大数据）；把文本特征换成第一个 token；把一个
# batch 的句子打乱，看损失停在 ln 10。
