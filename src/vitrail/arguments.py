"""The check of the arguments of functions against their annotations."""

import contextlib
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from vitrail.errors import ConfigError, suggest
from vitrail.values import check_value, convert_value, describe_annotation, describe_misfit

if TYPE_CHECKING:
    from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
Record = TypeVar("Record", bound=type)


class Axes:
    """The numbers of axes that a tensor may have, none of them empty, as metadata of `Annotated`.

    Args:
        *counts: the numbers of axes.

    Example:
        >>> torch.zeros(3, 8, 8) in Axes(3), torch.zeros(0, 8, 8) in Axes(3)
        (True, False)
        >>> Axes(3, 4)
        3 or 4 axes with real values, none of them empty
    """

    def __init__(self, *counts: int) -> None:
        self.counts = counts

    def __contains__(self, tensor: "Tensor") -> bool:
        whole = tensor.ndim in self.counts and tensor.numel() > 0
        return whole and not tensor.is_meta and not tensor.is_complex()

    def __repr__(self) -> str:
        return f"{' or '.join(map(str, self.counts))} axes with real values, none of them empty"


def checked(function: Function) -> Function:
    """A function that checks its arguments against its annotations when it is called.

    A user calls a function with what is at hand: a path in the place of a model, an array in the
    place of a tensor, text in the place of a list. The function itself then only checks what its
    annotations do not say.

    Args:
        function: a function, or a constructor.

    Returns:
        The function. It is called with values as `convert_value` returns them.

    Raises:
        ConfigError: when the function is called, a keyword is unknown or missing, or a value is not
            what its annotation allows.

    Example:
        >>> @checked
        ... def crop(size: int, names: list[str]) -> int:
        ...     return size
        >>> crop(8, "cat")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: crop: names='cat' is not a list with each entry a string.
    """

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        bound = convert_arguments(function, args, keywords)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def convert_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
) -> inspect.BoundArguments:
    """The arguments of a call, checked against the annotations of a function and converted.

    Args:
        function: a function, or a constructor.
        args: positional arguments.
        keywords: keyword arguments.

    Returns:
        The arguments, with values as `convert_value` returns them.

    Raises:
        ConfigError: a keyword is unknown or missing, or a value is not what its annotation allows.

    Example:
        >>> def crop(size: int) -> int: ...
        >>> convert_arguments(crop, (), {"size": 8}).args
        (8,)
    """
    signature, hints = _signature(function)
    try:
        bound = signature.bind(*args, **keywords)
    except TypeError as problem:
        raise ConfigError(_describe(problem, function, signature, keywords)) from None
    for name, value in bound.arguments.items():
        if name in hints:
            try:
                bound.arguments[name] = check_value(name, value, hints[name])
            except ConfigError as problem:
                cure = _cure(name, value, hints[name])
                raise ConfigError(f"{name_of(function)}: {problem}{cure}") from None
    return bound


def bind(
    owner: type, init: Callable[..., None], args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Binds the arguments of a constructor call and checks them against its annotations.

    Args:
        owner: class whose constructor is called, for its name in errors.
        init: the constructor, `self` its first parameter.
        args: positional arguments of the call, without `self`.
        keywords: keyword arguments of the call.

    Returns:
        The arguments with defaults applied and values converted: NumPy's numbers to Python's,
        lists to tuples. The first argument, `self`, is None.

    Raises:
        ConfigError: a keyword is unknown or missing, or a value is not what its annotation allows.

    Example:
        >>> from vitrail.values import PositiveInt, Rate
        >>> class Layer:
        ...     def __init__(self, dim: PositiveInt, dropout: Rate = 0.0) -> None: ...
        >>> dict(bind(Layer, Layer.__init__, (), {"dim": 8}).arguments)
        {'self': None, 'dim': 8, 'dropout': 0.0}
        >>> bind(Layer, Layer.__init__, (), {"dim": 0})
        Traceback (most recent call last):
        vitrail.errors.ConfigError: Layer: dim=0 is not a whole number of at least 1.
    """
    signature, hints = _constructor(init)
    names = [p.name for p in list(signature.parameters.values())[1:] if p.kind is not p.VAR_KEYWORD]
    open_ended = len(names) < len(signature.parameters) - 1
    for name in keywords:
        if name not in names and not open_ended:
            raise ConfigError(
                f"{owner.__name__} has no keyword {name!r}.{suggest(name, names)} "
                f"It takes: {', '.join(names)}."
            )
    try:
        bound = signature.bind(None, *args, **keywords)
    except TypeError as problem:
        raise ConfigError(f"{owner.__name__}: {problem}. {_needs(owner, signature)}") from None
    bound.apply_defaults()
    for name in names:
        if name in hints:
            try:
                bound.arguments[name] = convert_value(bound.arguments[name], hints[name])
            except ValueError:
                text = describe_misfit(name, bound.arguments[name], hints[name])
                raise ConfigError(f"{owner.__name__}: {text}") from None
    return bound


class Unchecked:
    """Metadata of `Annotated` for what a function checks itself, because it can say more.

    Example:
        >>> from typing import Annotated
        >>> @checked
        ... def crop(size: Annotated[int, Unchecked()]) -> object:
        ...     return size
        >>> crop("8")
        '8'
    """

    def __repr__(self) -> str:
        return "Unchecked()"


def checked_names(record: Record) -> Record:
    """A dataclass whose constructor says in one line what is wrong with its keywords.

    Args:
        record: the dataclass; `check_fields` checks the values.

    Returns:
        The same class.

    Raises:
        ConfigError: when it is called, a keyword is unknown or missing.

    Example:
        >>> import dataclasses
        >>> @checked_names
        ... @dataclasses.dataclass
        ... class Crop:
        ...     size: int
        >>> Crop(sice=8)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: Crop has no keyword 'sice'. Did you mean 'size'? ...
    """
    init: Callable[..., None] = vars(record)["__init__"]
    signature = inspect.signature(init)

    @functools.wraps(init)
    def call(self: object, *args: Any, **keywords: Any) -> None:
        try:
            signature.bind(self, *args, **keywords)
        except TypeError as problem:
            raise ConfigError(_describe(problem, init, signature, keywords)) from None
        init(self, *args, **keywords)

    record.__init__ = call  # type: ignore[misc]
    return record


def check_fields(record: object) -> None:
    """Checks the fields of a frozen dataclass against their annotations, in its `__post_init__`.

    Args:
        record: the dataclass; its fields become values as `convert_value` returns them.

    Raises:
        ConfigError: a value is not what its annotation allows.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True)
        ... class Crop:
        ...     size: int
        ...     __post_init__ = check_fields
        >>> Crop("8")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: size='8' is not a whole number.
    """
    for name, hint in _fields(type(record)).items():  # type: ignore[arg-type]  # object's hash
        value = getattr(record, name)
        converted = check_value(name, value, hint)
        if not isinstance(value, int | float | str):  # which later messages name as they are
            object.__setattr__(record, name, converted)


@functools.cache
def _fields(record: type) -> dict[str, Any]:
    hints = typing.get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


@functools.cache
def _signature(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """The signature, and the annotations of its named parameters that can be read."""
    signature = inspect.signature(function)
    hints = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = parameter.annotation
        if hint is parameter.empty or name == "self":
            continue
        if any(isinstance(limit, Unchecked) for limit in getattr(hint, "__metadata__", ())):
            continue
        hints[name] = hint
    return signature, hints


def _cure(name: str, value: object, hint: Any) -> str:
    """A sentence on what to give for an object: what it holds, or what returns one; or "".

    A class says by an attribute `cure` what returns its objects.
    """
    for holding in () if isinstance(value, type) else ("backbone", "model", "dataset"):
        with contextlib.suppress(Exception):  # whatever an object of the user's raises
            convert_value(inner := getattr(value, holding), hint)
            if inner is not None:
                return f" Give {name}.{holding}."
    if type(value).__module__ == "numpy" and describe_annotation(hint).startswith("a Tensor"):
        return " torch.from_numpy makes one of an array."
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    cures = [getattr(kind, "cure", "") for kind in (typing.get_args(hint) if union else (hint,))]
    return next((f" {cure}" for cure in cures if isinstance(cure, str) and cure), "")


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function as its caller writes it, for errors.

    Args:
        function: a function, a method or a constructor.

    Returns:
        The name; that of the class for its constructor and for calls of its objects.

    Example:
        >>> name_of(Axes.__init__)
        'Axes'
    """
    name = function.__qualname__
    for method in (".__init__", ".__call__", ".forward"):
        name = name.removesuffix(method)
    return name.rpartition("<locals>.")[2]


def _describe(
    problem: TypeError,
    function: Callable[..., Any],
    signature: inspect.Signature,
    keywords: dict[str, Any],
) -> str:
    """What is wrong with the keywords of a call."""
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    names = [name for name in signature.parameters if name != "self"]
    for keyword in () if inspect.Parameter.VAR_KEYWORD in kinds else keywords:
        if keyword not in names:
            return (
                f"{name_of(function)} has no keyword {keyword!r}.{suggest(keyword, names)} "
                f"It takes: {', '.join(names)}."
            )
    return f"{name_of(function)}: {problem}. help({name_of(function)}) says what each argument is."


@functools.cache
def _constructor(init: Callable[..., None]) -> tuple[inspect.Signature, dict[str, Any]]:
    return inspect.signature(init), typing.get_type_hints(init, include_extras=True)


def _needs(owner: type, signature: inspect.Signature) -> str:
    required = [p.name for p in signature.parameters.values() if p.default is p.empty][1:]
    return f"It needs {', '.join(required)}: help({owner.__name__}) says what each is."
