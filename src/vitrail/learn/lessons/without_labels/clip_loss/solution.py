import torch
import torch.nn.functional as F
from torch import Tensor


def clip_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Features (B, E) of images and of their captions, log of the scale () -> loss ()"""
    # <write>
    # en: 1. Embeddings of length 1.
    # zh: 1. 归一化为单位长度的嵌入。
    images = F.normalize(images, dim=-1)
    texts = F.normalize(texts, dim=-1)
    # en: 2. Cosines of all pairs, times the scale: rows are images, columns are texts, (B, B).
    # zh: 2. 所有图文对的余弦乘以缩放系数：行是图像，列是文本，(B, B)。
    logits = log_scale.exp() * images @ texts.T
    # en: 3. The caption of image i is text i.
    # zh: 3. 第 i 张图对应第 i 条文本。
    labels = torch.arange(len(images), device=images.device)
    # en: 4. Each image finds its text, each text its image; the mean of both cross-entropies.
    # zh: 4. 每张图找它的文本，每条文本找它的图；两个交叉熵取平均。
    image_loss = F.cross_entropy(logits, labels)
    text_loss = F.cross_entropy(logits.T, labels)
    return (image_loss + text_loss) / 2
    # </write>
