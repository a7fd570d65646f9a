"""What `from core.attention import Attention` means: the learner's earlier work, or solutions."""

import contextlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from vitrail.learn.course import all_stages, find_lesson
from vitrail.learn.lesson import Lesson


class SolutionFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the solutions of lessons as modules `STAGE.NAME`.

    Args:
        lessons: the lessons.

    Example:
        >>> SolutionFinder([find_lesson("attention")]).find_spec("core.mlp") is None
        True
    """

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        self.lessons = {f"{lesson.stage}.{lesson.name}": lesson for lesson in lessons}
        self.codes = {
            name: compile(lesson.solution, str(lesson.folder / "solution.py"), "exec")
            for name, lesson in self.lessons.items()
        }
        self.packages = {lesson.stage for lesson in lessons}

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The specification of a module; None for one that is no lesson's.

        Args:
            fullname: such as "core" or "core.attention".
            path: unused.
            target: unused.

        Returns:
            The specification.
        """
        _ = path, target
        if fullname in self.packages or fullname in self.lessons:
            is_package = fullname in self.packages
            return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Runs a solution.

        Args:
            module: an empty module.
        """
        if module.__name__ in self.codes:
            exec(self.codes[module.__name__], module.__dict__)


def needed(lesson: Lesson) -> list[Lesson]:
    """The lessons that a lesson builds on, directly or not.

    Args:
        lesson: the lesson.

    Returns:
        The lessons, each once.

    Example:
        >>> find_lesson("attention") in needed(find_lesson("attention"))
        False
    """
    lessons: dict[str, Lesson] = {}
    for name in lesson.needs:
        for other in (find_lesson(name), *needed(find_lesson(name))):
            lessons[other.id] = other
    return list(lessons.values())


@contextlib.contextmanager
def solutions_importable(finder: SolutionFinder) -> Iterator[None]:
    """A context in which `STAGE.NAME` is the solution of a lesson.

    Args:
        finder: the lessons.

    Returns:
        A context manager.

    Example:
        >>> with solutions_importable(SolutionFinder([find_lesson("attention")])):
        ...     from core.attention import Attention
        >>> Attention.__name__
        'Attention'
    """
    if finder in sys.meta_path:  # within another such context
        yield
        return
    with _without_stages():
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)


@contextlib.contextmanager
def work_importable(folder: Path) -> Iterator[None]:
    """A context in which `STAGE.NAME` is the learner's file.

    Args:
        folder: the learner's folder.

    Returns:
        A context manager.

    Example:
        >>> with work_importable(Path("nowhere")):
        ...     sys.path[0]
        'nowhere'
    """
    with _without_stages():
        sys.path.insert(0, str(folder))
        try:
            yield
        finally:
            sys.path.remove(str(folder))


@contextlib.contextmanager
def _without_stages() -> Iterator[None]:
    """The stages' names mean nothing before and what they meant before again afterwards."""
    stages = tuple(stage.name for stage in all_stages())

    def take() -> dict[str, ModuleType]:
        likely = [name for name in sys.modules if name.startswith(stages)]  # of thousands
        names = [name for name in likely if name.partition(".")[0] in stages]
        return {name: sys.modules.pop(name) for name in names}

    before = take()
    try:
        yield
    finally:
        take()
        sys.modules.update(before)
