"""The course: its stages and lessons, in order."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import tomllib

from vitrail.errors import ConfigError, suggest
from vitrail.learn.lesson import LESSONS, Lesson, Text, read_lesson
from vitrail.learn.texts import LANGUAGES


@dataclass(frozen=True)
class CourseStage:
    """A part of the course.

    Args:
        name: name of its folder.
        title: what learners read.

    Example:
        >>> all_stages()[0].name
        'foundations'
    """

    name: str
    title: Text


def roots() -> tuple[Path, ...]:
    """The folders of lessons.

    Returns:
        Vitrail's own, then those that the environment variable `VITRAIL_LESSONS` names, with
        the separator of PATH between them. Each holds `stages.toml` and STAGE/NAME/.

    Example:
        >>> roots()[0].name
        'lessons'
    """
    own = os.environ.get("VITRAIL_LESSONS", "")
    return (LESSONS, *(Path(path) for path in own.split(os.pathsep) if path))


@functools.cache
def all_stages() -> tuple[CourseStage, ...]:
    """The stages of the course, in order.

    Returns:
        Those of each `stages.toml`, Vitrail's own and that of `VITRAIL_LESSONS`.

    Example:
        >>> "core" in [stage.name for stage in all_stages()]
        True
    """
    stages: dict[str, CourseStage] = {}
    for root in roots():
        for stage in tomllib.loads((root / "stages.toml").read_text("utf-8"))["stages"]:
            new = CourseStage(stage["name"], Text(**stage["title"]))
            stages.setdefault(new.name, new)
    return tuple(stages.values())


@functools.cache
def all_lessons() -> tuple[Lesson, ...]:
    """All lessons in the order of the course.

    Returns:
        The lessons of all stages.

    Example:
        >>> [lesson.id for lesson in all_lessons()].count("core/attention")
        1
    """
    lessons: list[Lesson] = []
    for stage in all_stages():
        files = [f for root in roots() for f in sorted((root / stage.name).glob("*/lesson.toml"))]
        folders = [file.parent for file in files]
        lessons += sorted(map(read_lesson, folders), key=lambda lesson: lesson.number)
    return tuple(lessons)


@functools.cache
def _lesson_of(name: str) -> Lesson | None:
    """The lesson "stage/name", of a stage that the course knows."""
    stage, _slash, folder = name.partition("/")
    if any(stage == other.name for other in all_stages()) and "/" not in folder:
        for root in roots():
            if os.path.isfile(root / stage / folder / "lesson.toml"):  # or its name is too long
                return read_lesson(root / stage / folder)
    return None


def find_lesson(name: str) -> Lesson:
    """A lesson by its name.

    Args:
        name: "attention", or "core/attention".

    Returns:
        The lesson.

    Raises:
        ConfigError: no lesson has the name, or several have.

    Example:
        >>> find_lesson("core/attention").name
        'attention'
    """
    if "/" in name:  # without reading all the others
        matches = [*filter(None, [_lesson_of(name)])]
    else:
        matches = [lesson for lesson in all_lessons() if lesson.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        ids = ", ".join(lesson.id for lesson in matches)
        raise ConfigError(f"lesson={name!r} may be {ids}: name its stage, too.")
    names = [text for lesson in all_lessons() for text in (lesson.name, lesson.id)]
    raise ConfigError(f"no lesson {name!r}.{suggest(name, names)} `vitrail learn list` lists all.")


def check_language(language: str) -> None:
    """Checks the name of a language.

    Args:
        language: "en" or "zh".

    Raises:
        ConfigError: it is another.

    Example:
        >>> check_language("zh")
    """
    if language not in LANGUAGES:
        raise ConfigError(f"lang={language!r} is not one of 'en', 'zh'.")
