"""`methods/beit.py` does the same around any backbone."""

import torch
import torch.nn.functional as F
from torch import nn

import vitrail
from vitrail.layers.tokens import Token
from vitrail.learn import Case, Claim, Task
from vitrail.learn.task import renamed
from vitrail.methods.base import Batch
from vitrail.methods.beit import BEiTPretraining


class Reference(nn.Module):
    """The loss of all positions, of which the visible ones count 0."""

    def __init__(self, dim: int, vocabulary: int) -> None:
        super().__init__()
        self.mask_token, self.head = Token(1, dim), nn.Linear(dim, vocabulary)

    def forward(self, patches, mask, codes, blocks):
        kept = ~mask[..., None]
        tokens = blocks(patches * kept + self.mask_token(1) * mask[..., None])
        losses = F.cross_entropy(self.head(tokens).transpose(1, 2), codes, reduction="none")
        return (losses * mask).sum() / mask.sum()


def blocks(x):
    """Attention without parameters that knows the order of the patches."""
    order = torch.arange(x.shape[1], device=x.device).to(x.dtype)
    logits = x @ x.transpose(1, 2) - 0.3 * (order[:, None] - order).abs()
    return x + logits.softmax(dim=-1) @ x


def masked(batch: int, count: int, dim: int, vocabulary: int):
    """Images of which different numbers of patches are masked."""

    def draw():
        mask = torch.rand(batch, count).argsort(dim=1) < torch.arange(1, batch + 1)[:, None]
        codes = torch.randint(vocabulary, (batch, count))
        return torch.randn(batch, count, dim), mask, codes, blocks

    return draw


def sizes(dim: int, vocabulary: int):
    return {"dim": dim, "vocabulary": vocabulary}


def in_beit(subject):
    """How far the learner's loss is from the library's, with a BEiT."""
    model = vitrail.BEiT((8, 12), 4, num_classes=0, dim=8, depth=1, heads=2, mlp_dim=16)
    codes, images = torch.randint(5, (2, 6)), torch.randn(2, 3, 8, 12)
    mask = torch.tensor([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1]]).bool()
    method = BEiTPretraining(model, lambda images: codes, vocabulary=5).eval()
    module = subject(8, 5).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.normal_(std=0.3)
        features = model.embed(images)
        empty = model.embed(torch.zeros(1, 3, 8, 12)).patches[:, :1]  # the embedding's bias
        module.mask_token.copy_(method.mask_token(1) + empty)
        module.head.load_state_dict(method.head.state_dict())

        def encode(patches):
            return model.encode(features._replace(patches=patches)).patches

        loss = method(Batch(images=images, patch_mask=mask)).loss
        return module(features.patches, mask, codes, encode) - loss


TASK = Task(
    subject="MaskedTokens",
    cases=(
        Case("B=3, N=7, D=6, vocabulary=5", masked(3, 7, 6, 5), sizes(6, 5)),
        Case("B=1, N=4, D=8, vocabulary=3", masked(1, 4, 8, 3), sizes(8, 3)),
        Case("B=4, N=5, D=4, vocabulary=9", masked(4, 5, 4, 9), sizes(4, 9)),
    ),
    reference=Reference,
    weights=renamed(mask_token__weight="mask_token"),
    claims=(
        Claim(
            "The loss is that of the library's BEiT pre-training.",
            "损失应与库中 BEiT 预训练的损失相同。",
            in_beit,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
