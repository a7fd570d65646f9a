"""Names that transformers 5 gives weights in memory, and not in the files that it writes.

`save_pretrained` writes the names of earlier versions. A state dict that something else saved, such
as torch.save, accelerate or a sharded training, has those in memory.
"""

import re

from vitrail.hub.rename import Tensors

VIT, SWIN = r"^(?:(?!encoder\.)\w+\.)?layers\.\d+\.", r"encoder\.layers\.\d+\.blocks\.\d+\."
DINO, DECODER = r"encoder\.layer\.\d+\.", r"decoder_layers\.\d+\."
PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
RULES: list[tuple[str, str]] = [
    (r"\bshared_position_bias\.", r"encoder.relative_position_bias."),
    (rf"({VIT})relative_position_bias\.", r"\1attention.attention.relative_position_bias."),
    (rf"({SWIN})attention\.relative_position_bias\.", r"\1attention.self."),
    *(
        (rf"({block})attention\.{memory}\.", rf"\1attention.{inner}.{file}.")
        for block, inner in (
            (VIT, "attention"), (DINO, "attention"), (DECODER, "attention"), (SWIN, "self")
        )
        for memory, file in PROJECTIONS.items()
    ),
    (rf"((?:{VIT}|{DINO}|{DECODER}|{SWIN})attention)\.o_proj\.", r"\1.output.dense."),
    (rf"({VIT}|{DECODER}|{SWIN})mlp\.fc1\.", r"\1intermediate.dense."),
    (rf"({VIT}|{DECODER}|{SWIN})mlp\.fc2\.", r"\1output.dense."),
    (r"^((?:(?!encoder\.)\w+\.)?)layers\.(\d+\.(?:attention|intermediate|output|layernorm|lambda))",
     r"\1encoder.layer.\2"),
]  # fmt: skip


def names_in_files(tensors: Tensors) -> Tensors:
    """The weights by the names that transformers writes.

    Args:
        tensors: weights by either names.

    Returns:
        The same tensors; names that are in files already stay.

    Example:
        >>> list(names_in_files({"vit.layers.0.mlp.fc1.bias": torch.zeros(2)}))
        ['vit.encoder.layer.0.intermediate.dense.bias']
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RULES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
