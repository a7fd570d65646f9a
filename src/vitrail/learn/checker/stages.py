"""The stages of a check, in order; the first failure ends it."""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vitrail.learn.checker import compare
from vitrail.learn.checker.behaviour import check_behaviour, check_initial_values
from vitrail.learn.checker.entry import check_kind, check_means, check_own_work, kind_of
from vitrail.learn.checker.expected import Expected, expectations, run_call
from vitrail.learn.checker.failure import Failure, StopError, describe_error, stop_unless_equal
from vitrail.learn.checker.modules import (
    SolutionFinder,
    needed,
    solutions_importable,
    work_importable,
)
from vitrail.learn.checker.subject import Call, LoadingError, Subject, load_subject
from vitrail.learn.checker.swap import swapped_outputs
from vitrail.learn.lesson import Lesson
from vitrail.learn.task import Claim
from vitrail.messages import _, language

MOST_PARAMETERS = 6  # that are named where they differ
SWAP_TOLERANCE = 1e-8  # of logits, behind several layers


@dataclass
class Checker:
    """A lesson's check, whose expectations are computed once for any number of files.

    Args:
        lesson: the lesson.
        seed: of weights and inputs.

    Attributes:
        solution: the lesson's own class or function.
        expected: the library's side of every case.
        finder: imports the solutions of earlier lessons.
        figures: what each claim measures on the solution.
        only: position of the only case that is called; -1 for all.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> lesson = find_lesson("attention")
        >>> Checker(lesson, seed=0).failure_of(lesson.solution) is None
        True
    """

    lesson: Lesson
    seed: int = 0
    solution: Subject = field(init=False)
    expected: list[Expected] = field(init=False)
    finder: SolutionFinder = field(init=False)
    figures: list[Any] = field(init=False)
    only: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        self.finder = SolutionFinder(needed(self.lesson))
        path = str(self.lesson.folder / "solution.py")
        self.solution = self.load(self.lesson.solution, path)
        self.expected = expectations(self.lesson.task, self.solution, self.seed)
        self.figures = [self._measure(c, self.solution) for c in self.lesson.task.claims]

    def load(self, text: str, path: str, folder: Path | None = None) -> Subject:
        """The class or function of a file.

        Args:
            text: the file's text.
            path: the file's path, for messages.
            folder: the learner's folder, whose earlier files it may import; None: solutions are
                imported instead.

        Returns:
            The subject.
        """
        modules = solutions_importable(self.finder) if folder is None else work_importable(folder)
        with modules:
            return load_subject(text, path, self.lesson.task.subject)

    def failure_of(
        self, text: str, path: str = "lesson.py", folder: Path | None = None
    ) -> Failure | None:
        """Checks a file.

        Args:
            text: the file's text.
            path: the file's path, for messages.
            folder: the learner's folder, whose earlier files it may import; None: solutions are
                imported instead.

        Returns:
            The first failure; None where all stages pass.
        """
        try:
            subject = self._import(text, path, folder)
            self._shapes(subject)
            self._parameter_names(subject)
            self._outputs(subject)
            self._gradients(subject)
            self._behaviour(subject)
            self._swap(subject)
            check_own_work(subject, self.expected[0])
        except StopError as stop:
            return stop.failure
        return None

    def failure_like(self, failure: Failure, text: str, path: str = "lesson.py") -> Failure | None:
        """What a file shows at the stage and the call where another failed.

        Args:
            failure: of the other file.
            text: the file's text.
            path: the file's path, for messages.

        Returns:
            The failure; None where that stage passes.
        """
        stages = {
            "shapes": self._shapes, "parameters": self._parameter_names, "output": self._outputs,
            "gradients": self._gradients, "behaviour": self._behaviour, "swap": self._swap,
        }  # fmt: skip
        self.only, expected = failure.number, self.expected
        try:
            self.expected = [_unused(each) for each in expected]
            subject = self._import(text, path, None, own=True)
            if failure.stage in stages:
                stages[failure.stage](subject)
        except StopError as stop:
            return stop.failure
        finally:
            self.only, self.expected = -1, expected
        return None

    def _run(self, stage: str, path: str, work: Callable[[], Any], number: int = -1) -> Any:
        """Runs the learner's code; what it raises ends the check."""
        about = self.expected[number].case.about if number >= 0 else ""
        try:
            return work()
        except (StopError, LoadingError):
            raise
        except (Exception, SystemExit) as error:
            raise StopError(describe_error(stage, error, path, about, number)) from error

    def _calls(self, stage: str, subject: Subject) -> Iterator[tuple[int, Expected, Call]]:
        """The learner's class or function for every case, with the case's weights."""
        for number, expected in enumerate(self.expected):
            if self.only not in (-1, number):
                continue

            def build(expected: Expected = expected) -> Call:
                return subject.build(expected.case)

            call = self._run(stage, subject.path, build, number)
            if expected.state and call.module is None:
                text = _("{name} is to be a subclass of nn.Module.")
                message = text.format(name=self.lesson.task.subject)
                raise StopError(Failure("import", message, "no module"))
            call.load(expected.state)
            yield number, expected, call

    def _import(self, text: str, path: str, folder: Path | None, *, own: bool = False) -> Subject:
        """Loads a file; that of a lesson's author may use everything."""
        name = self.lesson.task.subject
        try:
            subject: Subject = self._run("import", path, lambda: self.load(text, path, folder))
        except LoadingError as error:
            if error.exception is not None:
                failure = describe_error("import", error.exception, path, "", -1)
                raise StopError(failure) from error
            message = _("your file has no `{kind} {name}`.")
            message = message.format(kind=kind_of(self.solution), name=name)
            raise StopError(Failure("import", message, "missing")) from None
        if not own:
            check_means(text, self.lesson.forbids)
        check_kind(name, subject, self.solution)
        return subject

    def _shapes(self, subject: Subject) -> None:
        for number, expected, call in self._calls("shapes", subject):

            def work(call: Call = call, expected: Expected = expected) -> Any:
                return run_call(call, expected.inputs, expected.seed, gradients=False).output

            output = self._run("shapes", subject.path, work, number)
            if not compare.same_shape(output, expected.result.output):
                message = _("your output is {ours}; expected is {theirs}.").format(
                    ours=compare.shape_of_result(output),
                    theirs=compare.shape_of_result(expected.result.output),
                )
                raise StopError(Failure("shapes", message, output, expected.case.about, number))

    def _parameter_names(self, subject: Subject) -> None:
        for number, expected, call in self._calls("parameters", subject):
            ours = {name: tuple(p.shape) for name, p in call.parameters().items()}
            theirs = {name: tuple(p.shape) for name, p in expected.state.items()}
            if ours == theirs:
                continue
            missing, extra = _("{name} {shape} is missing"), _("{name} {shape} is too many")
            plain = _("{name} {shape} is no nn.Parameter, and would not be trained")
            other = _("{name} is {ours}, not {theirs}")
            lines = [
                *(
                    (plain if _is_tensor(call, n) else missing).format(name=n, shape=theirs[n])
                    for n in theirs
                    if n not in ours
                ),
                *(extra.format(name=n, shape=ours[n]) for n in ours if n not in theirs),
                *(
                    other.format(name=n, ours=ours[n], theirs=theirs[n])
                    for n in ours
                    if n in theirs and ours[n] != theirs[n]
                ),
            ]
            if len(lines) > MOST_PARAMETERS:
                lines[MOST_PARAMETERS:] = ["..."]
            message = _("{ours:,} parameters, expected {theirs:,}: {differences}.").format(
                ours=sum(torch.Size(shape).numel() for shape in ours.values()),
                theirs=sum(torch.Size(shape).numel() for shape in theirs.values()),
                differences="; ".join(lines),
            )
            observed = [f"{name} {shape}" for name, shape in sorted(ours.items())]
            raise StopError(Failure("parameters", message, observed, expected.case.about, number))

    def _outputs(self, subject: Subject) -> None:
        tolerance = self.lesson.task.tolerance
        for number, expected, call in self._calls("output", subject):

            def work(call: Call = call, expected: Expected = expected) -> Any:
                return run_call(call, expected.inputs, expected.seed, gradients=False).output

            output = self._run("output", subject.path, work, number)
            target = expected.result.output
            stop_unless_equal("output", output, target, expected, number, tolerance)

    def _gradients(self, subject: Subject) -> None:
        check = self.lesson.task
        if not check.gradients:
            return
        texts = (
            _("the output is right, and its gradient of the inputs is not, most at {where}"),
            _("the output is right, and its gradient of a parameter is not, at {where}"),
        )
        for number, expected, call in self._calls("gradients", subject):

            def work(call: Call = call, expected: Expected = expected) -> Any:
                return run_call(call, expected.inputs, expected.seed, gradients=True)

            result = self._run("gradients", subject.path, work, number)
            for ours, theirs, text in (
                (result.input_grads, expected.result.input_grads, texts[0]),
                (result.parameter_grads, expected.result.parameter_grads, texts[1]),
            ):
                text = _without_gradient(ours, theirs) or text
                stop_unless_equal(
                    "gradients", _sorted(ours), _sorted(theirs), expected, number,
                    check.tolerance, text,
                )  # fmt: skip

    def _behaviour(self, subject: Subject) -> None:
        for number, expected, call in self._calls("behaviour", subject):

            def run(work: Callable[[], Any], number: int = number) -> Any:
                return self._run("behaviour", subject.path, work, number)

            check_behaviour(self.lesson.task, subject, call, expected, number, run)
            if call.module is not None:
                check_initial_values(subject, self.solution, expected, number, run)
        self._claims(subject, "behaviour")

    def _measure(self, claim: Claim, subject: Subject) -> Any:
        torch.manual_seed(self.seed)
        return claim.measure(subject.object)

    def _claims(self, subject: Subject, stage: str) -> None:
        for claim, figure in zip(self.lesson.task.claims, self.figures, strict=True):
            if claim.stage == stage:

                def work(claim: Claim = claim) -> Any:
                    return self._measure(claim, subject)

                value = self._run(stage, subject.path, work)
                if not compare.equal(value, figure, claim.tolerance):
                    message = claim.zh if language() == "zh" else claim.en
                    raise StopError(Failure(stage, message, [claim.en, value]))

    def _swap(self, subject: Subject) -> None:
        check = self.lesson.task
        if check.swap is not None:
            swap = check.swap
            pairs = self._run(
                "swap", subject.path, lambda: swapped_outputs(swap, check, subject, self.seed)
            )
            texts = (
                _("in the library's model the logits differ, at {where}"),
                _("after one training step in the library's model the logits differ, at {where}"),
            )
            for (ours, theirs), text in zip(pairs, texts, strict=True):
                stop_unless_equal("swap", ours, theirs, self.expected[0], -1, SWAP_TOLERANCE, text)
        self._claims(subject, "swap")


def _unused(expected: Expected) -> Expected:
    """The case with copies of the modules among its inputs: a hook may be left behind on them."""
    if any(isinstance(value, torch.nn.Module) for value in expected.inputs):
        return dataclasses.replace(expected, inputs=copy.deepcopy(expected.inputs))
    return expected


def _is_tensor(call: Call, name: str) -> bool:
    """Whether a module has a tensor, but no parameter, of this name."""
    owner, _dot, last = name.rpartition(".")
    with contextlib.suppress(AttributeError):
        assert call.module is not None
        return isinstance(getattr(call.module.get_submodule(owner), last, None), torch.Tensor)
    return False


def _without_gradient(ours: Any, theirs: Any) -> str:
    """What is wrong where no gradient at all arrives; else ""."""
    for (where, value), (_where, target) in zip(
        compare.leaves(ours), compare.leaves(theirs), strict=False
    ):
        if isinstance(value, torch.Tensor) and not value.any() and target.any():
            parameter = isinstance(ours, dict)
            text = (
                _("no gradient reaches the parameter {name}")
                if parameter
                else _("no gradient reaches the tensor {name} of the arguments")
            ).format(name=where.strip("[]'"))
            cuts = _(".detach(), .item(), .data or torch.no_grad() on the way cuts it")
            return f"{text}; {cuts}; {{where}}"
    return ""


def _sorted(gradients: Any) -> Any:
    """Gradients by name in the order of the names; those of inputs as they are."""
    return dict(sorted(gradients.items())) if isinstance(gradients, dict) else gradients


def check_source(lesson: Lesson, text: str, seed: int = 0) -> Failure | None:
    """Checks the text of a file in this process, without limits on what it does.

    Args:
        lesson: the lesson.
        text: the file's text.
        seed: of weights and inputs.

    Returns:
        The first failure; None where all stages pass.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> lesson = find_lesson("attention")
        >>> check_source(lesson, lesson.stub("en")).message
        'line ...: this is still to be written.'
    """
    return Checker(lesson, seed).failure_of(text)
