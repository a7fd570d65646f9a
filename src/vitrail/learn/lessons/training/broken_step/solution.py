from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_


def train_step(model: nn.Module, optimizer, images: Tensor, labels: Tensor, parts: int) -> Tensor:
    """A batch in `parts` micro-batches, gradients accumulated, one step -> mean loss ()"""
    # <write>
    # en: 1. Training mode, no gradient left from before.
    # zh: 1. 训练模式，清掉之前的梯度。
    model.train()
    optimizer.zero_grad()
    total = 0.0
    for image, label in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        # en: 2. The loss of a part counts as many images as it has.
        # zh: 2. 每一份的损失按它的图像数计入。
        loss = nn.functional.cross_entropy(model(image), label) * len(image) / len(images)
        loss.backward()
        # en: 3. The sum is kept without its graph.
        # zh: 3. 累加损失，不保留计算图。
        total = total + loss.detach()
    # en: 4. Clip the norm of the whole gradient, then one step.
    # zh: 4. 对完整的梯度做裁剪，然后更新一次。
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total
    # </write>
