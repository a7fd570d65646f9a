"""What every parameter starts from, and which parameters weight decay spares."""

from torch import nn

from vitrail.layers.computed import compute_buffers


def initialize(module: nn.Module) -> None:
    """Initializes every parameter of a module in place, and computes buffers that are not saved.

    Linear layers start from a truncated normal distribution with standard deviation 0.02 and biases
    of 0; any other module from its `reset_parameters`. Children come before parents, so a module
    that sets its children's values has the last word.

    Args:
        module: any module.

    Example:
        >>> layer = nn.Linear(64, 64)
        >>> initialize(layer)
        >>> layer.bias.abs().max().item(), round(layer.weight.std().item(), 2)
        (0.0, 0.02)
    """
    for submodule in reversed(list(module.modules())):
        if isinstance(submodule, nn.Linear):
            nn.init.trunc_normal_(submodule.weight, std=0.02)
            if submodule.bias is not None:
                nn.init.zeros_(submodule.bias)
        elif callable(reset := getattr(submodule, "reset_parameters", None)):
            reset()
        compute_buffers(submodule)


def undecayed(module: nn.Module) -> set[str]:
    """Names of the parameters that weight decay spares.

    Args:
        module: any module.

    Returns:
        All vectors and scalars, and what a submodule lists in its attribute `undecayed`.

    Example:
        >>> sorted(undecayed(nn.Linear(2, 2)))
        ['bias']
    """
    names = {name for name, parameter in module.named_parameters() if parameter.ndim < 2}
    for path, submodule in module.named_modules():
        names |= {f"{path}.{name}".lstrip(".") for name in getattr(submodule, "undecayed", ())}
    return names
