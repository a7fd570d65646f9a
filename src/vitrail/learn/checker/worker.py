"""The process in which a learner's file is checked: `python -P -m vitrail.learn.checker.worker`.

The job comes as JSON on standard input, and the report leaves as one line of JSON on what was the
standard output. What the learner's code prints goes to standard error.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from vitrail.messages import _

Job = dict[str, Any]
MOST_SECONDS = 2.5  # of processor time that a check takes, imports and a diagnosis included


def run_job() -> None:
    """Checks the file of the job.

    Example:
        >>> run_job.__module__
        'vitrail.learn.checker.worker'
    """
    job: Job = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # prints of the learner's
    sys.dont_write_bytecode = True
    report = {**work(job), "token": job["token"]}
    answers.write(json.dumps(report, ensure_ascii=True) + "\n")
    answers.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # private: no exit handler of the learner's runs after the report


def work(job: Job) -> dict[str, Any]:
    """Checks a file under limits.

    Args:
        job: folder of the lesson, path of the file, seed.

    Returns:
        The report as plain values.

    Example:
        >>> work.__name__
        'work'
    """
    import torch

    from vitrail.learn.checker.limits import (
        SECONDS,
        TimeUpError,
        Watch,
        limit_resources,
        remember_patchable,
    )
    from vitrail.learn.checker.report import make_report
    from vitrail.learn.checker.stages import Checker
    from vitrail.learn.checker.verdict import Report
    from vitrail.learn.lesson import LESSONS, read_lesson

    torch.set_num_threads(1)
    lesson = read_lesson(Path(job["lesson"]))
    path = Path(job["path"])
    text = path.read_text("utf-8")
    checker = Checker(lesson, job["seed"])
    changed = remember_patchable()
    watch = Watch(str(path), LESSONS)
    sys.addaudithook(watch)
    limit_resources()
    message = ""
    report = Report(lesson.id, False)
    try:
        with watch.watching():
            seconds = MOST_SECONDS - time.process_time()
            report = make_report(checker, text, str(path), path.parent.parent, seconds)
    except TimeUpError:
        message = _("your code runs for more than {seconds} seconds: a loop that does not end?")
        message = message.format(seconds=SECONDS)
    except MemoryError:
        message = _("your code needs too much memory.")
    if watch.message:
        message = watch.message
    elif name := changed():
        message = _("your code replaces {name}: use it as it is.").format(name=name)
    if message:
        report = Report(lesson.id, False, stage="import", message=message)
    return report.to_dict()


if __name__ == "__main__":
    run_job()
