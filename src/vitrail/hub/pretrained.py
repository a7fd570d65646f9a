"""Models by name, with the weights that their authors published."""

import torch

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.hub.convert import read_any
from vitrail.models.base import Backbone
from vitrail.models.purposes import MODEL_PURPOSES, names_for
from vitrail.models.registry import MODEL_REGISTRY, list_variants, new_model, variants
from vitrail.models.spelling import suggest_model
from vitrail.models.surgery import check_options, resized, with_options
from vitrail.values import Size

# Variants by the tag of timm's default weights: those of "swin_tiny_patch4_window7_224" are
# "timm/swin_tiny_patch4_window7_224.ms_in1k" on the Hub.
TIMM_TAGS = {
    "augreg2_in21k_ft_in1k": "vit_base_patch16_224",
    "augreg_in21k_ft_in1k": """
        vit_base_patch32_224 vit_large_patch16_224 vit_small_patch16_224 vit_tiny_patch16_224
    """,
    "cvnets_in1k": "mobilevit_s mobilevit_xs mobilevit_xxs",
    "fb_dist_in1k": """
        cait_m36_384 cait_m48_448 cait_s24_224 cait_s24_384 cait_s36_384 cait_xs24_384
        cait_xxs24_224 cait_xxs24_384 cait_xxs36_224 cait_xxs36_384 levit_128 levit_128s levit_192
        levit_256 levit_384 xcit_large_24_p16_384 xcit_large_24_p8_384 xcit_medium_24_p16_384
        xcit_medium_24_p8_384 xcit_nano_12_p16_384 xcit_nano_12_p8_384 xcit_small_12_p16_384
        xcit_small_12_p8_384 xcit_small_24_p16_384 xcit_small_24_p8_384 xcit_tiny_12_p16_384
        xcit_tiny_12_p8_384 xcit_tiny_24_p16_384 xcit_tiny_24_p8_384
    """,
    "fb_in1k": """
        deit_base_distilled_patch16_224 deit_base_patch16_224 deit_small_distilled_patch16_224
        deit_small_patch16_224 deit_tiny_distilled_patch16_224 deit_tiny_patch16_224
        xcit_large_24_p16_224 xcit_large_24_p8_224 xcit_medium_24_p16_224 xcit_medium_24_p8_224
        xcit_nano_12_p16_224 xcit_nano_12_p8_224 xcit_small_12_p16_224 xcit_small_12_p8_224
        xcit_small_24_p16_224 xcit_small_24_p8_224 xcit_tiny_12_p16_224 xcit_tiny_12_p8_224
        xcit_tiny_24_p16_224 xcit_tiny_24_p8_224
    """,
    "goog_in1k": "nest_base_jx nest_small_jx nest_tiny_jx",
    "in1k": """
        crossvit_15_240 crossvit_15_dagger_240 crossvit_15_dagger_408 crossvit_18_240
        crossvit_18_dagger_240 crossvit_18_dagger_408 crossvit_9_240 crossvit_9_dagger_240
        crossvit_base_240 crossvit_small_240 crossvit_tiny_240 maxvit_base_tf_224
        maxvit_base_tf_384 maxvit_base_tf_512 maxvit_large_tf_224 maxvit_large_tf_384
        maxvit_large_tf_512 maxvit_small_tf_224 maxvit_small_tf_384 maxvit_small_tf_512
        maxvit_tiny_tf_224 maxvit_tiny_tf_384 maxvit_tiny_tf_512 pit_b_224 pit_b_distilled_224
        pit_s_224 pit_s_distilled_224 pit_ti_224 pit_ti_distilled_224 pit_xs_224
        pit_xs_distilled_224 pvt_v2_b0 pvt_v2_b1 pvt_v2_b2 pvt_v2_b2_li pvt_v2_b3 pvt_v2_b4
        pvt_v2_b5 twins_pcpvt_base twins_pcpvt_large twins_pcpvt_small twins_svt_base
        twins_svt_large twins_svt_small
    """,
    "in1k_ft_in22k_in1k": "beitv2_base_patch16_224 beitv2_large_patch16_224",
    "in21k": "maxvit_xlarge_tf_224",
    "in21k_ft_in1k": "maxvit_xlarge_tf_384 maxvit_xlarge_tf_512",
    "in22k_ft_in22k_in1k": """
        beit_base_patch16_224 beit_base_patch16_384 beit_large_patch16_224 beit_large_patch16_384
        beit_large_patch16_512
    """,
    "ms_in1k": "swin_tiny_patch4_window7_224",
    "ms_in22k_ft_in1k": """
        swin_base_patch4_window12_384 swin_base_patch4_window7_224 swin_large_patch4_window12_384
        swin_large_patch4_window7_224 swin_small_patch4_window7_224
    """,
    "orig_in21k": "vit_huge_patch14_224",
    "v2_webli": """
        vit_base_patch16_siglip_224 vit_base_patch16_siglip_256 vit_base_patch16_siglip_384
        vit_base_patch16_siglip_512 vit_large_patch16_siglip_256 vit_large_patch16_siglip_384
        vit_so400m_patch14_siglip_224
    """,
    "webli": "vit_so400m_patch14_siglip_384",
}
# Ids of other names, timm's, transformers' or the authors'.
OTHER_IDS = {
    "cvt_13": "microsoft/cvt-13",
    "dinov2_small": "timm/vit_small_patch14_dinov2.lvd142m",
    "dinov2_base": "timm/vit_base_patch14_dinov2.lvd142m",
    "dinov2_large": "timm/vit_large_patch14_dinov2.lvd142m",
    "pvt_tiny": "Xrenya/pvt-tiny-224",
    "vim_tiny": "hustvl/Vim-tiny-midclstok",
    "vim_small": "hustvl/Vim-small-midclstok",
    "vim_base": "hustvl/Vim-base-midclstok",
    "vit_base_patch32_clip_quickgelu_224": "openai/clip-vit-base-patch32",
    "vivit_base_patch16x2_224": "google/vivit-b-16x2-kinetics400",
}


def published_ids() -> dict[str, str]:
    """The published weights of variants.

    Returns:
        Hub ids by the name of the variant, for each variant that has some.

    Example:
        >>> published_ids()["deit_tiny_patch16_224"]
        'timm/deit_tiny_patch16_224.fb_in1k'
    """
    by_timm = {
        name: f"timm/{name}.{tag}" for tag, names in TIMM_TAGS.items() for name in names.split()
    }
    return by_timm | OTHER_IDS


@checked
def list_models(
    pattern: str = "*", pretrained: bool = False, purpose: str | None = None
) -> list[str]:
    """Names of variants, as `create_model` takes them.

    Args:
        pattern: a shell pattern that the names match: `*` is any text, `?` any letter.
        pretrained: whether to list only those with published weights.
        purpose: "small-data", "edge", "detection", "video" or "long-sequences", to list only those
            recommended for it; `vitrail.models.purposes` has the reasons. None for all.

    Returns:
        Names, sorted, or the best known choice first if there is a purpose. Empty if none match.

    Raises:
        ConfigError: there is no such purpose; the message lists all.

    Example:
        >>> list_models("nest_small*"), list_models("nest_small*", pretrained=True)
        (['nest_small', 'nest_small_jx'], ['nest_small_jx'])
        >>> list_models(purpose="edge")[:2]
        ['levit_128s', 'mobilevit_xxs']
    """
    names = list_variants(pattern)
    if purpose is not None:
        names = [name for name in names_for(purpose, MODEL_PURPOSES) if name in names]
    return [name for name in names if name in published_ids()] if pretrained else names


@checked
def create_model(
    name: str,
    pretrained: bool = False,
    *,
    num_classes: int | None = None,
    image_size: Size | None = None,
    **keywords: object,
) -> Backbone:
    """Builds a model by name, untrained or with its published weights.

    The model carries `preprocess`: that of the weights, or for an untrained model ImageNet's.

    Args:
        name: a variant, one of `list_models()`; for an untrained model also a class, such as "ViT".
        pretrained: whether to load the published weights, from the Hub or its local cache.
        num_classes: width of the logits; None for the variant's, or that of the weights. Published
            weights get a freshly initialized head where theirs has another width.
        image_size: pixels, one number for all axes or one per axis; None for the variant's, or that
            of the weights. Positions of published weights are resampled.
        **keywords: further keywords of the constructor, which replace those of the variant. Those
            in `vitrail.models.surgery.OPTIONS`, such as `drop_path`, may change published weights.

    Returns:
        The model: in training mode, or with weights, as `vitrail.load` returns it, in evaluation
        mode.

    Raises:
        ConfigError: the name or a keyword is unknown, and the message names the nearest; a value
            is wrong, or would change what weights mean; or the variant has no published weights.
        DataError: `image_size` does not divide into patches.
        LoadError: the weights cannot be downloaded, and are not in the cache.

    Example:
        >>> model = create_model("vit_tiny_patch16_224", depth=1, num_classes=10)
        >>> model.num_classes, model.training
        (10, True)
    """
    sizes = {"num_classes": num_classes, "image_size": image_size}
    keywords |= {key: value for key, value in sizes.items() if value is not None}
    if not pretrained:
        return new_model(name, **keywords)
    ids = published_ids()
    if name not in ids:
        raise ConfigError(_no_weights(name))
    with torch.device("meta"):  # raises what is wrong with the keywords before the download
        architecture, changed = new_model(name), new_model(name, **keywords)
    options = {
        key: value
        for key, value in keywords.items()
        if key not in sizes and changed.config[key] != architecture.config[key]
    }
    check_options(options)
    model = read_any(ids[name]).eval()
    model.origin = f"{ids[name]} of the Hub"
    if image_size is not None:
        model = resized(model, image_size)
    if options:
        model = with_options(model, options)
    if num_classes is not None and num_classes != model.num_classes:
        model.reset_head(num_classes)
        model.labels = None
    return model


def _no_weights(name: str) -> str:
    """What to say of a name without weights: which variants have some, and are near."""
    ids = published_ids()
    if name not in variants():
        own = [variant for variant in ids if variants()[variant].model.__name__ == name]
        if own:
            return f"{name} is a class: name a variant that has weights, {', '.join(own)}."
        return f"no variant {name!r}.{suggest_model(name, variants(), MODEL_REGISTRY.names())}"
    model, (_, parameters) = variants()[name]
    near = sorted(
        [variant for variant in ids if variants()[variant].model is model] or ids,
        key=lambda variant: abs(variants()[variant].variant.parameters - parameters),
    )
    return (
        f"{name!r} has no published weights that Vitrail reads; these of about its size have: "
        f"{', '.join(near[:3])}."
    )
