import torch
import torch.nn.functional as F
from torch import Tensor


def probe(
    make_backbone,
    make_head,
    make_optimizer,
    images: Tensor,
    labels: Tensor,
    steps: int,
    rate: float,
) -> tuple[list[float], list[Tensor], list[Tensor]]:
    """Functions that make the parts, a batch -> losses, head's weights, backbone's state"""
    # <write>
    backbone, head = make_backbone(), make_head()
    # en: Frozen: no gradient, and nothing that changes in training mode.
    # zh: 冻结：没有梯度，也没有训练模式下会变的东西。
    backbone.requires_grad_(False)
    backbone.eval()
    head.train()
    # en: One optimizer for the whole training.
    # zh: 整个训练只用一个优化器。
    optimizer = make_optimizer(head.parameters(), rate)
    losses = []
    for _step in range(steps):
        with torch.no_grad():
            features = backbone(images)
        logits = head(features)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = [parameter.detach() for parameter in head.parameters()]
    return losses, weights, [*backbone.state_dict().values()]
    # </write>
