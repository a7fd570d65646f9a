"""The questions of a lesson, as lines to read, and answers to them."""

from typing import Any

from vitrail.errors import ConfigError
from vitrail.learn.lesson import Lesson, Question
from vitrail.messages import _, language

LETTERS = "abcdefgh"


def letters_of(question: Question) -> list[str]:
    """The letters of a question's choices.

    Args:
        question: the question.

    Returns:
        "a", "b" and so on.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> letters_of(find_lesson("attention").quiz[0])
        ['a', 'b', 'c']
    """
    return list(LETTERS[: len(question.choices)])


def parse_answers(text: str, lesson: Lesson) -> list[str]:
    """The letters of all answers.

    Args:
        text: letters that are separated by commas.
        lesson: whose questions are answered.

    Returns:
        One letter per question.

    Raises:
        ConfigError: they are too few or too many, or are no choices.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> parse_answers("a, B,c,a,b", find_lesson("attention"))
        ['a', 'b', 'c', 'a', 'b']
    """
    letters = [letter.strip().lower() for letter in text.split(",")]
    if len(letters) != len(lesson.quiz):
        raise ConfigError(
            f"answers={text!r} are {len(letters)}, and {lesson.id} has {len(lesson.quiz)} "
            "questions: give one letter for each, separated by commas."
        )
    for letter, question in zip(letters, lesson.quiz, strict=True):
        if letter not in letters_of(question):
            choices = ", ".join(letters_of(question))
            raise ConfigError(f"answers={text!r}: {letter!r} is not one of {choices}.")
    return letters


def show(number: int, question: Question) -> list[str]:
    """A question as lines to read, in the user's language.

    Args:
        number: its position, from 0.
        question: the question.

    Returns:
        The lines.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> show(0, find_lesson("attention").quiz[0])[1][:2]
        '1.'
    """
    lines = ["", f"{number + 1}. {question.text.of(language())}"]
    pairs = zip(letters_of(question), question.choices, strict=True)
    return [*lines, *(f"   {letter}  {choice.text.of(language())}" for letter, choice in pairs)]


def grade(question: Question, letter: str) -> dict[str, Any]:
    """An answer beside all choices, in the user's language.

    Args:
        question: the question.
        letter: of the choice; "" for none.

    Returns:
        "question", "answer", "right", and "choices", each with its letter, text, reason, and
        whether it is right.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> grade(find_lesson("attention").quiz[0], "b")["right"]
        False
    """
    choices = [
        {
            "letter": name, "text": choice.text.of(language()), "right": choice.right,
            "why": choice.why.of(language()),
        }
        for name, choice in zip(letters_of(question), question.choices, strict=True)
    ]  # fmt: skip
    right = any(choice["letter"] == letter and choice["right"] for choice in choices)
    text = question.text.of(language())
    return {"question": text, "answer": letter, "right": right, "choices": choices}


def explain_answer(answer: dict[str, Any]) -> list[str]:
    """Whether an answer is right, and the reason for every choice.

    Args:
        answer: what `grade` gave.

    Returns:
        Lines.

    Example:
        >>> explain_answer({"right": True, "choices": []})
        ['Right.']
    """
    lines = [_("Right.") if answer["right"] else _("Not right.")]
    for choice in answer["choices"]:
        mark = "+" if choice["right"] else "-"
        lines.append(f"   {choice['letter']} {mark} {choice['why']}")
    return lines
