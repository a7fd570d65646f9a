"""Lessons: vision transformers learned by writing their parts, and the checker of what is written.

A lesson is a folder of `lessons/STAGE/NAME/`; `docs/en/own_lessons.md` says how one is written.
"""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.learn.checker.run import check_file as check_file
    from vitrail.learn.checker.stages import check_source as check_source
    from vitrail.learn.course import all_lessons as all_lessons
    from vitrail.learn.course import find_lesson as find_lesson
    from vitrail.learn.lesson import Lesson as Lesson
    from vitrail.learn.task import Case as Case
    from vitrail.learn.task import Claim as Claim
    from vitrail.learn.task import Swap as Swap
    from vitrail.learn.task import Task as Task
    from vitrail.learn.workspace import Workspace as Workspace

lazy(__name__)
