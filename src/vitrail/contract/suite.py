"""The contract suite: every check of a part, by its kind and name."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from vitrail.arguments import checked
from vitrail.contract.checks import Check, Outcome, describe_problem, require, run_checks
from vitrail.contract.methods import METHOD_CHECKS, MethodCase, trains_with_every_method
from vitrail.contract.model_case import ModelCase, case_of
from vitrail.contract.modules import MODULE_CHECKS
from vitrail.contract.parts import (
    DATASET_CHECKS,
    EXPLANATION_CHECKS,
    OPTIMIZER_CHECKS,
    TRANSFORM_CHECKS,
    DatasetCase,
)
from vitrail.contract.stages import STAGE_CHECKS
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, check_choice, suggest
from vitrail.messages import _
from vitrail.methods.registry import list_methods
from vitrail.models.efficient_vit import EfficientViT
from vitrail.models.registry import variants
from vitrail.plugins import load_plugin
from vitrail.registry import REGISTRIES

TRAINS = Check(
    _("every method of its tier trains it"),
    _("keep to the contract of the tier that it derives from, or derive it from Backbone"),
    trains_with_every_method,
)
MODEL_CHECKS = [*STAGE_CHECKS, *MODULE_CHECKS, TRAINS]


class Suite(NamedTuple):
    """The checks of a kind of part.

    Args:
        subject: function of a part's name that returns what the checks take.
        checks: the checks.
        cure: what to do where there is no subject.

    Example:
        >>> len(SUITES["model"].checks) > 20
        True
    """

    subject: Callable[[str], Any]
    checks: list[Check]
    cure: str


def _dataset_case(name: str) -> DatasetCase:
    return DatasetCase(open_dataset(name, "train"), open_dataset(name, "test"))


def _method_case(name: str) -> MethodCase:
    case = MethodCase(name)
    require(bool(case.models()), "tier admits no model of Vitrail")
    case.on(case.models()[0])
    return case


def _mixer_case(name: str) -> ModelCase:
    def build(**keywords: Any) -> EfficientViT:
        return EfficientViT(32, 8, 5, dim=32, depth=2, heads=2, mlp_dim=48, mixer=name, **keywords)

    return ModelCase(build)


SUITES = {
    "model": Suite(
        case_of,
        MODEL_CHECKS,
        _("give the class variants = {'NAME': {...}}, with the keywords of a small one"),
    ),
    "method": Suite(
        _method_case,
        METHOD_CHECKS,
        _("give every setting a default, or list it in the class attribute named"),
    ),
    "dataset": Suite(_dataset_case, DATASET_CHECKS, _("check it with its path: NAME:PATH")),
    "transform": Suite(str, TRANSFORM_CHECKS, ""),
    "optimizer": Suite(str, OPTIMIZER_CHECKS, ""),
    "explanation": Suite(str, EXPLANATION_CHECKS, ""),
    "mixer": Suite(_mixer_case, MODEL_CHECKS, ""),
}


@checked
def parts_of(what: str) -> list[tuple[str, str]]:
    """The parts that a name stands for.

    Args:
        what: a .py file, whose code runs, for all that it registers; or the name of a model, a
            method, a dataset or another part.

    Returns:
        Kind and name of each.

    Raises:
        ConfigError: there is no such file or part, the file fails, or it registers nothing.

    Example:
        >>> parts_of("vit_tiny_patch16_224"), parts_of("mae")
        ([('model', 'vit_tiny_patch16_224')], [('method', 'mae')])
    """
    if what.endswith(".py"):
        if parts := list(load_plugin(what).parts):
            return parts
        raise ConfigError(
            f"{what} registers nothing: put @vitrail.register_model above its class, or another "
            "register_... of docs/en/your_own.md."
        )
    kind_of_name, _colon, _path = what.partition(":")
    parts = [("model", what)] if what in variants() else []
    parts += [
        (kind, what)
        for kind in SUITES
        if (kind_of_name if kind == "dataset" else what) in REGISTRIES[kind]
    ]
    if not parts:
        names = [*variants(), *list_methods(), *REGISTRIES["model"].names()]
        raise ConfigError(
            f"nothing is called {what!r}.{suggest(what, names)} Give a .py file, a name of "
            "`vitrail models` or one of `vitrail methods`."
        )
    return parts


@checked
def check_part(kind: str, name: str) -> Iterator[Outcome]:
    """Runs the contract suite on a part.

    Args:
        kind: "model", "method", "dataset", "transform", "optimizer", "explanation" or "mixer".
        name: its name; a dataset's may be NAME:PATH.

    Yields:
        What each check said. Where no small part can be built, that is all.

    Example:
        >>> [outcome.problem for outcome in check_part("explanation", "rollout")]
        ['', '', '']
    """
    check_choice("kind", kind, tuple(SUITES))
    suite = SUITES[kind]
    try:
        subject = suite.subject(name)
    except Exception as problem:  # whatever the part raises
        yield Outcome(Check(_("it can be built"), suite.cure, str), describe_problem(problem))
        return
    yield from run_checks(suite.checks, subject)
