import torch.nn.functional as F
from torch import Tensor


def zero_shot_logits(images: Tensor, prompts: Tensor, scale: float) -> Tensor:
    """Image features (B, E), features of P prompts for each of K classes (K, P, E) -> (B, K)"""
    # <write>
    # en: 1. Every prompt's feature has length 1, so that all prompts count alike.
    # zh: 1. 每条提示词的特征归一化为单位长度，使各条提示词权重相同。
    prompts = F.normalize(prompts, dim=-1)
    # en: 2. A class is the mean of its prompts: (K, E).
    # zh: 2. 一个类别取它所有提示词的平均：(K, E)。
    classes = prompts.mean(dim=1)
    # en: 3. The mean is shorter than 1: normalize again.
    # zh: 3. 平均之后长度小于 1，要再归一化一次。
    classes = F.normalize(classes, dim=-1)
    # en: 4. Cosines with the images, times the scale.
    # zh: 4. 与图像的余弦相似度，乘以缩放系数。
    images = F.normalize(images, dim=-1)
    return scale * images @ classes.T
    # </write>
