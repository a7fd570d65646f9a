"""Public names of a package that are imported when they are first used.

The `__init__.py` of such a package lists its names once, as imports that only type checkers and
editors run, and ends with `lazy(__name__)`, which reads the same lines when Python runs them:

    if TYPE_CHECKING:
        from vitrail.models.vit import ViT as ViT

    lazy(__name__)

So `import vitrail` is fast, and completion, `dir()`, `help()` and type checkers see every name.
"""

import ast
import importlib
import importlib.util
import sys
from importlib.abc import InspectLoader
from types import ModuleType
from typing import cast

from vitrail.errors import how_to_install
from vitrail.other_names import OBJECTS

Origin = tuple[str, str]  # the module that a name is imported from, and its name there


class LazyPackage(ModuleType):
    """A package whose public names are imported when they are first used.

    A name may be that of a submodule: `vitrail.lens.record` is the function, whether or not the
    file `lens/record.py` was imported before, and `from vitrail.lens.record import ...` reads the
    file.

    Attributes:
        origins: where each public name is imported from.

    Example:
        >>> isinstance(vitrail.lens, LazyPackage), vitrail.lens.record.__name__
        (True, 'record')
    """

    origins: dict[str, Origin]

    def __getattr__(self, name: str) -> object:
        if name not in self.origins:
            message = f"module {self.__name__!r} has no attribute {name!r}{_hint_for(name)}"
            raise AttributeError(message, name=name, obj=self)
        module, original = self.origins[name]
        try:
            if module == self.__name__:
                return importlib.import_module(f"{module}.{name}")
            value = getattr(importlib.import_module(module), original)
        except ModuleNotFoundError as problem:
            if (problem.name or "vitrail").partition(".")[0] == "vitrail":
                raise
            package = (problem.name or "").partition(".")[0]
            cure = f"{self.__name__}.{name} needs {package}: {how_to_install(package)}"
            raise ModuleNotFoundError(cure, name=problem.name) from None
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Python sets a submodule that it has imported on its package. A public name keeps its
        # meaning.
        is_submodule = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if not is_submodule or self.origins.get(name, (self.__name__,))[0] == self.__name__:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(vars(self)["__all__"])


def lazy(package: str) -> None:
    """Makes a package import its public names when they are first used.

    Args:
        package: the package's `__name__`; called on the last line of its `__init__.py`.

    Example:
        >>> "ViT" in dir(vitrail.models)
        True
    """
    module = sys.modules[package]
    vars(module)["origins"] = read_origins(package)
    vars(module)["__all__"] = [*module.origins, *vars(module).get("__all__", ())]
    module.__class__ = LazyPackage


def read_origins(package: str) -> dict[str, Origin]:
    """The public names that a package lists, without importing them.

    Args:
        package: its dotted name.

    Returns:
        Where each name is imported from.

    Example:
        >>> read_origins("vitrail.models")["ViT"]
        ('vitrail.models.vit', 'ViT')
    """
    spec = importlib.util.find_spec(package)
    source = cast(InspectLoader, spec and spec.loader).get_source(package) or ""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    origins: dict[str, Origin] = {}
    for statement in (line for block in blocks for line in block.body):
        if not isinstance(statement, ast.ImportFrom) or statement.module is None:
            continue
        for alias in statement.names:
            origins[alias.asname or alias.name] = (statement.module, alias.name)
    return origins


def _hint_for(name: str) -> str:
    """Where a name is that a package lacks: in another package, or called something else."""
    if name.startswith("_"):
        return ""
    if name in OBJECTS:
        return f". Here it is {OBJECTS[name]}."
    root = __name__.partition(".")[0]
    packages = [root, *(f"{root}.{n}" for n, (m, _) in read_origins(root).items() if m == root)]
    addresses = {f"{package}.{n}" for package in packages for n in read_origins(package)}
    fits = sorted(address for address in addresses if address.lower().endswith(f".{name.lower()}"))
    return f". It is {' or '.join(fits)}." if fits else ""
