import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_


def mixed_step(
    model: nn.Module,
    optimizer,
    images: Tensor,
    labels: Tensor,
    scale: float,
    good_steps: int,
    interval: int,
) -> tuple[Tensor, float, int]:
    """Weights in float32, scale, good steps so far -> loss (), new scale, new good steps"""
    # <write>
    optimizer.zero_grad()
    # en: 1. The forward pass in bfloat16, on the device of the images.
    # zh: 1. 用 bfloat16 做前向，设备与图像相同。
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        logits = model(images)
    # en: 2. The loss in float32; the scaled loss backward.
    # zh: 2. 损失用 float32；对放大后的损失反向传播。
    loss = F.cross_entropy(logits.float(), labels)
    (loss * scale).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    # en: 3. All finite: unscale, clip to norm 1, step; `interval` good steps double the scale.
    # zh: 3. 全部有限：除回、裁剪到范数 1、更新；连续 `interval` 步后因子加倍、计数清零。
    if all(gradient.isfinite().all() for gradient in gradients):
        for gradient in gradients:
            gradient /= scale
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        good_steps += 1
        if good_steps == interval:
            scale, good_steps = scale * 2, 0
    # en: 4. Otherwise no step: half of the scale, and count from 0.
    # zh: 4. 否则不更新：因子减半，重新计数。
    else:
        scale, good_steps = scale / 2, 0
    return loss.detach(), scale, good_steps
    # </write>
