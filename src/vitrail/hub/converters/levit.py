"""LeViT in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors, normed
from vitrail.models.base import Backbone
from vitrail.models.levit import LeViT, LeViTAttention


def _split_queries(tensors: Tensors, model: Backbone) -> Tensors:
    """Splits timm's joint projection, head by head, into queries and the rest."""
    split = dict(tensors)
    for path, module in model.named_modules():
        if isinstance(module, LeViTAttention):
            for name in [n for n in tensors if n.startswith(f"{path}.qkv.")]:
                tensor = split.pop(name)
                q = kv = tensor
                if tensor.ndim:  # all but the number of batches that a batch norm counts
                    rows = tensor.unflatten(0, (module.heads, -1))
                    q, kv = rows.tensor_split([module.key_dim], dim=1)
                    q, kv = q.flatten(0, 1), kv.flatten(0, 1)
                split[name.replace("qkv", "q")], split[name.replace("qkv", "kv")] = q, kv
    return split


STAGE = r"stages\.(\d)\."
BLOCKS = [  # timm's block, its attention there, the block here
    (STAGE + r"downsample\.", "attn_downsample", r"blocks.\1.downsample."),
    (STAGE + r"blocks\.(\d)\.", "attn", r"blocks.\1.blocks.\2."),
]
LAYERS = {r"qkv": "qkv", r"q\.ln": "q", r"kv": "kv", r"proj\.ln": "proj"}
TIMM = Timm(
    LeViT,
    rules=[
        *(rule for i in range(4) for rule in normed(rf"stem\.conv{i + 1}", f"stem.{i}", "linear")),
        *(
            rule
            for theirs, attention, ours in BLOCKS
            for rule in (
                (theirs + attention + r"\.attention_biases", ours + "attention.bias.table"),
                *normed(theirs + r"mlp\.ln1", ours + "widen", "linear", kind="linear"),
                *normed(theirs + r"mlp\.ln2", ours + "narrow", "linear", kind="linear"),
            )
        ),
        *(
            rule
            for theirs, attention, ours in BLOCKS
            for name, layer in LAYERS.items()
            for rule in normed(
                rf"{theirs}{attention}\.{name}", f"{ours}attention.{layer}", "linear", kind="linear"
            )
        ),
        (r"head\.bn\.(.*)", r"head.cls.0.\1"),
        (r"head\.linear\.(.*)", r"head.cls.1.\1"),
        (r"head_dist\.bn\.(.*)", r"head.dist.0.\1"),
        (r"head_dist\.linear\.(.*)", r"head.dist.1.\1"),
    ],
    arguments={"embed_dim": "dim", "key_dim": "key_dim", "depth": "depth", "num_heads": "heads"},
    finish=[_split_queries],
)
