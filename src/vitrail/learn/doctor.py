"""What a learner's computer needs for the lessons, and whether it is there."""

import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from vitrail.learn.checker.run import check_file
from vitrail.learn.course import find_lesson
from vitrail.learn.workspace import Workspace
from vitrail.messages import _, language


@dataclass(frozen=True)
class Finding:
    """Something that was examined.

    Args:
        what: what it is.
        good: whether lessons work with it.
        text: the result, with a cure where it is not good.

    Example:
        >>> Finding("Python", True, "3.11").good
        True
    """

    what: str
    good: bool
    text: str


def examine(workspace: Workspace) -> list[Finding]:
    """Examines Python, torch, the folder, the language and the checker.

    Args:
        workspace: the learner's folder.

    Returns:
        The findings.

    Example:
        >>> examine.__name__
        'examine'
    """
    return [
        Finding("Python", True, f"{platform.python_version()}, {platform.system()}"),
        Finding("torch", True, f"{torch.__version__}"),
        Finding(_("language"), True, language()),
        _folder(workspace),
        _checker(),
    ]


def _folder(workspace: Workspace) -> Finding:
    path = workspace.folder.resolve()
    if not workspace.exists:
        text = _("{path} is no folder of lessons: run vitrail learn init").format(path=path)
        return Finding(_("folder"), False, text)
    if not os.access(path, os.W_OK):
        text = _("{path} cannot be written: change its permissions").format(path=path)
        return Finding(_("folder"), False, text)
    return Finding(_("folder"), True, str(path))


def _checker() -> Finding:
    """Checks a solution, as a learner's file would be."""
    lesson = find_lesson("attention")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core" / "attention.py"
        path.parent.mkdir()
        path.write_text(lesson.answer("en"), "utf-8")
        start = time.monotonic()
        report = check_file(lesson, path)
    seconds = time.monotonic() - start
    text = _("a check takes {seconds:.1f} s").format(seconds=seconds)
    return Finding(_("checker"), report.passed, text if report.passed else report.message)
