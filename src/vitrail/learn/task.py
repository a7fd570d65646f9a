"""What a lesson's `task.py` declares: how a learner's class or function is built, called and
compared with the library's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads lessons without torch
    from torch import Tensor, nn

State = dict[str, "Tensor"]  # parameters by name


def _same(state: State) -> State:
    return state


def _whole(output: Any) -> Any:
    return output


@dataclass(frozen=True)
class Case:
    """One call of the learner's class or function.

    Args:
        about: what is special, in symbols that read alike in both languages: "B=1, N=5, D=24".
        inputs: function that draws the arguments of the call, by torch's global random numbers.
            Tensors of floating point numbers are converted to float64.
        options: of a class, keyword arguments of its constructor; of a function, of the call.

    Example:
        >>> import torch
        >>> Case("B=1", lambda: (torch.randn(1, 5, 8),), {"dim": 8}).options
        {'dim': 8}
    """

    about: str
    inputs: Callable[[], tuple[Any, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What must be true besides outputs and gradients: a figure that is measured on both sides.

    Args:
        en: the claim in English, a sentence that a learner reads when it does not hold.
        zh: the same in Chinese.
        measure: function of the learner's class or function, and then of the solution's; it returns
            numbers, tensors or nested lists of them, which must agree.
        stage: "behaviour", or "swap" for what is measured inside the library.
        tolerance: largest difference.

    Example:
        >>> claim = Claim("In eval() nothing is dropped.", "eval() 时不丢弃。", lambda cls: 1)
        >>> claim.stage
        'behaviour'
    """

    en: str
    zh: str
    measure: Callable[[Any], Any]
    stage: str = "behaviour"
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Swap:
    """A layer of one of the library's models, in whose stead the learner's is put.

    Args:
        model: function that builds the model, small.
        path: dotted path of the layer, such as "blocks.0.mixer".
        inputs: function that draws a batch for the model.
        options: of a class, keyword arguments of its constructor.
        adapt: function from the learner's module, or function, to a module that is called as the
            model calls the layer; None where that is the module itself.

    Example:
        >>> import torch, vitrail
        >>> def model():
        ...     return vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> Swap(model, "blocks.0.mixer", lambda: torch.randn(2, 3, 8, 8)).path
        'blocks.0.mixer'
    """

    model: "Callable[[], nn.Module]"
    path: str
    inputs: "Callable[[], Tensor]"
    options: Mapping[str, Any] = field(default_factory=dict)
    adapt: "Callable[[Any], nn.Module] | None" = None


@dataclass(frozen=True)
class Task:
    """How the work on a lesson is checked.

    Args:
        subject: name of the class or function that the learner writes.
        cases: calls whose results are compared.
        reference: the library's own: of a class, a function of the case's options that builds a
            module; of a function, the function. None: the lesson's solution.
        weights: function from the reference's parameters by name to the learner's; renames and
            reshapes only, because gradients take the same way.
        output: function from the reference's output to what the learner's returns.
        tolerance: largest difference of outputs and gradients in float64, relative to the largest
            number where that is above 1.
        gradients: whether gradients of inputs and parameters are compared.
        deterministic: whether training mode and a second call give the reference's output, too;
            False where something is drawn.
        dtype: whether float32 inputs must give the reference's dtype.
        meta: whether tensors that it makes must be on the device of its inputs.
        claims: what else must hold.
        swap: where it is put into a model of the library.

    Example:
        >>> check = Task("double", (Case("one", lambda: (torch.ones(1),)),), lambda x: 2 * x)
        >>> check.tolerance
        1e-10
    """

    subject: str
    cases: tuple[Case, ...]
    reference: Callable[..., Any] | None = None
    weights: Callable[[State], State] = _same
    output: Callable[[Any], Any] = _whole
    tolerance: float = 1e-10
    gradients: bool = True
    deterministic: bool = True
    dtype: bool = True
    meta: bool = True
    claims: tuple[Claim, ...] = ()
    swap: Swap | None = None


def renamed(**names: str) -> Callable[[State], State]:
    """A `Task.weights` that renames parameters.

    Args:
        names: the learner's names by the reference's, with "__" for ".".

    Returns:
        The function; parameters without a new name keep theirs.

    Example:
        >>> import torch
        >>> list(renamed(weight="proj__weight")({"weight": torch.ones(1)}))
        ['proj.weight']
    """
    table = {old.replace("__", "."): new.replace("__", ".") for old, new in names.items()}
    return lambda state: {table.get(name, name): value for name, value in state.items()}
