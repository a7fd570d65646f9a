"""Files and packages of the user's own, and what they register.

    @vitrail.models.register_model
    class Mine(vitrail.ViT): ...

Saved models and runs note which file their own parts came from, and never import it: code runs only
by `load_plugin`, by the option `--plugin`, by a name `python:...` that the user types, or by an
import of the user's. A name in a file that came along, such as a recipe, runs nothing.
"""

import contextlib
import importlib
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.registry import REGISTRIES, describe_exception, origin_of, snapshot


class Plugin(NamedTuple):
    """A file or a module that was imported for the parts that it registers.

    Args:
        module: the module.
        parts: kind and name of each part, such as ("model", "Mine").
        text: content of the file, to see whether it has changed; "" for a module.

    Example:
        >>> load_plugin("vitrail.data.registry").parts
        ()
    """

    module: ModuleType
    parts: tuple[tuple[str, str], ...]
    text: str


PLUGINS: dict[Path, Plugin] = {}  # files that `load_plugin` has run
TRUSTED: set[Path | str] = set()  # files and modules that the user named, in a call or a command


@checked
def load_plugin(source: str | Path) -> Plugin:
    """Runs a file of the user's, or imports a module, for the parts that it registers.

    Args:
        source: a .py file, or the dotted name of a module. A file that has run already runs again
            if it has changed.

    Returns:
        The module, and what it registered.

    Raises:
        ConfigError: there is no such file or module, or it fails: the message names the line.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.py"
        >>> _ = file.write_text("import vitrail\\n\\n@vitrail.models.register_model\\n"
        ...                     "class Mine(vitrail.ViT): ...\\n")
        >>> load_plugin(file).parts
        (('model', 'Mine'),)
        >>> "Mine" in vitrail.models.registry.model_classes()
        True
    """
    trust(source)
    file = Path(source).expanduser()
    if file.suffix != ".py":
        return _import_module(str(source))
    if not file.is_file():
        raise ConfigError(f"no file {str(source)!r}: a plug-in is a .py file, or a module's name.")
    file = file.resolve()
    text = file.read_text("utf-8")
    if file in PLUGINS and PLUGINS[file].text == text and _is_registered(PLUGINS[file]):
        return PLUGINS[file]
    restore = snapshot()
    if file in PLUGINS:  # of an older text
        for kind, name in PLUGINS[file].parts:
            REGISTRIES[kind].own.pop(name, None)
    before = _parts()
    try:
        module = _execute(file)
    except Exception as problem:  # whatever that file raises
        restore()
        raise ConfigError(f"{source}{_line_of(problem, file)}.") from None
    PLUGINS[file] = Plugin(module, _new_parts(before), text)
    return PLUGINS[file]


def plugins_of(objects: Iterable[object]) -> list[str]:
    """The files and modules that define the classes of some objects, where they register parts.

    Args:
        objects: such as the modules of a model.

    Returns:
        Files and modules, sorted; none for what is Vitrail's or torch's.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> plugins_of(model.modules())
        []
    """
    types = {type(value) for value in objects}
    origins = {origin_of(kind.__module__) for kind in types}
    return sorted(
        {
            registry.source(name)
            for registry in REGISTRIES.values()
            for name, part in registry.own.items()
            if part in types or registry.origins[name] in origins
        }
        - {""}
    )


def how_to_run(plugins: object) -> str:
    """What to do about parts that come from files whose code has not run.

    Args:
        plugins: what `plugins_of` returned when a model or a run was saved.

    Returns:
        A sentence with a leading space; "" without plug-ins.

    Example:
        >>> how_to_run(["mine.py"])
        " It comes from mine.py: if you trust that code, vitrail.load_plugin('mine.py') runs it."
    """
    names = [str(name) for name in plugins] if isinstance(plugins, list) else []
    if not names:
        return ""
    calls = " and ".join(f"vitrail.load_plugin({name!r})" for name in names)
    return f" It comes from {', '.join(names)}: if you trust that code, {calls} runs it."


def require_plugins(plugins: object) -> None:
    """Checks that files which settings name have run.

    Args:
        plugins: list of files and modules. A file may be in another folder now: its name counts.

    Raises:
        ConfigError: the code of one has not run.

    Example:
        >>> require_plugins(["other.py"])
        Traceback (most recent call last):
        vitrail.errors.ConfigError: plugins: other.py has not run, and settings run no code: ...
    """
    origins = {registry.origins[n] for registry in REGISTRIES.values() for n in registry.own}
    names = {Path(origin).name for origin in origins} | {file.name for file in PLUGINS}
    for plugin in map(str, plugins if isinstance(plugins, list | tuple) else ()):
        if Path(plugin).name not in names and plugin not in sys.modules:
            raise ConfigError(
                f"plugins: {plugin} has not run, and settings run no code: if you trust it, "
                f"vitrail.load_plugin({plugin!r}) runs it."
            )


def code_of(name: object) -> str:
    """The file or module whose code a name in settings runs.

    Args:
        name: value of a setting.

    Returns:
        FILE_OR_MODULE of "python:FILE_OR_MODULE:FUNCTION"; "" for any other value.

    Example:
        >>> code_of("python:teachers/small.py:make"), code_of("runs/teacher")
        ('teachers/small.py', '')
    """
    is_code = isinstance(name, str) and name.startswith("python:")
    return str(name).removeprefix("python:").rpartition(":")[0] if is_code else ""


def trust(source: str | Path) -> None:
    """Notes that the user named a file or module, so that its code may run.

    Args:
        source: a .py file, or the dotted name of a module.

    Example:
        >>> trust("mine.py")
        >>> require_trust("mine.py")
    """
    TRUSTED.add(_identity(source))


def require_trust(source: str | Path) -> None:
    """Checks that the user named a file or module: a file that came along names whatever it likes.

    Args:
        source: a .py file, or the dotted name of a module.

    Raises:
        ConfigError: only a file did.

    Example:
        >>> require_trust("theirs.py")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: 'theirs.py' would run, and settings in a file run no code: ...
    """
    if _identity(source) not in TRUSTED:
        raise ConfigError(
            f"{str(source)!r} would run, and settings in a file run no code: if you trust it, "
            f"vitrail.load_plugin({str(source)!r}) runs it."
        )


def line_in(problem: BaseException, file: str | Path) -> int | None:
    """The line of a file that an exception came through.

    Args:
        problem: a caught exception.
        file: path of the file.

    Returns:
        The last such line; None if it did not come through the file.

    Example:
        >>> line_in(ValueError(), "mine.py") is None
        True
    """
    if isinstance(problem, SyntaxError) and problem.filename == str(file):
        return problem.lineno
    frames = traceback.extract_tb(problem.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(file)), None)


def _identity(source: str | Path) -> Path | str:
    file = Path(source).expanduser()
    return file.resolve() if file.suffix == ".py" else str(source)


def _line_of(problem: Exception, file: Path) -> str:
    """ ", line 7: NameError: ..."."""
    line = line_in(problem, file)
    return f"{'' if line is None else f', line {line}'}: {describe_exception(problem)}"


def _execute(file: Path) -> ModuleType:
    """Runs a file as a module, which a later `import` of it finds."""
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    old = sys.modules.get(name)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:  # for what the file imports, and for loader processes
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name)
        if old is not None:
            sys.modules[name] = old
        raise
    return module


def _module_name(file: Path) -> str:
    """The file's own name, with a number if another module has it."""
    for number in itertools.count():
        name = f"{file.stem}_{number}" if number else file.stem
        module = sys.modules.get(name)
        if module is None:
            with contextlib.suppress(ValueError, ImportError):
                spec = importlib.util.find_spec(name) if name.isidentifier() else None
                if spec is None or spec.origin == str(file):
                    return name
        elif getattr(module, "__file__", None) == str(file):
            return name
    raise AssertionError


def _import_module(name: str) -> Plugin:
    before = _parts()
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{name!r} is neither a .py file nor the name of a module.")
    try:
        module = importlib.import_module(name)
    except Exception as problem:  # whatever that module raises
        raise ConfigError(
            f"the plug-in {name} cannot be imported: {describe_exception(problem)}."
        ) from None
    own = [(kind, n) for kind, n in _parts() if REGISTRIES[kind].origins[n] == name]
    return Plugin(module, tuple(sorted({*_new_parts(before), *own})), "")


def _parts() -> dict[tuple[str, str], Any]:
    return {(k, n): part for k, registry in REGISTRIES.items() for n, part in registry.own.items()}


def _new_parts(before: Mapping[tuple[str, str], Any]) -> tuple[tuple[str, str], ...]:
    return tuple(key for key, part in _parts().items() if before.get(key) is not part)


def _is_registered(plugin: Plugin) -> bool:
    return bool(plugin.parts) and all(name in REGISTRIES[k].own for k, name in plugin.parts)
