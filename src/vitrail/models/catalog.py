"""Facts about every model: paper, tier, variants, parameters and multiply-adds."""

import functools
import json
from pathlib import Path
from typing import Literal, NamedTuple

from vitrail.models.base import Backbone
from vitrail.models.builtin_names import MODELS, MULTIPLY_ADDS
from vitrail.models.paper import Paper
from vitrail.models.registry import MODEL_REGISTRY, model_classes, variants
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone

SPEED = Path(__file__).with_name("speed.json")

Tier = Literal["sequence", "pyramid", "backbone"]


class ModelInfo(NamedTuple):
    """Facts about a model class.

    Args:
        model: the class.
        tier: see `tier_of`.
        variants: published number of parameters by the name of each variant.
        source: file or module of a class that is not Vitrail's; "" for Vitrail's.

    Example:
        >>> info = ModelInfo(vitrail.ViT, "sequence", {"vit_base_patch16_224": 86_567_656})
        >>> info.paper.year
        2020
    """

    model: type[Backbone]
    tier: Tier
    variants: dict[str, int]
    source: str = ""

    @property
    def paper(self) -> Paper:
        """The paper that a model of Vitrail is from."""
        return self.model.paper


def tier_of(model: type[Backbone]) -> Tier:
    """What methods may do to a model's patches.

    Args:
        model: a model class.

    Returns:
        "sequence" if patches may be dropped, "pyramid" if they may be masked only, "backbone" if
        neither is promised.

    Example:
        >>> tier_of(vitrail.ViT)
        'sequence'
    """
    if issubclass(model, SequenceBackbone):
        return "sequence"
    return "pyramid" if issubclass(model, PyramidBackbone) else "backbone"


def model_infos() -> list[ModelInfo]:
    """Facts about all model classes.

    Returns:
        One entry per class, sorted by the year of the paper and the name of the class; those that
        are not Vitrail's come last.

    Example:
        >>> model_infos()[0].model.__name__
        'DeiT'
    """
    infos = []
    for name, model in model_classes().items():
        own = {n: v.parameters for n, (m, v) in variants().items() if m is model}
        source = "" if name in MODELS else MODEL_REGISTRY.source(name) or "this session"
        infos.append(ModelInfo(model, tier_of(model), own, source))
    return sorted(
        infos, key=lambda i: (i.source, 0 if i.source else i.paper.year, i.model.__name__)
    )


@functools.cache
def multiply_adds() -> dict[str, int]:
    """Multiply-adds of every variant for one image, as `make docs` counted them last.

    Returns:
        Multiply-adds by the name of the variant.

    Example:
        >>> f"{multiply_adds()['deit_small_patch16_224'] / 1e9:.1f} G"
        '4.6 G'
    """
    return json.loads(MULTIPLY_ADDS.read_text("utf-8"))


class Speed(NamedTuple):
    """How long variants take for one image, in float32.

    Args:
        processor: the machine's processor.
        threads: number of threads.
        milliseconds: median time of a forward pass by the name of the variant.

    Example:
        >>> Speed("Intel Xeon", 2, {"levit_128s": 9.0}).milliseconds["levit_128s"]
        9.0
    """

    processor: str
    threads: int
    milliseconds: dict[str, float]


@functools.cache
def measured_speed() -> Speed:
    """The speed of the recommended variants, as `python -m benchmarks.recommended` measured it.

    Returns:
        The speed; variants that were not measured are missing.

    Example:
        >>> "levit_128s" in measured_speed().milliseconds
        True
    """
    return Speed(**json.loads(SPEED.read_text("utf-8")))
