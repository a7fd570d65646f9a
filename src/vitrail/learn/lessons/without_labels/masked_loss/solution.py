from torch import Tensor


def masked_loss(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Pixels of patches (B, N, P), true ones (B, N, P), mask (B, N), 1 where masked -> loss ()"""
    # <write>
    # en: 1. Mean and variance of the pixels of each true patch: (B, N, 1).
    # zh: 1. 每个真实 patch 内像素的均值与方差：(B, N, 1)。
    mean = targets.mean(dim=-1, keepdim=True)
    variance = targets.var(dim=-1, keepdim=True)
    # en: 2. Normalized targets; 1e-6 is added to the variance.
    # zh: 2. 归一化的目标；方差要加上 1e-6。
    targets = (targets - mean) / (variance + 1e-6).sqrt()
    # en: 3. The mean squared error of each patch: (B, N).
    # zh: 3. 每个 patch 的均方误差：(B, N)。
    errors = (predictions - targets).square().mean(dim=-1)
    # en: 4. The mean over the masked patches only.
    # zh: 4. 只对被遮住的 patch 求平均。
    return (errors * mask).sum() / mask.sum()
    # </write>
