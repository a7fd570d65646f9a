"""What the model answers for a picture, and what it would answer after each block."""

import torch
from torch import Tensor

from vitrail.errors import VitrailError
from vitrail.lens.explanations.patch_logits import logit_lens
from vitrail.models.base import Backbone
from vitrail.models.tiers import PyramidBackbone

PREDICTIONS = 5  # classes that are listed


def prediction_rows(model: Backbone, logits: Tensor) -> list[dict[str, object]]:
    """The likeliest classes, the first first; of outputs that are numbers, the first few.

    Args:
        model: the model.
        logits: (1, classes).

    Returns:
        Per class its `index`, `label` and `value`, a probability or the number.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> prediction_rows(model, torch.tensor([[0.0, 0.0]]))[0]["value"]
        0.5
    """
    if not model.num_classes:
        return []
    values = model.outputs.activate(logits.float())[0]
    order = values.argsort(descending=True)
    if model.outputs.target == "numbers":
        order = torch.arange(len(values))
    return [
        {"index": i, "label": class_label(model, i), "value": values[i].item()}
        for i in order[:PREDICTIONS].tolist()
    ]


def lens_values(model: Backbone, inputs: Tensor) -> dict[str, object]:
    """Outputs after each block, of the final classes and of those that lead in between.

    Args:
        model: the model, in evaluation mode.
        inputs: one normalized image (1, C, H, W).

    Returns:
        `classes`, their `labels` and `values` (blocks, classes); or the `reason` why there are
        none.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=2, mlp_dim=8).eval()
        >>> len(lens_values(model, torch.zeros(1, 3, 8, 8))["values"])
        3
    """
    try:
        logits = logit_lens(model, inputs)[:, 0].float()
    except VitrailError as problem:
        if isinstance(model, PyramidBackbone):
            kind = type(model).__name__
            return {"reason": f"the stages of a {kind} have widths of their own."}
        return {"reason": str(problem)}
    values = model.outputs.activate(logits)
    final = values[-1].argsort(descending=True)[:PREDICTIONS].tolist()
    leaders = values.argmax(1).tolist()
    classes = list(dict.fromkeys([*final, *leaders]))
    labels = [class_label(model, i) for i in classes]
    return {"classes": classes, "labels": labels, "values": values[:, classes].tolist()}


def class_label(model: Backbone, index: int) -> str:
    """The name of a class, or its index where classes have no names.

    Args:
        model: the model.
        index: index of the class.

    Returns:
        The label.

    Example:
        >>> class_label(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8), 1)
        '1'
    """
    return model.labels[index] if model.labels else str(index)
