"""OpenAI's CLIP files, such as ViT-B-32.pt: TorchScript archives of both towers (github.com/openai/
CLIP). Only their tensors are read, see `vitrail.hub.torchscript`.

Their names and shapes say all: the number of heads is the width over 64, as in OpenAI's `clip/
model.py`. Files that open_clip saves under the same names are read with its open_clip_config.json,
because most of its models compute the exact GELU.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.errors import ConfigError, LoadError
from vitrail.foreign import read_json
from vitrail.hub.fitting import build, reading
from vitrail.hub.method_folder import read_tokenizer
from vitrail.hub.model_folder import load_weights
from vitrail.hub.rename import Rules, Tensors, rename
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone
from vitrail.models.clip_vit import CLIPViT
from vitrail.preprocess import Preprocess

NAME = "OpenAI's CLIP"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pixels that it was trained on
STD = (0.26862954, 0.26130258, 0.27577711)
Activation = Literal["gelu", "quick_gelu"]
HEAD_DIM = 64  # of every head of both towers
VOCABULARY = 49_408  # of OpenAI's tokenizer
TOWER, OURS = r"transformer\.resblocks\.(\d+)\.", r"blocks.\1."
BLOCK: Rules = [
    (TOWER + r"attn\.in_proj_(weight|bias)", OURS + r"mixer.qkv.\2"),
    (TOWER + r"attn\.out_proj\.(weight|bias)", OURS + r"mixer.proj.\2"),
    (TOWER + r"ln_([12])\.(weight|bias)", OURS + r"norm\2.\3"),
    (TOWER + r"mlp\.c_fc\.(weight|bias)", OURS + r"mlp.fc1.\2"),
    (TOWER + r"mlp\.c_proj\.(weight|bias)", OURS + r"mlp.fc2.\2"),
]
IMAGE_RULES: Rules = [
    (r"conv1\.weight", "patch_embed.weight"),
    (r"class_embedding", "class_token.weight"),
    (r"positional_embedding", "position.weight"),
    (r"ln_pre\.(weight|bias)", r"pre_norm.\1"),
    (r"ln_post\.(weight|bias)", r"norm.\1"),
    *BLOCK,
]
TEXT_RULES: Rules = [
    (r"token_embedding\.weight", "words.weight"),
    (r"positional_embedding", "position.weight"),
    (r"ln_final\.(weight|bias)", r"norm.\1"),
    (r"text_projection", "proj.weight"),
    *BLOCK,
]
VISUAL = "visual."
IMAGE_IGNORED = ("proj",)  # to the common space; it belongs to the method
# Numbers that the archives hold beside the weights, and a mask that follows from the context.
TEXT_IGNORED = ("logit_scale", "input_resolution", "context_length", "vocab_size", "attn_mask")


def recognizes(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of OpenAI's CLIP.

    Args:
        tensors: tensors by name.

    Returns:
        True for both towers, whatever network the image tower is.

    Example:
        >>> recognizes({"visual.conv1.weight": torch.zeros(1), "ln_final.weight": torch.zeros(1)})
        True
    """
    return "visual.conv1.weight" in tensors and "ln_final.weight" in tensors


def convert(tensors: Tensors, source: Path) -> Backbone:
    """Builds the image tower.

    Args:
        tensors: weights by OpenAI's names.
        source: the file, for errors.

    Returns:
        The model, without the projection to the common space.

    Raises:
        LoadError: the tower is a ResNet, the weights do not fit each other, or nothing says which
            GELU they are for.

    Example:
        >>> convert({"visual.layer1.0.conv1.weight": torch.zeros(1)}, Path("RN50.pt"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: RN50.pt: its image tower is no ViT, and ResNets are not supported.
    """
    own = {n.removeprefix(VISUAL): t for n, t in tensors.items() if n.startswith(VISUAL)}
    if "class_embedding" not in own:
        raise LoadError(f"{source}: its image tower is no ViT, and ResNets are not supported.")
    activation, config = _settings(tensors, source)
    weights = _renamed(own, IMAGE_RULES, IMAGE_IGNORED, source)
    with reading(source):
        weights["class_token.weight"] = weights["class_token.weight"].reshape(1, 1, -1)
        dim, channels, patch, _patch = weights["patch_embed.weight"].shape
        side = math.isqrt(len(weights["position.weight"]) - 1) * patch
        keywords: dict[str, Any] = {
            "image_size": side, "patch_size": patch, "num_classes": 0, "channels": channels,
            **_tower(weights, dim, config.get("vision_cfg", {}).get("head_width", HEAD_DIM)),
        }  # fmt: skip
        weights["position.weight"] = weights["position.weight"][None]
        model = build(CLIPViT, {**keywords, "activation": activation}, weights, source)
    load_weights(model, weights, str(source))
    model.preprocess = Preprocess((side, side), side, "bicubic", MEAN, STD)
    return model


def convert_method(tensors: Tensors, source: Path) -> CLIP:
    """Builds CLIP with both towers.

    Args:
        tensors: weights by OpenAI's names.
        source: the file, for errors. A tokenizer.json beside it is the tokenizer; without one it is
            OpenAI's, where that is installed.

    Returns:
        The method.

    Raises:
        LoadError: the image tower is a ResNet, or the weights do not fit each other.

    Example:
        >>> convert_method({}, Path("ViT-B-32.pt"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: ViT-B-32.pt: its image tower is no ViT, ...
    """
    backbone = convert(tensors, source)
    own = {name: t for name, t in tensors.items() if not name.startswith(VISUAL)}
    weights = _renamed(own, TEXT_RULES, TEXT_IGNORED, source)
    activation, config = _settings(tensors, source)
    with reading(source):
        vocabulary, dim = weights["words.weight"].shape
        sizes = {
            "vocabulary": vocabulary,
            "context": len(weights["position.weight"]),
            "end": vocabulary - 1,
        }
        heads = config.get("text_cfg", {}).get("heads", max(1, dim // HEAD_DIM))
        sizes_of_text = _tower(weights, dim, dim // heads)
        tower: dict[str, Any] = {f"text_{key}": size for key, size in sizes_of_text.items()}
        method = CLIP(
            backbone,
            _tokenizer(source.with_name("tokenizer.json"), sizes),
            embed_dim=tensors["visual.proj"].shape[1],
            text_activation=activation,
            **tower,
        )
        weights["position.weight"] = weights["position.weight"][None]
        weights["proj.weight"] = weights["proj.weight"].T
        projection, scale = tensors["visual.proj"].T, tensors["logit_scale"].reshape(())
    load_weights(method.text, weights, f"the text tower of {source}")
    load_weights(method.image_proj, {"weight": projection}, f"the projection of {source}")
    with torch.no_grad():
        method.log_scale.copy_(scale)
    return method


def _renamed(tensors: Tensors, rules: Rules, ignored: Sequence[str], source: Path) -> Tensors:
    try:
        return rename(tensors, rules, ignored)
    except LoadError as problem:
        raise LoadError(f"{source}: {problem}") from None


def _tokenizer(file: Path, sizes: Mapping[str, int]) -> Any:
    """The tokenizer in a file, or OpenAI's where it is installed; or a part that is missing."""
    if not file.is_file() and sizes["vocabulary"] == VOCABULARY:
        from vitrail.data.text import Tokenizer  # needs a library that models do not

        with contextlib.suppress(ConfigError):
            return Tokenizer.openai()
    return read_tokenizer(file, "tokenizer", sizes)


def _settings(tensors: Tensors, source: Path) -> tuple[Activation, Mapping[str, Any]]:
    """The activation, and open_clip's settings of the model; none for OpenAI's own files."""
    if "input_resolution" in tensors:
        return "quick_gelu", {}
    folder = source if source.is_dir() else source.parent
    file = folder / "open_clip_config.json"
    if not file.is_file():
        raise LoadError(
            f"{source} is no archive of OpenAI's, and nothing says which GELU its CLIP computes: "
            'write {"model_cfg": open_clip.get_model_config(NAME)} as open_clip_config.json beside '
            "it."
        )
    with reading(file):
        config = read_json(file)["model_cfg"]
        return "quick_gelu" if config.get("quick_gelu") else "gelu", config


def _tower(weights: Tensors, dim: int, head_dim: int) -> dict[str, int]:
    """Keywords of a tower, as its weights show them."""
    depths = [int(name.split(".")[1]) + 1 for name in weights if name.startswith("blocks.")]
    return {
        "dim": dim,
        "depth": max(depths),
        "heads": max(1, dim // head_dim),
        "mlp_dim": len(weights["blocks.0.mlp.fc1.weight"]),
    }
