"""Proves every lesson: its solution passes, its stub fails, and each mistake gets its diagnosis.

python -m tools.course                    # all lessons, two at a time: `make course`
python -m tools.course attention mlp      # these, with what is wrong
"""

import itertools
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vitrail.errors import ConfigError
from vitrail.learn import Lesson, all_lessons, check_file, find_lesson
from vitrail.learn.checker.diagnosis import Diagnoser, same_failure
from vitrail.learn.checker.failure import Failure
from vitrail.learn.checker.modules import needed
from vitrail.learn.checker.stages import Checker
from vitrail.learn.lesson import Text
from vitrail.learn.texts import LANGUAGES

PACKAGE = Path(__file__).parents[1] / "src" / "vitrail"
SEEDS = (1, 2)
MOST_PAIRS = 40  # of a lesson
AIM = 3  # seconds of processor time a check; processors differ, so that it fails nothing
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass
class Proof:
    """What holds of a lesson.

    Args:
        lesson: "stage/name".
        problems: what does not.
        wrong: number of wrong versions.
        diagnosed: how many are diagnosed as meant.
        pairs: number of pairs of mistakes that were tried.
        named: in how many one of both is named.
        seconds: of processor time.
        check_seconds: those of one check, with the start of Python and PyTorch.
    """

    lesson: str
    problems: list[str] = field(default_factory=list)
    wrong: int = 0
    diagnosed: int = 0
    pairs: int = 0
    named: int = 0
    seconds: float = 0.0
    check_seconds: float = 0.0


def texts_of(lesson: Lesson) -> Iterator[tuple[str, Text]]:
    """Every text of a lesson that is in both languages, with its name."""
    yield "title", lesson.title
    for number, hint in enumerate(lesson.hints, 1):
        yield f"hint {number}", hint
    for wrong in lesson.wrong:
        yield f"wrong {wrong.name}", wrong.says
    for number, question in enumerate(lesson.quiz, 1):
        yield f"question {number}", question.text
        for choice in question.choices:
            yield f"question {number}, why", choice.why
    yield "text", Text(lesson.text("en"), lesson.text("zh"))


def problems_of_texts(lesson: Lesson) -> Iterator[str]:
    """What is missing or in the wrong language."""
    for name, text in texts_of(lesson):
        if not text.en.strip() or CHINESE.search(text.en):
            yield f"{name}: no English text"
        if not CHINESE.search(text.zh):
            yield f"{name}: no Chinese text"
    if len(lesson.hints) != 3:
        yield f"{len(lesson.hints)} hints, not 3"
    if len(lesson.wrong) < 5:
        yield f"{len(lesson.wrong)} wrong versions, fewer than 5"
    if len(lesson.quiz) < 2:
        yield f"{len(lesson.quiz)} questions, fewer than 2"
    for question in lesson.quiz:
        if sum(choice.right for choice in question.choices) != 1 or len(question.choices) < 3:
            yield f"{question.text.en}: needs three choices or more, one of them right"
    if not (PACKAGE / lesson.file).is_file():
        yield f"file={lesson.file} is no file of the package"
    if {*lesson.paper} != {"title", "section", "url"}:
        yield f"paper has {[*lesson.paper]}, not title, section, url"
    ids = [other.id for other in all_lessons()]
    for name in lesson.needs:
        if name not in ids or ids.index(name) >= ids.index(lesson.id):
            yield f"needs {name}, which is no lesson before it"
    for language in LANGUAGES:
        ElementTree.fromstring(lesson.diagram(language))


def prove(lesson: Lesson, *, pairs: bool = True) -> Proof:
    """Tries solution, stub, every wrong version, and pairs of them."""
    start = time.process_time()
    proof = Proof(lesson.id, [*problems_of_texts(lesson)], wrong=len(lesson.wrong))
    for seed in SEEDS:
        failure = Checker(lesson, seed).failure_of(lesson.solution)
        if failure is not None:
            proof.problems.append(f"the solution fails: {failure.stage}: {failure.message}")
            return proof
    checker = Checker(lesson, SEEDS[0])
    diagnoser = Diagnoser(checker)
    for language in LANGUAGES:
        if checker.failure_of(lesson.stub(language)) is None:
            proof.problems.append(f"the stub ({language}) passes")
    failures: dict[str, Failure] = {}
    for wrong in lesson.wrong:
        try:
            failure = checker.failure_of(wrong.apply(lesson.solution), f"{wrong.name}.py")
        except ConfigError as error:
            proof.problems.append(str(error))
            continue
        if failure is None:
            proof.problems.append(f"{wrong.name} passes")
            continue
        for other, theirs in failures.items():
            if same_failure(failure, theirs):
                proof.problems.append(f"{wrong.name} fails as {other} does")
        failures[wrong.name] = failure
        named = [mistake.name for mistake in diagnoser.mistakes(failure)]
        if named == [wrong.name]:
            proof.diagnosed += 1
        else:
            proof.problems.append(f"{wrong.name} is diagnosed as {named}")
    if pairs:
        _prove_pairs(proof, diagnoser)
        _prove_limits(proof, lesson)
    proof.seconds = time.process_time() - start
    return proof


def _prove_pairs(proof: Proof, diagnoser: Diagnoser) -> None:
    """Pairs, of which only single mistakes and pairs are known to the checker."""
    lesson = diagnoser.checker.lesson
    for first, second in itertools.islice(itertools.combinations(lesson.wrong, 2), MOST_PAIRS):
        try:
            text = second.apply(first.apply(lesson.solution))
        except ConfigError:
            continue
        failure = diagnoser.checker.failure_of(text, "pair.py")
        if failure is None:  # one undoes the other
            continue
        proof.pairs += 1
        names = {mistake.name for mistake in diagnoser.mistakes(failure)}
        proof.named += bool(names & {first.name, second.name})


def _prove_limits(proof: Proof, lesson: Lesson) -> None:
    """The solution passes in a process of its own, too, with its limits, in Chinese, in time."""
    with tempfile.TemporaryDirectory() as folder:
        for other in (lesson, *needed(lesson)):
            path = Path(folder) / other.stage / f"{other.name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(other.answer("zh"), "utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = check_file(lesson, Path(folder) / lesson.stage / f"{lesson.name}.py")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    proof.check_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if not report.passed:
        proof.problems.append(f"with limits the solution fails: {report.message} {report.output}")


def _prove_named(name: str) -> Proof:
    import torch

    torch.set_num_threads(1)
    try:
        return prove(find_lesson(name))
    except Exception as error:
        return Proof(name, [f"{type(error).__name__}: {error}"])


def main(names: list[str]) -> int:
    """Prints a line per lesson and the sums; returns the number of problems."""
    os.environ["LANGUAGE"] = "en"
    ids = [find_lesson(name).id for name in names] or [lesson.id for lesson in all_lessons()]
    proofs = []
    with multiprocessing.get_context("spawn").Pool(min(2, len(ids))) as pool:
        for proof in pool.imap(_prove_named, ids):
            proofs.append(proof)
            print(
                f"{proof.lesson:32} {proof.diagnosed:3}/{proof.wrong:<3} "
                f"pairs {proof.named}/{proof.pairs}  {proof.seconds:5.1f} s, a check "
                f"{proof.check_seconds:.1f} s", flush=True,
            )  # fmt: skip
            for problem in proof.problems:
                print(f"    {problem}", flush=True)

    def total(name: str) -> float:
        return sum(getattr(proof, name) for proof in proofs)

    print(
        f"{len(proofs)} lessons; {total('wrong')} wrong versions, {total('diagnosed')} diagnosed "
        f"as meant; of {total('pairs')} pairs {total('named')} with one named at least; "
        f"{total('seconds'):.0f} s of processor time"
    )
    slow = ", ".join(p.lesson for p in proofs if p.check_seconds > AIM)
    if slow:
        print(f"checks of more than {AIM} s of processor time: {slow}")
    return sum(len(proof.problems) for proof in proofs)


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
