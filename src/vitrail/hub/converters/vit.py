"""ViT, DeiT, DeiT III and DINOv2 in timm and in transformers: one network by several names."""

from typing import Any

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, Timm, Transformers
from vitrail.hub.converters.from_transformers import shape_keywords
from vitrail.hub.rename import Rules, Tensors, fuse_qkv
from vitrail.models.base import Backbone
from vitrail.models.deit import DeiT
from vitrail.models.vit import ViT

# timm

TIMM_RULES: Rules = [
    (r"cls_token", "class_token.weight"),
    (r"dist_token", "distillation_token.weight"),
    (r"reg_token|register_tokens", "registers.weight"),
    (r"pos_embed", "position.weight"),
    (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
    (r"blocks\.(\d+)\.attn\.(qkv|proj|q_norm|k_norm)\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (r"blocks\.(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)\.(weight|bias)", r"blocks.\1.\2.\3"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"blocks.\1.scale\2.gamma"),
    (r"fc_norm\.(weight|bias)", r"pool_norm.\1"),
    (r"(norm|head)\.(weight|bias)", r"\1.\2"),
]
# What serves the pretraining of DINOv2 and MAE only, in their authors' files.
PRETRAINING = (r"mask_token", r"decoder_.*")
# Width, depth and heads by the names of the sizes.
SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}


def _architectures(
    name: str, sizes: str, patch: int, image_sizes: str, **more: Any
) -> dict[str, Any]:
    """Keywords by the names that a pattern gives. timm resamples positions with antialiasing."""
    architectures = {}
    for size in sizes.split():
        dim, depth, heads = SIZES[size]
        for image_size in image_sizes.split():
            architectures[name.format(size=size, patch=patch, image=image_size)] = {
                "image_size": int(image_size), "patch_size": patch, "dim": dim, "depth": depth,
                "heads": heads, "mlp_dim": 4 * dim, "antialias": True,
                **more,
            }  # fmt: skip
    return architectures


VIT = "vit_{size}_patch{patch}_{image}"
DEIT, DISTILLED = "deit_{size}_patch{patch}_{image}", "deit_{size}_distilled_patch{patch}_{image}"
DEIT3 = "deit3_{size}_patch{patch}_{image}"
GAP = "vit_{size}_patch{patch}_gap_{image}"
GAP_REGISTERS = "vit_{size}_patch{patch}_reg4_gap_{image}"
DINOV2, REGISTERS = "vit_{size}_patch{patch}_dinov2", "vit_{size}_patch{patch}_reg4_dinov2"


def _read_timm(config: Config, weights: Tensors) -> dict[str, Any]:
    """Keywords that the weights of a ViT show, which a configuration of timm may leave unsaid."""
    name, pool = config["architecture"], config.get("global_pool", "token")
    class_token = "class_token.weight" in weights
    if pool not in ("avg", "token" if class_token else "avg"):
        raise LoadError(
            f"timm's {name!r} pools by {pool!r} {'with' if class_token else 'without'} a class "
            "token, which is not supported."
        )
    height, width = _image_size(config)
    patch = weights["patch_embed.weight"].shape[2:]
    prefix = weights["position.weight"].shape[1] - height // patch[0] * (width // patch[1])
    if prefix > class_token:
        raise LoadError(f"timm's {name!r} gives registers positions, which is not supported.")
    registers, gamma = weights.get("registers.weight"), weights.get("blocks.0.scale1.gamma")
    return {
        "image_size": (height, width),
        "mlp_dim": len(weights["blocks.0.mlp.fc1.weight"]),
        "pool": "cls" if pool == "token" else "mean",
        "class_token": None if class_token == (pool == "token") else class_token,
        "norm_after_pool": "pool_norm.weight" in weights,
        "class_position": prefix == 1,
        "registers": 0 if registers is None else registers.shape[1],
        "qk_norm": "blocks.0.mixer.q_norm.weight" in weights,
        "layer_scale": None if gamma is None else gamma.flatten()[0].item(),
    }


def _read_timm_distilled(config: Config, weights: Tensors) -> dict[str, Any]:
    return {
        "image_size": _image_size(config),
        "mlp_dim": len(weights["blocks.0.mlp.fc1.weight"]),
    }


def _image_size(config: Config) -> tuple[int, int]:
    size = (config.get("model_args") or {}).get("img_size", config["pretrained_cfg"]["input_size"])
    return (size, size) if isinstance(size, int) else (size[-2], size[-1])


def _no_keyword(_value: Any) -> dict[str, Any]:
    """What an argument means that the weights show: no keyword."""
    return {}


# Arguments that the weights show, or that change no output.
READ_ARGUMENTS = (
    "global_pool", "mlp_ratio", "qk_norm", "init_values", "class_token", "no_embed_class",
    "reg_tokens", "dynamic_img_size", "fc_norm",
)  # fmt: skip
TIMM = (
    Timm(
        ViT,
        rules=TIMM_RULES,
        ignored=PRETRAINING,
        arguments=dict.fromkeys(READ_ARGUMENTS, _no_keyword),
        architectures={
            **_architectures(VIT, "tiny", 16, "224 384"),
            **_architectures(VIT, "small base large", 16, "224 384"),
            **_architectures(VIT, "small base large", 32, "224 384"),
            **_architectures(VIT, "small base", 8, "224"),
            **_architectures(VIT, "large huge", 14, "224"),
            **_architectures(DEIT, "tiny small", 16, "224"),
            **_architectures(DEIT, "base", 16, "224 384"),
            **_architectures(DEIT3, "small base large", 16, "224 384"),
            **_architectures(DEIT3, "medium", 16, "224"),
            **_architectures(DEIT3, "huge", 14, "224"),
            **_architectures(DINOV2, "small base large", 14, "518"),
            **_architectures(REGISTERS, "small base large", 14, "518"),
            **_architectures(GAP, "base", 16, "224", heads=16),
            **_architectures(GAP, "huge", 14, "224"),
            **_architectures(GAP, "huge", 16, "448"),
            **_architectures(GAP_REGISTERS, "base", 16, "256"),
        },
        read=_read_timm,
    ),
    Timm(
        DeiT,
        rules=[
            (r"head\.(weight|bias)", r"head.cls.\1"),
            (r"head_dist\.(weight|bias)", r"head.dist.\1"),
            *TIMM_RULES,
        ],
        arguments=dict.fromkeys(READ_ARGUMENTS, _no_keyword),
        architectures={
            **_architectures(DISTILLED, "tiny small", 16, "224"),
            **_architectures(DISTILLED, "base", 16, "224 384"),
        },
        read=_read_timm_distilled,
    ),
)

# transformers

BASE = r"(?:vit\.|deit\.|dinov2\.|dinov2_with_registers\.|vivit\.)?"
LAYER = BASE + r"encoder\.layer\.(\d+)\."
RULES: Rules = [
    (BASE + r"embeddings\.cls_token", "class_token.weight"),
    (BASE + r"embeddings\.distillation_token", "distillation_token.weight"),
    (BASE + r"embeddings\.register_tokens", "registers.weight"),
    (BASE + r"embeddings\.position_embeddings", "position.weight"),
    (BASE + r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.\1"),
    (LAYER + r"attention\.attention\.(q)uery\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (LAYER + r"attention\.attention\.(k)ey\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (LAYER + r"attention\.attention\.(v)alue\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (LAYER + r"attention\.output\.dense\.(weight|bias)", r"blocks.\1.mixer.proj.\2"),
    (LAYER + r"(?:norm1|layernorm_before)\.(weight|bias)", r"blocks.\1.norm1.\2"),
    (LAYER + r"(?:norm2|layernorm_after)\.(weight|bias)", r"blocks.\1.norm2.\2"),
    (LAYER + r"(?:mlp\.fc1|intermediate\.dense)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (LAYER + r"(?:mlp\.fc2|output\.dense)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (LAYER + r"layer_scale([12])\.lambda1", r"blocks.\1.scale\2.gamma"),
    (BASE + r"layernorm\.(weight|bias)", r"norm.\1"),
    (r"classifier\.(weight|bias)", r"head.\1"),
    (r"cls_classifier\.(weight|bias)", r"head.cls.\1"),
    (r"distillation_classifier\.(weight|bias)", r"head.dist.\1"),
]
IGNORED = [BASE + r"pooler\.dense\.(weight|bias)", BASE + r"embeddings\.mask_token"]
EXPECTED = {"hidden_act": "gelu", "qkv_bias": True}


def _dinov2_keywords(config: Config) -> dict[str, Any]:
    keywords = shape_keywords(config)
    return {
        **keywords,
        "mlp_dim": int(keywords["dim"] * config.get("mlp_ratio", 4)),
        "layer_scale": float(config.get("layerscale_value", 1.0)),
    }


def _read_deit(_config: Config, weights: Tensors) -> dict[str, Any]:
    """One head reads the class token, two heads read a token each."""
    return {"pool": "both" if "head.cls.weight" in weights else "cls"}


def _read_dinov2(_config: Config, weights: Tensors) -> dict[str, Any]:
    """A classifier of DINOv2's reads the mean of the patches, too."""
    keywords: dict[str, Any] = {"pool": "cls_mean" if "head.weight" in weights else "cls"}
    if "registers.weight" in weights:
        keywords |= {"registers": weights["registers.weight"].shape[1], "antialias": True}
    return keywords


def _transformers(kind: str, model: type[Backbone], **more: Any) -> Transformers:
    return Transformers(kind, model, RULES, ignored=IGNORED, finish=[fuse_qkv], **more)


TRANSFORMERS = (
    _transformers("vit", ViT, keywords=shape_keywords, expected=EXPECTED),
    _transformers("deit", DeiT, keywords=shape_keywords, expected=EXPECTED, read=_read_deit),
    *(
        _transformers(
            kind,
            ViT,
            keywords=_dinov2_keywords,
            expected={**EXPECTED, "use_swiglu_ffn": False},
            read=_read_dinov2,
        )
        for kind in ("dinov2", "dinov2_with_registers")
    ),
)
