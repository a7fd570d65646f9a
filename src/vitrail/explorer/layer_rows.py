"""What the page is told of the attention layers of a model, and why some have no maps."""

from collections.abc import Mapping

from vitrail.layers.mamba import Mamba
from vitrail.lens.layer_keys import LayerKey, recorded_mixers
from vitrail.lens.layouts import AttentionLayout
from vitrail.models.base import Backbone

Layouts = Mapping[LayerKey, AttentionLayout | str]


def layer_rows(model: Backbone, layouts: Layouts) -> list[dict[str, object]]:
    """A row for each layer that has maps.

    Args:
        model: the model.
        layouts: as `vitrail.lens.layouts.attention_layouts` gives them; empty without attention.

    Returns:
        Per layer its key, heads with their names, grid and prefix tokens, and whether it attends
        within windows or is a scan.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> layer_rows(model, {})
        []
    """
    mixers = recorded_mixers(model) if layouts else {}
    return [
        {
            "key": str(name),
            "heads": layout.heads,
            "names": list(mixers[name].head_names),
            "grid": list(layout.grid),
            "prefix": layout.prefix,
            "windows": layout.cells is not None,
            "scan": isinstance(mixers[name], Mamba),
        }
        for name, layout in layouts.items()
        if isinstance(layout, AttentionLayout)
    ]


def why_layers_are_missing(model: Backbone, layouts: Layouts) -> str:
    """Why layers have no maps; "" if all have.

    Args:
        model: the model.
        layouts: as in `layer_rows`.

    Returns:
        One sentence.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> why_layers_are_missing(model, {})
        'ViT has no attention.'
    """
    kind = type(model).__name__
    reasons = [reason for reason in layouts.values() if isinstance(reason, str)]
    if not layouts:
        return f"{kind} has no attention."
    if not reasons:
        return ""
    count = f"{len(reasons)} of {len(layouts)}"
    return f"{count} attention layers of this {kind} have no maps: {reasons[0]}"
