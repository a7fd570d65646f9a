"""Parts by name: Vitrail's, those of installed packages, and the user's own.

A part is a model, a method, a dataset, a transform, an optimizer, an explanation or a mixer. Each
kind has a `Registry`, and a decorator, `register_KIND`, that adds to it.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from vitrail.errors import ConfigError, VitrailError, suggest
from vitrail.values import convert_value, describe_annotation

Part = TypeVar("Part")
SamePart = TypeVar("SamePart")

REGISTRIES: dict[str, "Registry[Any]"] = {}  # by kind


class Registry(Generic[Part]):
    """Parts of one kind by name.

    Args:
        kind: what a part is called, such as "model". Installed packages offer theirs as entry
            points of the group `vitrail.models`.
        builtin: Vitrail's parts by name, each as "module:name", which is imported when it is used.
        base: class that every part derives from; None for functions and classes of any kind.
        arguments: names of the positional arguments that a part is called with; () for no check.
        decorator: dotted name of the function that registers a part, for error messages.

    Attributes:
        own: registered parts by name, which are not Vitrail's.
        origins: the file or the module that each of them comes from.

    Example:
        >>> norms = Registry("norm", {"layer": "torch.nn:LayerNorm"}, base=nn.Module)
        >>> norms.register("none")(nn.Identity).__name__, norms.names()
        ('Identity', ['layer', 'none'])
        >>> norms.get("layer")
        <class 'torch.nn.modules.normalization.LayerNorm'>
        >>> del REGISTRIES["norm"]
    """

    def __init__(
        self,
        kind: str,
        builtin: Mapping[str, str],
        *,
        base: type | None = None,
        arguments: tuple[str, ...] = (),
        decorator: str = "",
    ) -> None:
        self.kind, self.builtin, self.base = kind, builtin, base
        self.arguments, self.decorator = arguments, decorator or f"register_{kind}"
        self.own: dict[str, Part] = {}
        self.origins: dict[str, str] = {}
        REGISTRIES[kind] = self

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.builtin or name in self._offers()

    def names(self) -> list[str]:
        """The names of all parts, sorted."""
        return sorted({*self.builtin, *self.names_of_others()})

    def names_of_others(self) -> list[str]:
        """The names of the parts that are not Vitrail's, sorted."""
        return sorted({*self.own, *self._offers()})

    def others(self) -> dict[str, Part]:
        """The parts that are not Vitrail's, by name; of one that fails to import it warns."""
        parts: dict[str, Part] = {}
        for name in self.names_of_others():
            try:
                parts[name] = self.get(name)
            except ConfigError as problem:
                warnings.warn(str(problem))
        return parts

    def get(self, name: str) -> Part:
        """A part by its name.

        Args:
            name: one of `names()`.

        Returns:
            The part, which is imported if need be.

        Raises:
            ConfigError: there is none of that name, or the package that offers it fails.
        """
        if name not in self.own and name in self._offers():
            self._import(name, self._offers()[name])
        if name in self.own:
            return self.own[name]
        if name not in self.builtin:
            names = self.names()
            raise ConfigError(
                f"no {self.kind} {name!r}.{suggest(name, names)} There are: {', '.join(names)}."
            )
        module, _, attribute = self.builtin[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def register(self, name: str) -> Callable[[SamePart], SamePart]:
        """A decorator that adds a part.

        Args:
            name: its name. The same definition may be run again, as in a notebook.

        Returns:
            A decorator, which returns the part as it is.

        Raises:
            ConfigError: the name is no text; and when it decorates, another part has the name, or
                the part is of another kind.
        """
        if not isinstance(name, str):
            raise ConfigError(f"{self.decorator} needs a name: write @{self.decorator}('NAME').")

        def decorate(part: SamePart) -> SamePart:
            self.add(name, cast(Any, part))
            return part

        return decorate

    def add(self, name: str, part: Part, origin: str | None = None) -> None:
        """Adds a part.

        Args:
            name: its name.
            part: the part.
            origin: file or module that it comes from; None for the caller's.

        Raises:
            ConfigError: another part has the name, or the part is of another kind.
        """
        if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            raise ConfigError(
                f"{name!r} is no name of {_article(self.kind)}: take letters, digits, - and _."
            )
        self._check(name, part)
        owner = self._owner(name, part)
        if owner:
            raise ConfigError(
                f"there is {_article(self.kind)} {name!r} already, of {owner}: choose another name."
            )
        self.own[name] = part
        self.origins[name] = _caller() if origin is None else origin

    def source(self, name: str) -> str:
        """Where a part comes from.

        Args:
            name: name of a part.

        Returns:
            A file, from the working folder if it is below, or a module; "" for Vitrail's own, and
            for what was defined at a prompt or in a notebook.
        """
        return short_path(self.origins[name]) if name in self.own else ""

    def is_same(self, name: str, part: object) -> bool:
        """Whether a part is the one of a name, or an earlier run of the same definition.

        Args:
            name: a name.
            part: any object.

        Returns:
            False where there is no such name.
        """
        return name in self and _identity(self.get(name)) == _identity(part)

    def partial(self, name: str, settings: Mapping[str, Any]) -> Callable[..., Any]:
        """A part with settings filled in.

        Args:
            name: name of a part.
            settings: values of its keywords.

        Returns:
            The part, to be called with its positional arguments.

        Raises:
            ConfigError: there is no such part or keyword, or a value is not what its annotation
                allows.
        """
        part: Any = self.get(name)
        parameters = list(_signature(part).parameters.values())
        keywords = {p.name: p.annotation for p in parameters[len(self.arguments) :]}
        is_open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        values: dict[str, Any] = {}
        for key, value in settings.items():
            if key not in keywords and not is_open:
                raise ConfigError(
                    f"the {self.kind} {name!r} has no keyword {key!r}.{suggest(key, keywords)} It "
                    f"takes: {', '.join(keywords) or 'none'}."
                )
            hint = keywords.get(key, Any)
            try:
                values[key] = convert_value(value, hint)
            except ValueError:
                limit = describe_annotation(hint)
                raise ConfigError(
                    f"the {self.kind} {name!r}: {key}={value!r} is not {limit}."
                ) from None
        return functools.partial(part, **values)

    def _check(self, name: str, part: Any) -> None:
        """Raises `ConfigError` if the part is of another kind."""
        title = getattr(part, "__name__", type(part).__name__)
        if self.base is not None:
            if not (isinstance(part, type) and issubclass(part, self.base)):
                bases = ", ".join(b.__name__ for b in getattr(part, "__bases__", ())) or "no class"
                raise ConfigError(
                    f"{self.decorator}: {title} derives from {bases}, and {_article(self.kind)} "
                    f"derives from {self.base.__module__}.{self.base.__qualname__}."
                )
        elif not callable(part):
            raise ConfigError(f"{self.decorator}({name!r}): {part!r} cannot be called.")
        if self.arguments:
            try:
                inspect.signature(part).bind(*self.arguments)
            except (TypeError, ValueError) as problem:
                raise ConfigError(
                    f"{self.decorator}({name!r}): {title} cannot be called as "
                    f"{title}({', '.join(self.arguments)}): {problem}."
                ) from None

    def _owner(self, name: str, part: Any) -> str:
        """Who has the name; "" if it is free, or is that of an earlier run of the same code."""
        if name in self.builtin:
            return "Vitrail"
        if name in self.own:
            same = _identity(self.own[name]) == _identity(part)
            return "" if same else self.source(name) or "this session"
        offer = self._offers().get(name)
        same = offer is None or offer.module == getattr(part, "__module__", "")
        return "" if same else f"the package {_package(offer)}"

    def _offers(self) -> dict[str, importlib.metadata.EntryPoint]:
        """What installed packages offer, without what Vitrail has under the same name."""
        offers = entry_points(f"vitrail.{self.kind}s")
        return {name: offer for name, offer in offers.items() if name not in self.builtin}

    def _import(self, name: str, offer: importlib.metadata.EntryPoint) -> None:
        try:
            part = offer.load()
        except Exception as problem:  # whatever that package raises
            raise ConfigError(
                f"the {self.kind} {name!r} of the package {_package(offer)} cannot be imported: "
                f"{describe_exception(problem)}."
            ) from None
        if name not in self.own:  # no decorator has registered it
            self.add(name, part, offer.module)


def short_path(origin: str) -> str:
    """A file or a module as messages and runs write it.

    Args:
        origin: path of a file, or name of a module.

    Returns:
        The path from the working folder, if the file is below it; else the same.

    Example:
        >>> short_path(str(Path.cwd() / "mine.py")), short_path("package.models")
        ('mine.py', 'package.models')
    """
    with contextlib.suppress(ValueError):
        return Path(origin).relative_to(Path.cwd()).as_posix()
    return origin


def snapshot() -> Callable[[], None]:
    """Remembers what is registered.

    Returns:
        A function that makes it so again.

    Example:
        >>> restore = snapshot()
        >>> restore()
    """
    before = {kind: dict(registry.own) for kind, registry in REGISTRIES.items()}
    origins = {kind: dict(registry.origins) for kind, registry in REGISTRIES.items()}

    def restore() -> None:
        for kind, registry in REGISTRIES.items():
            registry.own = before.get(kind, {})
            registry.origins = origins.get(kind, {})

    return restore


def describe_exception(problem: BaseException) -> str:
    """An exception in one line, without a full stop.

    Args:
        problem: any exception.

    Returns:
        Its class and the first line of its message; of an error of Vitrail's the message alone.

    Example:
        >>> describe_exception(ValueError("first\\nsecond")), describe_exception(ConfigError("No."))
        ('ValueError: first', 'No')
    """
    lines = str(problem).strip().splitlines() or ["no reason given"]
    text = lines[0].rstrip(".")
    return text if isinstance(problem, VitrailError) else f"{type(problem).__name__}: {text}"


def origin_of(module: str) -> str:
    """Where a module comes from.

    Args:
        module: its name.

    Returns:
        The name of a module of a package; the path of any other file; "" for a prompt or a
        notebook.

    Example:
        >>> origin_of("vitrail.registry")
        'vitrail.registry'
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    return module if "." in module or "site-packages" in Path(file).parts else file


def _signature(part: Any) -> inspect.Signature:
    """With annotations as objects, where their names can be read."""
    try:
        return inspect.signature(part, eval_str=True)
    except NameError:
        return inspect.signature(part)


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _identity(part: Any) -> tuple[str, str]:
    return getattr(part, "__module__", ""), getattr(part, "__qualname__", repr(part))


def _caller() -> str:
    """The source of the code that registers a part: the nearest that is not Vitrail's."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("vitrail."):
        frame = frame.f_back
    return "" if frame is None else origin_of(frame.f_globals.get("__name__", ""))


def _package(offer: importlib.metadata.EntryPoint | None) -> str:
    return offer.dist.name if offer is not None and offer.dist is not None else "unknown"


@functools.cache
def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """What installed packages offer.

    Args:
        group: such as "vitrail.models".

    Returns:
        Entry points by name; of two with one name the first, with a warning.

    Example:
        >>> entry_points("vitrail.nothing")
        {}
    """
    offers: dict[str, importlib.metadata.EntryPoint] = {}
    for offer in importlib.metadata.entry_points(group=group):
        first = offers.setdefault(offer.name, offer)
        if first.value != offer.value:
            warnings.warn(
                f"{offer.name!r} of the package {_package(offer)} is left out: the package "
                f"{_package(first)} offers another {group} of that name."
            )
    return offers
