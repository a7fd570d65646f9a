from collections.abc import Callable

import torch
from torch import Tensor


def deletion(
    model: Callable[[Tensor], Tensor], image: Tensor, heat: Tensor, target: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Image (C, H, W), heat (rows, columns), model: image -> probabilities (K,)
    -> the target's probability after each step (steps + 1,), and the area under it ()
    """
    # <write>
    rows, columns = heat.shape
    cells = rows * columns
    # en: 1. The rank of every cell, 0 for the hottest: (cells,).
    # zh: 1. 每格的名次，最热的为 0：(cells,)。
    order = heat.flatten().argsort(descending=True)
    rank = order.argsort()
    # en: 2. For s = 0 ... steps: the cells still there when round(s / steps * cells) are gone.
    # zh: 2. 对 s = 0 … steps：删掉 round(s / steps * cells) 格之后，哪些格子还在。
    curve = []
    for s in range(steps + 1):
        count = round(s / steps * cells)
        keep = (rank >= count).view(rows, columns)
        # en: 3. The same for pixels (H, W): every cell covers H / rows x W / columns of them.
        # zh: 3. 换成像素 (H, W)：每格覆盖 H / rows x W / columns 个像素。
        pixels = keep.repeat_interleave(image.shape[1] // rows, dim=0)
        pixels = pixels.repeat_interleave(image.shape[2] // columns, dim=1)
        # en: 4. Removed pixels are 0; the target's probability of what is left.
        # zh: 4. 被删的像素置 0；对剩下的图像求目标类的概率。
        curve.append(model(image * pixels)[target])
    curve = torch.stack(curve)
    # en: 5. The area by trapezoids, over fractions from 0 to 1.
    # zh: 5. 用梯形法求面积，横轴是 0 到 1 的比例。
    area = (curve[:-1] + curve[1:]).sum() / (2 * steps)
    return curve, area
    # </write>
