"""`layers/packing.py` packs images of many sizes into sequences."""

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Claim, Task

IDS = torch.tensor([[0, 0, 0, 1, 1, 2, -1, -1], [0, 0, 1, 1, 1, 1, 1, 1]])


def packed(ids):
    return lambda: (*(torch.randn(len(ids), 3, ids.shape[1], 4) for _ in range(3)), ids)


def one_by_one(q, k, v, image_ids):
    """Each image by itself."""
    output = torch.zeros_like(v)
    for row, ids in enumerate(image_ids):
        for image in ids[ids >= 0].unique():
            own = (ids == image).nonzero().flatten()
            parts = (t[row : row + 1, :, own] for t in (q, k, v))
            attended = F.scaled_dot_product_attention(*parts)
            output = output.index_put(
                (torch.tensor(row), torch.arange(3)[:, None], own), attended[0]
            )
    return output


def neighbours_do_not_matter(packed_attention):
    """How the first image's output changes when the others are replaced."""
    torch.manual_seed(0)
    q, k, v, ids = packed(IDS)()
    first = packed_attention(q, k, v, ids)[0, :, :3]
    for tensor in (q, k, v):
        tensor[0, :, 3:] = 100 * torch.randn(3, 5, 4)
    return packed_attention(q, k, v, ids)[0, :, :3] - first


TASK = Task(
    subject="packed_attention",
    cases=(
        Case("three images and padding; two images", packed(IDS)),
        Case("one image alone", packed(torch.zeros(1, 5, dtype=torch.long))),
        Case("images of one token", packed(torch.tensor([[0, 1, 2, 3]]))),
    ),
    reference=one_by_one,
    claims=(
        Claim(
            "What else is in the sequence does not change an image's output.",
            "序列里的其他图像不影响某张图的输出。",
            neighbours_do_not_matter,
        ),
    ),
)
