"""`methods/clip.py` makes such a classifier in `CLIP.zero_shot`."""

import torch
from torch import nn

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.methods.clip import CLIP


def features(batch: int, classes: int, prompts: int, dim: int, scale: float):
    return lambda: (
        torch.randn(batch, dim) * 3,
        torch.randn(classes, prompts, dim) * (1 + torch.rand(classes, prompts, 1) * 4),
        scale,
    )


def tokenizer(texts):
    """Ids of the first letters, and an end token."""
    return torch.tensor([[*(ord(c) % 14 for c in text[:6].ljust(6)), 15] for text in texts])


tokenizer.vocabulary, tokenizer.context, tokenizer.end = 16, 7, 15


def in_the_library(zero_shot_logits):
    """Logits of a small CLIP: by the learner's function in place of `CLIP.zero_shot`."""
    torch.manual_seed(0)
    model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=1, heads=1, mlp_dim=8)
    clip = CLIP(model, tokenizer, embed_dim=4, text_dim=8, text_depth=1, text_heads=1).eval()
    templates, labels = ("a {}", "the {} here", "{}"), ("cat", "dog", "owl")
    with torch.no_grad():
        prompts = torch.stack([clip.encode_text([t.format(x) for t in templates]) for x in labels])
        images = clip.encode_image(torch.randn(5, 3, 8, 8))
        logits = zero_shot_logits(images, prompts, float(clip.log_scale.exp()))
        own = clip.zero_shot(labels, templates).directions
    return [logits, nn.functional.cosine_similarity(own, own.new_ones(1, 4)), own.norm(dim=1)]


TASK = Task(
    subject="zero_shot_logits",
    cases=(
        Case("B=3, K=4, P=2, E=8", features(3, 4, 2, 8, 100.0)),
        Case("B=1, K=2, one prompt a class", features(1, 2, 1, 5, 10.0)),
        Case("B=2, K=3, P=7, E=4", features(2, 3, 7, 4, 1.0)),
    ),
    claims=(
        Claim(
            "With a small CLIP's own embeddings the logits are those of its zero-shot classifier.",
            "用一个小 CLIP 的嵌入时，logits 应与它的零样本分类器相同。",
            in_the_library,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
