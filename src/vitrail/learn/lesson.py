"""Lessons as folders: `lessons/STAGE/NAME/` holds texts, a solution, wrong versions and a check."""

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomllib

from vitrail.errors import ConfigError
from vitrail.learn.texts import make_answer, make_stub

if TYPE_CHECKING:
    from vitrail.learn.task import Task

LESSONS = Path(__file__).with_name("lessons")


@dataclass(frozen=True)
class Text:
    """A text in both languages.

    Args:
        en: English.
        zh: Chinese.

    Example:
        >>> Text("head", "头").of("zh")
        '头'
    """

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The text in a language.

        Args:
            language: "en" or "zh".

        Returns:
            The text.
        """
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Wrong:
    """A wrong version of the solution: a mistake that learners make.

    Args:
        name: a few words, such as "no_scale".
        edits: pairs of texts; the first is in the solution once, and the second takes its position.
        says: the diagnosis, addressed to the learner.

    Example:
        >>> Wrong("no_scale", (("* scale", ""),), Text("", "")).apply("q * scale")
        'q '
    """

    name: str
    edits: tuple[tuple[str, str], ...]
    says: Text

    def apply(self, solution: str) -> str:
        """The solution with the mistake.

        Args:
            solution: text of the solution.

        Returns:
            The changed text.

        Raises:
            ConfigError: an edit's text is not in the solution exactly once.
        """
        for old, new in self.edits:
            if solution.count(old) != 1:
                raise ConfigError(
                    f"wrong version {self.name!r}: the solution holds {solution.count(old)} times "
                    f"{old!r}, not once: change `old` in wrong.toml."
                )
            solution = solution.replace(old, new)
        return solution


@dataclass(frozen=True)
class Choice:
    """A possible answer to a question.

    Args:
        text: the answer.
        why: why it is right or wrong.
        right: whether it is right.

    Example:
        >>> Choice(Text("196", "196"), Text("14 x 14", "14 x 14"), right=True).right
        True
    """

    text: Text
    why: Text
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question of a quiz.

    Args:
        text: the question.
        choices: possible answers, one of them right.

    Example:
        >>> Question(Text("How many?", "多少？"), ()).text.en
        'How many?'
    """

    text: Text
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Lesson:
    """A lesson.

    Args:
        folder: its folder.
        stage: name of the stage, that of the folder above.
        number: lessons of a stage come in the order of their numbers.
        title: what it teaches.
        minutes: how long it takes.
        paper: title and section of the paper, and its address.
        file: the file of Vitrail that holds the same, relative to the package.
        needs: lessons that come before, as "stage/name".
        forbids: names that the learner's file may not use, such as "scaled_dot_product_attention".
        hints: three, each saying more than the one before.
        wrong: wrong versions.
        quiz: questions.
        start: of a lesson that is to find errors, the wrong versions that the stub has.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> lesson = find_lesson("attention")
        >>> lesson.id, lesson.stage
        ('core/attention', 'core')
    """

    folder: Path
    stage: str
    number: int
    title: Text
    minutes: int
    paper: Mapping[str, str]
    file: str
    needs: tuple[str, ...]
    forbids: tuple[str, ...]
    hints: tuple[Text, ...]
    wrong: tuple[Wrong, ...]
    quiz: tuple[Question, ...]
    start: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the folder, and of the learner's file."""
        return self.folder.name

    @property
    def id(self) -> str:
        """ "stage/name"."""
        return f"{self.stage}/{self.name}"

    @functools.cached_property
    def solution(self) -> str:
        """The text of `solution.py`."""
        return (self.folder / "solution.py").read_text("utf-8")

    @functools.cached_property
    def task(self) -> "Task":
        """What `task.py` declares."""
        return _module(self.folder / "task.py").TASK

    def stub(self, language: str) -> str:
        """The file that a learner starts from: of a lesson with `start`, with these mistakes.

        Args:
            language: "en" or "zh".

        Returns:
            Its text.
        """
        solution = self.solution
        if self.start:
            for wrong in self.wrong:
                if wrong.name in self.start:
                    solution = wrong.apply(solution)
            return make_answer(solution, language)
        return make_stub(solution, language)

    def answer(self, language: str) -> str:
        """The solution as a learner reads it.

        Args:
            language: "en" or "zh".

        Returns:
            Its text.
        """
        return make_answer(self.solution, language)

    def text(self, language: str) -> str:
        """The lesson's text, Markdown.

        Args:
            language: "en" or "zh".

        Returns:
            Its text.
        """
        return (self.folder / f"text.{language}.md").read_text("utf-8")

    def diagram(self, language: str) -> str:
        """The lesson's diagram.

        Args:
            language: "en" or "zh".

        Returns:
            An SVG drawing.
        """
        return str(_module(self.folder / "diagram.py").draw(language))


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_lesson(folder: Path) -> Lesson:
    """Reads a lesson.

    Args:
        folder: its folder.

    Returns:
        The lesson.

    Raises:
        ConfigError: a file is missing, or lacks an entry.

    Example:
        >>> read_lesson(LESSONS / "core" / "attention").minutes > 0
        True
    """
    try:
        head = tomllib.loads((folder / "lesson.toml").read_text("utf-8"))
        wrong = tomllib.loads((folder / "wrong.toml").read_text("utf-8"))
        quiz = tomllib.loads((folder / "quiz.toml").read_text("utf-8"))
        return Lesson(
            folder=folder,
            stage=folder.parent.name,
            number=head["number"],
            title=Text(**head["title"]),
            minutes=head["minutes"],
            paper=head["paper"],
            file=head["file"],
            needs=tuple(head.get("needs", ())),
            forbids=tuple(head.get("forbids", ())),
            hints=tuple(Text(**hint) for hint in head["hints"]),
            wrong=tuple(
                Wrong(
                    entry["name"],
                    tuple((edit["old"], edit["new"]) for edit in entry["edits"]),
                    Text(**entry["says"]),
                )
                for entry in wrong["wrong"]
            ),
            quiz=tuple(_question(entry) for entry in quiz["quiz"]),
            start=tuple(head.get("start", ())),
        )
    except OSError as error:
        raise ConfigError(f"{folder} is no lesson: {error.filename} cannot be read.") from None
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{folder} is no lesson: {error!r}; see docs/en/own_lessons.md."
        ) from None


def _question(entry: Mapping[str, Any]) -> Question:
    choices = (
        Choice(Text(**choice["text"]), Text(**choice["why"]), choice.get("right", False))
        for choice in entry["choices"]
    )
    return Question(Text(**entry["question"]), tuple(choices))
