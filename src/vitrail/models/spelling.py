"""What a model's name that is none of ours may mean."""

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable

from vitrail.errors import suggest

SIZES = {"ti": "tiny", "t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge",
         "g": "giant"}  # fmt: skip
CONVOLUTIONAL = ("resnet", "resnext", "convnext", "efficientnet", "mobilenet", "vgg", "densenet",
                 "regnet", "inception", "alexnet")  # fmt: skip


def words_of(name: str) -> list[str]:
    """The parts of a model's name, as timm spells them.

    Args:
        name: a name in any library's spelling, with or without an organization.

    Returns:
        Lower-case words; sizes are written out, and a patch size has "patch" before it.

    Example:
        >>> words_of("google/ViT-B/16"), words_of("dinov2_vits14")
        (['vit', 'base', 'patch16'], ['dinov2', 'small', 'patch14'])
    """
    name = re.sub(r"^[\w.-]+/(?=[A-Za-z]{2})", "", name).lower()
    name = re.sub(r"(dinov\d)_vit([a-z])", r"\1_\2", name).replace("dino_vit", "vit_")
    words = []
    for word in re.findall(r"[a-z]+\d*|\d+", name):
        letters, number = re.fullmatch(r"([a-z]*)(\d*)", word).groups()  # type: ignore[union-attr]
        if letters in SIZES:
            words += [SIZES[letters], *[f"patch{number}"] * bool(number)]
        elif not letters:
            words.append(f"patch{number}" if len(number) < 3 else number)
        else:
            words.append(word)
    return words


def similar_names(name: str, names: Iterable[str]) -> list[str]:
    """The names that have all the parts of another spelling.

    Args:
        name: a name in any library's spelling.
        names: the names that exist.

    Returns:
        Those that fit, the shortest first, without regard to the patch size if none has it; empty
        if none fits.

    Example:
        >>> similar_names("ViT-B/16", ["vim_base", "vit_base_patch16_224", "deit_base_patch16_224"])
        ['vit_base_patch16_224']
    """
    words = words_of(name)
    parts_of = {other: other.split("_") for other in names}
    for parts in (words, [word for word in words if not word.startswith("patch")]):
        fits = [
            other
            for other, theirs in parts_of.items()
            if parts and all(any(part.startswith(word) for part in theirs) for word in parts)
        ]
        if fits:
            return sorted(fits, key=lambda x: (not x.startswith(parts[0]), len(x), x))
    return []


def is_convolutional(name: str) -> bool:
    """Whether a name is that of a well-known convolutional network.

    Args:
        name: a name in any library's spelling.

    Returns:
        Whether it is.

    Example:
        >>> is_convolutional("resnet50"), is_convolutional("vit_base")
        (True, False)
    """
    return any(word.startswith(CONVOLUTIONAL) for word in words_of(name))


def suggest_model(name: str, variants: Collection[str], classes: Collection[str]) -> str:
    """What an unknown name may mean.

    Args:
        name: a name that no model has.
        variants: the names of variants.
        classes: the names of model classes.

    Returns:
        A sentence with a leading space: the variants that fit, or the most similar name.

    Example:
        >>> suggest_model("swin_tiny", ["swin_tiny_patch4_window7_224"], ["Swin"])
        ' It may mean swin_tiny_patch4_window7_224.'
    """
    if is_convolutional(name):
        return " It is a convolutional network: Vitrail has vision transformers and Vision Mamba."
    is_hub_id = re.match(r"[\w.-]+/[A-Za-z]{2}", name)  # "ViT-B/16" is none
    hub = f" A Hub id is read by vitrail.load({name!r})." if is_hub_id else ""
    same = [c for c in classes if c != name and c.lower() == name.lower()]
    longer = sorted(fnmatch.filter(variants, f"{name.lower()}_*"), key=len)
    fits = [*same, *(longer or similar_names(name.partition(".")[0], variants))]
    if len(fits) > 4:
        rest = f'vitrail.list_models("{name.lower()}_*")' if longer else "vitrail.list_models()"
        return (
            f"{hub} It may mean {', '.join(fits[:3])} or {len(fits) - 3} others: {rest} names them."
        )
    if fits:
        return f"{hub} It may mean {' or '.join(fits)}."
    names = [*variants, *classes]
    families = {other: other.partition("_")[0].lower() for other in names}
    family = name.lower().partition("_")[0]
    near = difflib.get_close_matches(family, families.values(), n=3)
    count = len(name.split("_"))
    stems = {stem for other in variants if (stem := "_".join(other.split("_")[:count])) != other}
    for stem in difflib.get_close_matches(name.lower(), [*stems, *variants], n=1, cutoff=0.8):
        if stem in stems and stem != name:
            return suggest_model(stem, variants, classes)  # vit_tinny: vit_tiny
    nearest = hub or suggest(name, [other for other in names if families[other] in near])
    return f"{nearest} vitrail.list_models() names all {len(variants)} variants."
