import torch
import torch.nn.functional as F
from torch import Tensor, nn


def evaluate(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Model, batches of images and labels -> accuracy, mean loss over all images"""
    # <write>
    # en: Evaluation leaves no trace: no graph, no statistics, the mode as it was.
    # zh: 评估不留痕迹：没有计算图，不更新统计量，模式恢复原样。
    mode = model.training
    model.eval()
    right, total, loss = 0, 0, 0.0
    with torch.no_grad():
        for images, labels in batches:
            logits = model(images)
            # en: Sums over images; divided once, at the end.
            # zh: 对图像求和，最后只除一次。
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=1) == labels).sum().item()
            total += len(labels)
    model.train(mode)
    return right / total, loss / total
    # </write>
