"""`methods/text_tower.py`, of one block whose MLP adds 0."""

import torch
import torch.nn.functional as F
from torch import nn

from vitrail.learn import Case, Claim, Task
from vitrail.methods.text_tower import TextTower

END = 9


def captions(*lengths: int, row: int):
    """Captions of random words, an end token, and padding with other ids."""

    def draw():
        ids = torch.randint(0, END, (len(lengths), row))
        for caption, length in zip(ids, lengths, strict=True):
            caption[length] = END
        return (ids,)

    return draw


def sizes(dim: int, heads: int, dim_out: int):
    return {
        "vocabulary": END + 1, "context": 8, "end": END, "dim": dim, "heads": heads,
        "dim_out": dim_out,
    }  # fmt: skip


NAMES = {
    "words": "words", "norm1": "blocks.0.norm1", "qkv": "blocks.0.mixer.qkv",
    "out": "blocks.0.mixer.proj", "norm": "norm", "text_proj": "proj",
}  # fmt: skip


def in_the_library(tower):
    """The learner's embeddings less those of the library's tower with the same weights."""
    torch.manual_seed(0)
    ours = tower(END + 1, 8, END, 8, 2, 6)
    theirs = TextTower(END + 1, 8, END, 8, 1, 2, 4, 6, nn.GELU)
    with torch.no_grad():
        for name, path in NAMES.items():
            theirs.get_submodule(path).load_state_dict(ours.get_submodule(name).state_dict())
        theirs.position.weight.copy_(ours.positions.view_as(theirs.position.weight))
        nn.init.zeros_(theirs.get_parameter("blocks.0.mlp.fc2.weight"))
        nn.init.zeros_(theirs.get_parameter("blocks.0.mlp.fc2.bias"))
        (ids,) = captions(3, 5, 1, row=7)()
        return ours(ids) - F.normalize(theirs(ids), dim=-1)


TASK = Task(
    subject="TextTower",
    cases=(
        Case("B=3, L=7", captions(3, 5, 1, row=7), sizes(8, 2, 6)),
        Case("B=2, L=8, one head", captions(2, 6, row=8), sizes(6, 1, 5)),
    ),
    claims=(
        Claim(
            "With the same weights, the embeddings are those of the library's tower.",
            "权重相同时，嵌入应与库中的文本塔一致。",
            in_the_library,
            stage="swap",
            tolerance=1e-5,
        ),
    ),
)
