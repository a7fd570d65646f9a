"""Which explanations a page offers for a model."""

from collections.abc import Mapping
from importlib.util import find_spec

from vitrail.errors import how_to_install
from vitrail.lens.explanations.base import EXPLANATIONS, explains_classes
from vitrail.lens.layer_keys import LayerKey
from vitrail.lens.layouts import AttentionLayout
from vitrail.models.base import Backbone

OF_WINDOWS = ("attention", "attention_gradient")  # also where every layer has windows
OF_ATTENTION = (*OF_WINDOWS, "relevance", "rollout")
OF_PIXELS = ("integrated_gradients", "occlusion")  # minutes on a large model


def explanation_rows(
    model: Backbone, layouts: Mapping[LayerKey, AttentionLayout | str]
) -> list[dict[str, object]]:
    """The explanations that there are, and which of them this model lacks something for.

    Args:
        model: the model.
        layouts: of its attention layers, as `attention_layouts` gives them; empty for none.

    Returns:
        Per explanation its `name`; `of_class`, whether it has a target; `slow`, whether it takes
        long; and `reason`, why it cannot be used, or "".

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> {row["name"]: row["reason"] for row in explanation_rows(model, {})}["grad_cam"]
        'this ViT has no classes.'
    """
    kind = f"this {type(model).__name__}"
    of_attention = _attention_reasons(kind, list(layouts.values()))
    rows = []
    for name in EXPLANATIONS.names():
        of_class, reason = explains_classes(name), ""
        if name == "similarity":
            continue  # shown for any patch, without this
        if name in of_attention:
            reason = of_attention[name]
        elif name in OF_PIXELS and find_spec("captum") is None:
            reason = f"captum is not installed: {how_to_install('captum')}"
        elif name == "patch_logits" and model.pooled_dim != _width(model):
            reason = f"the head of {kind} reads another width than a patch has."
        if of_class and not model.num_classes:
            reason = f"{kind} has no classes."
        slow = name in OF_PIXELS
        rows.append({"name": name, "of_class": of_class, "slow": slow, "reason": reason})
    return rows


def _width(model: Backbone) -> int:
    """The channels of a patch after the last block."""
    return model.dim if isinstance(model.dim, int) else model.dim[-1]


def _attention_reasons(kind: str, layouts: list[AttentionLayout | str]) -> dict[str, str]:
    """Why the explanations by attention cannot be used, where they cannot."""
    if not layouts:
        return dict.fromkeys(OF_ATTENTION, f"{kind} has no attention.")
    with_maps = [layout for layout in layouts if isinstance(layout, AttentionLayout)]
    complete = len(with_maps) == len(layouts)
    windows = complete and all(layout.cells is not None for layout in with_maps)
    grids = {(layout.grid, layout.key_grid, layout.prefix) for layout in with_maps}
    whole = all(layout.cells is None and layout.grid == layout.key_grid for layout in with_maps)
    if complete and whole and len(grids) == 1:
        return {}
    reason = f"not every layer of {kind} attends from all tokens to all tokens."
    names = [name for name in OF_ATTENTION if not (windows and name in OF_WINDOWS)]
    return dict.fromkeys(names, reason)
