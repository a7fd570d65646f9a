"""Which model for which purpose. Every reason is a fact about the model that a test checks."""

from typing import NamedTuple

from vitrail.errors import check_choice


class Purpose(NamedTuple):
    """A purpose, and what fits it.

    Args:
        summary: what is asked for, one line.
        reasons: why each fits, by the name of the variant or method; the best known choice first.
        limits: what was not measured, one line.

    Example:
        >>> Purpose("A phone.", {"mobilevit_xxs": "It is small."}, "Time on a phone.").summary
        'A phone.'
    """

    summary: str
    reasons: dict[str, str]
    limits: str


MODEL_PURPOSES = {
    "small-data": Purpose(
        "Few labelled images: published weights to start from, or convolutions beside attention.",
        {
            "dinov2_small": "Published weights, pretrained without labels: for k-NN and probes.",
            "deit_tiny_distilled_patch16_224": (
                "Published weights, pretrained on ImageNet alone; it can learn from a teacher."
            ),
            "mobilevit_s": "Published weights; its small version is the most accurate of the zoo.",
            "nest_tiny_jx": (
                "Published weights; its small version is the fastest of the zoo to train among "
                "those more accurate than ViT."
            ),
            "sl_vit_patch8_64": "Made for training from scratch on few images of 64 pixels.",
            "cct_7_3x1_32": "Made for training from scratch on few images of 32 pixels.",
        },
        "Models were compared from scratch on 60,000 images only, with one seed; SmallViT and CCT, "
        "trained for fewer epochs, were less accurate than ViT there.",
    ),
    "edge": Purpose(
        "Phones and small computers: at most 10 M parameters and 1.3 G multiply-adds.",
        {
            "levit_128s": "The fewest multiply-adds of all with published weights.",
            "mobilevit_xxs": "The fewest parameters of all with published weights.",
            "pvt_v2_b0": "Four stages of strides 4 to 32: for detection on a small computer, too.",
            "xcit_nano_12_p16_224": "Linear in the number of tokens: for larger images, too.",
            "vit_tiny_patch16_224": "A sequence: every method can pretrain it on your own images.",
        },
        "Time was measured on server processors, not on phones.",
    ),
    "detection": Purpose(
        "Detection and segmentation: feature maps of strides 4, 8, 16 and 32.",
        {
            "swin_tiny_patch4_window7_224": (
                "Attention in windows: linear in the number of pixels, for large images."
            ),
            "twins_svt_small": (
                "The fewest multiply-adds of those with published weights and 20 M to 40 M "
                "parameters."
            ),
            "pvt_v2_b2": "Patches overlap, and images of any size are accepted.",
            "maxvit_tiny_tf_512": "Published weights for images of 512 pixels.",
            "pvt_v2_b0": "The smallest of these: for small computers.",
        },
        "No detector was trained: these are backbones, their maps go into another library's heads.",
    ),
    "video": Purpose(
        "Videos and volumes; ViT and SimpleViT take them too: image_size=(frames, height, width).",
        {
            "vivit_base_patch16x2_224": "The only one with published weights, of Kinetics-400.",
            "vivit_base_patch16x2_224_factorised_encoder": (
                "The fewest multiply-adds: first space within a frame, then time."
            ),
            "vivit_base_patch16x2_224_factorised_attention": (
                "Space and time in turn in every block, for fewer multiply-adds than jointly."
            ),
        },
        "No video was trained on; small models of three axes were, on hyperspectral cubes.",
    ),
    "long-sequences": Purpose(
        "Large images and small patches: multiply-adds grow linearly with the number of tokens.",
        {
            "vim_tiny": "A sequence with published weights: scans instead of attention.",
            "xcit_tiny_12_p16_224": "Published weights; attention between channels, not tokens.",
            "vit_performer_small_patch16_224": (
                "A sequence with random features for attention; no published weights."
            ),
            "swin_tiny_patch4_window7_224": "A pyramid with published weights: windows.",
            "pvt_v2_b2_li": "A pyramid with published weights: keys pooled to a fixed number.",
        },
        "Time at many sizes was measured for vim_tiny beside DeiT-Ti only, on a CPU.",
    ),
}


def names_for(purpose: str, purposes: dict[str, Purpose]) -> list[str]:
    """The names that fit a purpose.

    Args:
        purpose: name of a purpose.
        purposes: the table that has it, `MODEL_PURPOSES` or that of the methods.

    Returns:
        Names of variants or methods, the best known choice first.

    Raises:
        ConfigError: there is no such purpose; the message lists all.

    Example:
        >>> names_for("edge", MODEL_PURPOSES)[0]
        'levit_128s'
    """
    check_choice("purpose", purpose, tuple(purposes))
    return list(purposes[purpose].reasons)
