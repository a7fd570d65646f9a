"""A forward of a few images, in which the monitor looks inside a model."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from vitrail.errors import TierError
from vitrail.layers.mlp import Mlp
from vitrail.lens.health import Measures
from vitrail.lens.layer_keys import LayerKey, layer_paths, recorded_mixers
from vitrail.lens.record import recording
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.tiers import PyramidBackbone
from vitrail.train.monitor.measures import (
    attention_entropy,
    dead_share,
    effective_rank,
    head_outputs,
    one_token_share,
    outlier_share,
    self_attention_share,
)


class AttentionLayer:
    """An attention layer that the monitor looks into.

    Args:
        part: name of its block, or its path where a block has several.
        projection: the linear layer that joins its heads; None if unknown.

    Example:
        >>> AttentionLayer("block 0", nn.Linear(8, 8)).heads
        1
    """

    def __init__(self, part: str, projection: nn.Linear | None) -> None:
        self.part, self.projection = part, projection
        self.heads = 1  # until weights were recorded


def block_names(model: Backbone) -> dict[int, str]:
    """The block that each module is in.

    Args:
        model: the model.

    Returns:
        "block 0", ..., counted as in `layer_ids`, by the `id` of the module.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> block_names(model)[id(model.blocks[1].mlp)]
        'block 1'
    """
    return {
        id(module): f"block {number}"
        for number, blocks in enumerate(model.block_modules())
        for block in blocks
        for module in block.modules()
    }


def attention_layers(model: Backbone) -> dict[LayerKey, AttentionLayer]:
    """The attention layers of a model, without the scans, whose directions are no heads.

    Args:
        model: the model.

    Returns:
        Layers by the keys of `layer_paths`; empty where the model has none.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> {key: layer.part for key, layer in attention_layers(model).items()}
        {0: 'block 0', 1: 'block 1'}
    """
    try:
        paths, mixers = layer_paths(model), recorded_mixers(model)
    except TierError:
        return {}
    names = block_names(model)
    parts = {key: names.get(id(mixer), paths[key]) for key, mixer in mixers.items()}
    counts = Counter(parts.values())
    layers: dict[LayerKey, AttentionLayer] = {}
    for key, mixer in mixers.items():
        if not mixer.head_names:
            owner = model.get_submodule(paths[key].rpartition(".")[0])
            part = parts[key] if counts[parts[key]] == 1 else paths[key]
            layers[key] = AttentionLayer(part, getattr(owner, "last_linear", None))
    return layers


class Probe:
    """Looks inside a model with a forward of its own, which leaves the step of training alone.

    It sees whole images without dropout, whatever the method trains the model on. The matrix of a
    selective scan is not computed: it costs more than the forward.

    Args:
        model: the model, in evaluation mode when the probe is called.

    Example:
        >>> model = vitrail.ViT(8, 2, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> measures = Probe(model)(torch.zeros(2, 3, 8, 8))
        >>> sorted(measures)[:3], list(measures["attention_entropy"])
        (['activation_mean', 'activation_std', 'attention_entropy'], ['block 0'])
    """

    def __init__(self, model: Backbone) -> None:
        self.model = model
        self.layers = attention_layers(model)
        self.stage = "stage" if isinstance(model, PyramidBackbone) else "block"
        names = block_names(model)
        mlps = [m for m in model.modules() if isinstance(m, Mlp) and id(m) in names]
        self.activations = [(names[id(mlp)], mlp.activation) for mlp in mlps]
        self.measures: dict[str, dict[str, Tensor]] = {}

    def __call__(self, images: Tensor) -> Measures:
        """images (B, C, *size), normalized → what is measured of them."""
        self.measures = {}
        with torch.no_grad(), contextlib.ExitStack() as stack:
            if self.layers:
                stack.enter_context(recording(self.model, self._look, list(self.layers)))
            for module, hook in self._hooks():
                stack.callback(module.register_forward_pre_hook(hook).remove)
            for part, module in self.activations:
                stack.callback(module.register_forward_hook(partial(self._units, part)).remove)
            stages = self.model.intermediates(images)
        for number, features in enumerate(stages):
            self._describe(f"{self.stage} {number}", features)
        measures, self.measures = self.measures, {}
        return {
            name: {part: value.tolist() for part, value in values.items()}
            for name, values in measures.items()
        }

    def gradients(self) -> Measures:
        """Norm of the gradient of each head's part of its projection, after a backward pass."""
        norms: dict[str, float | list[float]] = {}
        for layer in self.layers.values():
            gradient = None if layer.projection is None else layer.projection.weight.grad
            if gradient is not None and gradient.shape[1] % layer.heads == 0:
                parts = gradient.float().unflatten(1, (layer.heads, -1))
                norms[layer.part] = parts.norm(dim=(0, 2)).tolist()
        return {"head_gradient": norms} if norms else {}

    def _keep(self, name: str, part: str, value: Tensor | None) -> None:
        if value is not None:
            self.measures.setdefault(name, {})[part] = value

    def _look(self, key: LayerKey, weights: Tensor) -> None:
        """Measures the attention weights of a layer."""
        layer = self.layers[key]
        layer.heads = weights.shape[1]
        self._keep("attention_entropy", layer.part, attention_entropy(weights))
        self._keep("attention_to_self", layer.part, self_attention_share(weights))
        self._keep("attention_to_one_token", layer.part, one_token_share(weights))

    def _hooks(self) -> Iterator[tuple[nn.Module, Callable[..., None]]]:
        """The projections of the heads, each with what measures its input."""
        for layer in self.layers.values():
            if layer.projection is not None:
                yield layer.projection, partial(self._heads, layer)

    def _heads(self, layer: AttentionLayer, module: nn.Linear, inputs: tuple[Tensor]) -> None:
        if inputs[0].shape[-1] % layer.heads == 0:
            sizes = head_outputs(inputs[0], module.weight, layer.heads)
            self._keep("head_output", layer.part, sizes)

    def _units(self, part: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._keep("dead_units", part, dead_share(output))

    def _describe(self, part: str, features: Features) -> None:
        """Measures the tokens after a block or a stage."""
        patches = features.patches.float()
        norms = patches.norm(dim=-1)
        self._keep("activation_mean", part, patches.mean())
        self._keep("activation_std", part, patches.std())
        self._keep("patch_norm", part, norms.mean())
        if features.prefix.shape[1]:
            self._keep("prefix_norm", part, features.prefix.float().norm(dim=-1).mean())
        self._keep("norm_outliers", part, outlier_share(norms))
        self._keep("feature_rank", part, effective_rank(patches.flatten(0, 1)))
