"""The first stage: a file defines what the lesson asks for, and by its own means."""

import ast
from pathlib import Path

from vitrail.learn.checker.expected import Expected
from vitrail.learn.checker.failure import Failure, StopError
from vitrail.learn.checker.subject import Subject, signature_of
from vitrail.learn.checker.walk import call_once, steps_of
from vitrail.messages import _

PACKAGE = Path(__file__).parents[2]


def check_kind(name: str, subject: Subject, solution: Subject) -> None:
    """Checks that the learner wrote a class or a function, with the lesson's arguments.

    Args:
        name: its name.
        subject: the learner's.
        solution: the lesson's.

    Raises:
        StopError: it is the other, or takes other arguments.

    Example:
        >>> subject = Subject(lambda x: x, "", "")
        >>> check_kind("f", subject, subject)
    """
    if subject.is_class != solution.is_class:
        message = _("write {name} as `{kind} {name}`.").format(name=name, kind=kind_of(solution))
        raise StopError(Failure("import", message, "kind"))
    ours, theirs = signature_of(subject.object), signature_of(solution.object)
    plain, names_there = ([p.partition("=")[0] for p in names] for names in (ours, theirs))
    extra = ours[len(theirs) :]
    if plain[: len(theirs)] != names_there or any("=" not in parameter for parameter in extra):
        message = _("{name} takes ({ours}); the lesson asks for ({theirs}).").format(
            name=name, ours=", ".join(ours), theirs=", ".join(theirs)
        )
        raise StopError(Failure("import", message, ours))


def kind_of(subject: Subject) -> str:
    """The statement that defines a subject, "class" or "def".

    Args:
        subject: which.

    Returns:
        The keyword.

    Example:
        >>> kind_of(Subject(int, "", ""))
        'class'
    """
    return "class" if subject.is_class else "def"


def check_means(text: str, forbids: tuple[str, ...]) -> None:
    """Checks that a file does not import Vitrail, or use what the lesson is to write.

    Args:
        text: the file's text.
        forbids: names such as "MultiheadAttention".

    Raises:
        StopError: it does.

    Example:
        >>> check_means("import torch", ("MultiheadAttention",))
    """
    for node in ast.walk(ast.parse(text)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        if any(module.split(".")[0] == "vitrail" for module in modules):
            line = node.lineno  # type: ignore[attr-defined]
            message = _("line {line} imports vitrail: here you write its part yourself.")
            raise StopError(Failure("import", message.format(line=line), "vitrail"))
        name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", None)))
        if name in forbids and isinstance(node, ast.Attribute | ast.Name | ast.alias):
            message = _("line {line} uses {name}: this lesson is about writing it yourself.")
            message = message.format(line=node.lineno, name=name)
            raise StopError(Failure("import", message, name))


def check_own_work(subject: Subject, expected: Expected) -> None:
    """Checks that no code of the library runs when the learner's is called.

    Args:
        subject: the learner's class or function.
        expected: a case.

    Raises:
        StopError: some does.

    Example:
        >>> check_own_work.__name__
        'check_own_work'
    """
    _steps, files = steps_of(call_once(subject, expected), subject.path)
    for file in sorted(files):
        if file.startswith(str(PACKAGE)) and not file.startswith(str(PACKAGE / "learn")):
            message = _("your code runs vitrail's own {file}: here you write it yourself.")
            message = message.format(file=Path(file).name)
            raise StopError(Failure("import", message, "vitrail"))
