"""Recording attention weights, and the contribution of each token to a scan's output."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.contexts import reusable
from vitrail.errors import ConfigError, TierError
from vitrail.hub.fitting import unwrapped
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.layer_keys import (
    LayerKey,
    Maps,
    layer_paths,
    recorded_mixers,
    select_layers,
    sorted_indices,
)

WeightsHook = Callable[[Tensor], None]


class _Recorders:
    """Several recorders of one mixer, called one after the other."""

    def __init__(self, recorders: Sequence[WeightsHook]) -> None:
        self.recorders = tuple(recorders)

    def __call__(self, weights: Tensor) -> None:
        for recorder in self.recorders:
            recorder(weights)


def _recorders(mixer: RecordedMixer) -> tuple[WeightsHook, ...]:
    """The recorders that are attached to a mixer."""
    if mixer.recorder is None:
        return ()
    return mixer.recorder.recorders if isinstance(mixer.recorder, _Recorders) else (mixer.recorder,)


def _attach(mixer: RecordedMixer, recorders: Sequence[WeightsHook]) -> None:
    """Makes these the recorders of a mixer."""
    mixer.recorder = (
        (recorders[0] if recorders else None) if len(recorders) < 2 else _Recorders(recorders)
    )


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile(module) or module.compile() made a module.

    Args:
        module: any module.

    Returns:
        True if it runs compiled.

    Example:
        >>> is_compiled(nn.Linear(2, 2)), is_compiled(torch.compile(nn.Linear(2, 2)))
        (False, True)
    """
    # private: the second leaves no other trace (tests/lens/test_recording_guarantees.py)
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _require_values(weights: Tensor) -> None:
    """Raises `ConfigError` for tensors of torch.func.vmap's, which end with its call."""
    # private: there is no public question. Without it what is recorded raises an internal error
    # of PyTorch's when it is read (tests/lens/test_recording_guarantees.py).
    functorch = torch._C._functorch
    while functorch.is_gradtrackingtensor(weights):
        weights = functorch.get_unwrapped(weights)
    if functorch.is_batchedtensor(weights):
        raise ConfigError(
            "nothing can be recorded within torch.func.vmap: record a call of the model on a batch."
        )


@contextlib.contextmanager
def _eagerly(model: nn.Module) -> Iterator[None]:
    """Within the context, nothing that torch.compile has compiled runs compiled.

    A compiled graph calls no recorder, and one with a recorder would compute other bits. A compiled
    function may call a model that is not compiled itself.
    """
    if any(map(is_compiled, model.modules())):
        text = "the model is compiled, and runs eagerly while it is recorded."
        warnings.warn(text, stacklevel=6)
    if "torch._dynamo" not in sys.modules or torch.compiler.is_compiling():
        yield
        return
    try:
        stance = torch.compiler.set_stance("force_eager")
    except RuntimeError:  # of a part that PyTorch's compiler leaves to Python
        raise ConfigError(
            "nothing can be recorded within what torch.compile compiles: record a call of it."
        ) from None
    with stance:
        yield


@reusable
def recording(
    model: nn.Module,
    recorder: Callable[[LayerKey, Tensor], None],
    layers: Sequence[LayerKey] | None = None,
    *,
    gradients: bool = False,
) -> Iterator[None]:
    """Within the context, every attention layer of a forward calls `recorder(key, weights)`.

    Nothing is kept, so memory holds one layer's weights at a time; `record` keeps them. Contexts
    nest, and may end in any order, also by an exception: each removes its own recorder only. A
    compiled model runs eagerly within the context, which a warning says.

    Args:
        model: the model whose layers are recorded.
        recorder: function of the layer's key (see `layer_paths`) and its weights (B, heads, N,
            N), which are detached unless `gradients`.
        layers: layers to record, as in `record`. None: all.
        gradients: as in `record`.

    Returns:
        A context manager.

    Raises:
        TierError: the model has no layer that can be recorded, or not with gradients.
        ConfigError: a layer does not exist.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> shapes = {}
        >>> with recording(model, lambda key, weights: shapes.update({key: tuple(weights.shape)})):
        ...     logits = model(torch.zeros(1, 3, 8, 8))
        >>> shapes
        {0: (1, 2, 5, 5), 1: (1, 2, 5, 5)}
    """
    inner = unwrapped(model)
    mixers = recorded_mixers(inner)

    exported = torch.compiler.is_compiling()  # then what is recorded is a part of the graph

    def for_layer(key: LayerKey) -> WeightsHook:
        def call(weights: Tensor) -> None:
            compiling = torch.compiler.is_compiling()
            if not compiling:
                _require_values(weights)
            if exported or not compiling:  # else an exporter's tensors, which have no values
                recorder(key, weights if gradients else weights.detach())

        return call

    keys = mixers if layers is None else select_layers(layers, layer_paths(inner))
    own = {mixers[key]: for_layer(key) for key in keys}
    if gradients and (fixed := [m for m in own if not m.weights_have_gradients]):
        raise TierError(
            f"the output of {type(fixed[0]).__name__} is not computed from the weights that are "
            "recorded, so they have no gradients: record without gradients."
        )
    for mixer, call in own.items():
        _attach(mixer, [*_recorders(mixer), call])
        mixer.gradient_recorders += gradients
    try:
        with _eagerly(model):
            yield
    finally:
        for mixer, call in own.items():
            _attach(mixer, [other for other in _recorders(mixer) if other is not call])
            mixer.gradient_recorders -= gradients


@checked
@reusable
def record(
    model: nn.Module,
    layers: Sequence[LayerKey] | None = None,
    heads: Sequence[int] | None = None,
    *,
    gradients: bool = False,
) -> Iterator[Maps]:
    """Records the attention weights of a model's layers, without changing its output.

    Args:
        model: the model to record, also compiled or in DistributedDataParallel.
        layers: layers to record: indices of blocks, or where keys are paths, positions among the
            layers; negative ones count from the last layer; or paths of modules. None: all.
        heads: indices of the heads to keep; negative ones count from the end. None: all.
        gradients: whether the weights are part of the graph of the output, as relevance (Chefer et
            al. 2021, https://arxiv.org/abs/2103.15679) needs: `torch.autograd.grad` of a logit
            with respect to them, or their `grad` after `backward()`. Dropout does not reach these
            gradients, and backward passes take the memory of all weights.

    Returns:
        A context manager that gives `Maps`, which every forward within the context fills with
        weights (B, heads, N, N). Row i belongs to query i; tokens are the prefix, then patches row
        by row. The last forward replaces what earlier ones recorded.

    Raises:
        TierError: the model has no layer that can be recorded, or not with gradients.
        ConfigError: a layer or a head does not exist, or heads are selected with `gradients`.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> with record(model, heads=[0]) as maps:
        ...     logits = model(torch.zeros(1, 3, 8, 8))
        >>> maps[1].shape
        torch.Size([1, 1, 5, 5])
    """
    maps = Maps(layer_paths(unwrapped(model)))
    if gradients and heads is not None:
        raise ConfigError(
            f"heads={heads} with gradients: heads are copies, which have none. Leave heads out, "
            "and select them from the gradients."
        )

    def keep(key: LayerKey, weights: Tensor) -> None:
        if heads is not None:
            weights = weights[:, sorted_indices(heads, weights.shape[1], "head")]
        if gradients and weights.requires_grad:
            weights.retain_grad()
        maps[key] = weights

    with recording(model, keep, layers, gradients=gradients):
        yield maps
